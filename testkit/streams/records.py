"""The records of a diagnostic envelope, and audit events in their several forms.

A maker makes one or more records at a time. A further kind of record is a function that takes the
scene, and a line in the mix of `testkit.streams.stream`.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate
from typing import Any

from testkit.streams.shapes import Shape
from testkit.streams.traffic import SHAPES

Key = tuple[str, str]

_START = datetime(2026, 3, 1, 8, 0, 0, tzinfo=UTC)
_SHAPE_WEIGHTS = list(accumulate(shape.weight for shape in SHAPES))
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""The characters of random name endings in Kubernetes (`k8s.io/apimachinery`, `util/rand`)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of an envelope, and what is expected: delivered once, or skipped."""

    text: str
    audit: Key | None = None
    not_audit: str | None = None
    cluster: str = ""
    """Of an audit event, its cluster."""
    cut: bool = False
    """Whether the audit event comes cut, so that it is to be rebuilt."""
    copy: bool = False
    """Whether the same audit event comes in another record as well."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """An AKS cluster as its records name it."""

    name: str
    resource_id: str
    namespace: str
    pod: str
    container: str

    def envelope(self, category: str, properties: str, time: str = "@time@") -> str:
        """Put the JSON of properties into a record."""
        head = json.dumps(
            {
                "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
                "category": category,
                "ccpNamespace": self.namespace,
                "resourceId": self.resource_id,
            }
        )
        tail = json.dumps(
            {
                "time": time,
                "Cloud": "AzureCloud",
                "Environment": "prod",
                "UnderlayClass": "hcp-underlay",
                "UnderlayName": "hcp-underlay-westeurope-cx-314",
            }
        )
        return f'{{ {head[1:-1]}, "properties": {properties}, {tail[1:]}'

    def properties(self, log: str) -> str:
        """Put the JSON of a log into the JSON of properties."""
        rest = json.dumps({"stream": "stdout", "pod": self.pod, "containerID": self.container})
        return f'{{"log":{log},{rest[1:]}'


def uuid(rng: random.Random) -> str:
    """Invent an audit id."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def make_cluster(number: int, rng: random.Random) -> Cluster:
    """Invent a cluster."""
    name = f"aks-{('shop', 'pay', 'data', 'edge', 'ci')[number % 5]}-{number:02d}"
    subscription = uuid(rng)
    path = f"/subscriptions/{subscription}/resourceGroups/rg-{name}"
    path += f"/providers/Microsoft.ContainerService/managedClusters/{name}"
    suffix = "".join(rng.choices(_ALPHABET, k=5))
    return Cluster(
        name,
        path.upper(),
        f"{rng.getrandbits(96):024x}",
        f"kube-apiserver-{rng.getrandbits(40):010x}-{suffix}",
        f"{rng.getrandbits(256):064x}",
    )


@dataclass(slots=True)
class Scene:
    """What the makers of records share: random numbers, time, and the cluster of the body."""

    rng: random.Random
    cluster: Cluster
    templates: dict[tuple[Any, ...], str] = field(default_factory=dict)
    copies: list[Record] = field(default_factory=list)
    """Second copies of audit events, to be put into some later body."""
    _microseconds: int = 0
    _second: int = -1
    _prefix: str = ""

    def time(self) -> tuple[str, str]:
        """Advance the time a little; return it as seconds and fraction."""
        self._microseconds += self.rng.randrange(20, 900)
        second, fraction = divmod(self._microseconds, 1_000_000)
        if second != self._second:
            self._second = second
            self._prefix = f"{_START + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S}"
        return self._prefix, f"{fraction:06d}"

    def name(self) -> str:
        """Invent the name of a pod or of any other object."""
        return f"web-{self.rng.getrandbits(40):010x}-{self.rng.choice(_ALPHABET)}7x2z"

    def fill(self, template: str, audit_id: str = "") -> str:
        """Replace the placeholders of a template; the same name and time throughout."""
        began, fraction = self.time()
        ended, later = self.time()
        return template % {
            "id": audit_id,
            "began": f"{began}.{fraction}Z",
            "ended": f"{ended}.{later}Z",
            "time": f"{ended}.0000000Z",
            "name": self.name(),
            "rv": self._microseconds,
        }

    def template(
        self, key: tuple[Any, ...], wrap: Callable[[str], str], make: Callable[[], str]
    ) -> str:
        """Return the template under this key, made at the first use."""
        known = self.templates.get((self.cluster.name, *key))
        if known is None:
            known = wrap(make()).replace("%", "%%")
            for placeholder in ("id", "began", "ended", "time", "name", "rv"):
                known = known.replace(f"@{placeholder}@", f"%({placeholder})s")
            self.templates[(self.cluster.name, *key)] = known
        return known

    def not_audit(self, kind: str, category: str, log: str | None) -> Record:
        """Make a record that is to be skipped, from a log (its JSON) or without one."""
        cluster = self.cluster
        properties = cluster.properties(log) if log is not None else '{"stream":"stderr"}'
        prefix, _ = self.time()
        return Record(cluster.envelope(category, properties, f"{prefix}.0000000Z"), not_audit=kind)


Maker = Callable[[Scene], Iterator[Record]]
Form = Callable[[Cluster, str], str]
"""How an audit event's text becomes the JSON of a record's properties."""


def log_string(cluster: Cluster, text: str) -> str:
    """Write the event as a JSON string, as AKS nearly always does."""
    return cluster.properties(json.dumps(text + "\n", ensure_ascii=False))


def log_object(cluster: Cluster, text: str) -> str:
    """Write the event as an object."""
    return cluster.properties(text)


def properties_string(cluster: Cluster, text: str) -> str:
    """Write the properties themselves as a JSON string."""
    return json.dumps(log_string(cluster, text), ensure_ascii=False)


def audit(form: Form, *, trusted: bool = True) -> Maker:
    """Return a maker of audit events; if not trusted, under a category that is not theirs."""

    def make(scene: Scene) -> Iterator[Record]:
        (shape,) = scene.rng.choices(SHAPES, cum_weights=_SHAPE_WEIGHTS)
        category = "kube-apiserver" if not trusted else "kube-audit"
        if trusted and shape.mutating and scene.rng.random() < 0.3:
            category = "kube-audit-admin"
        yield from _stages(scene, shape, category, form)

    return make


def _stages(scene: Scene, shape: Shape, category: str, form: Form) -> Iterator[Record]:
    audit_id = uuid(scene.rng)
    cluster = scene.cluster
    for stage in shape.stages:
        template = scene.template(
            (id(shape), stage, category, form),
            lambda text: cluster.envelope(category, form(cluster, text)),
            partial(shape.text, stage),
        )
        yield Record(scene.fill(template, audit_id), (audit_id, stage), cluster=cluster.name)


CUT_BYTES = 16 * 1024
"""At which AKS cuts a log line (Azure/AKS #4635)."""
_LARGE = tuple(
    (shape, stage)
    for shape in SHAPES
    for stage in shape.stages
    if len(shape.text(stage).encode()) > CUT_BYTES + 1024  # whatever replaces the placeholders
)
_MUTATING = tuple((shape, stage) for shape in SHAPES for stage in shape.stages if shape.mutating)


def cut_audit(scene: Scene) -> Iterator[Record]:
    """Yield an audit event cut at 16 KiB, in the middle of one of its objects."""
    shape, stage = scene.rng.choice(_LARGE)
    audit_id, line = _line(scene, shape, stage)
    line = line.encode()[:CUT_BYTES].decode(errors="ignore")
    text = _wrap(scene, "kube-audit", line)
    yield Record(text, (audit_id, stage), cluster=scene.cluster.name, cut=True)


def doubled(scene: Scene) -> Iterator[Record]:
    """Yield an audit event of kube-audit; its copy of kube-audit-admin comes in a later body."""
    shape, stage = scene.rng.choice(_MUTATING)
    audit_id, line = _line(scene, shape, stage)
    key, name = (audit_id, stage), scene.cluster.name
    scene.copies.append(
        Record(_wrap(scene, "kube-audit-admin", line), key, cluster=name, copy=True)
    )
    yield Record(_wrap(scene, "kube-audit", line), key, cluster=name)


def _line(scene: Scene, shape: Shape, stage: str) -> tuple[str, str]:
    """Make an audit event; return its id and its text."""
    audit_id = uuid(scene.rng)
    template = scene.template((id(shape), stage), str, partial(shape.text, stage))
    return audit_id, scene.fill(template, audit_id)


def _wrap(scene: Scene, category: str, line: str) -> str:
    prefix, fraction = scene.time()
    properties = log_string(scene.cluster, line)
    return scene.cluster.envelope(category, properties, f"{prefix}.{fraction}0Z")
