"""A realistic AKS diagnostic stream, the same for the same seed, and what is expected of it.

What is mixed into it was seen in real hubs: other categories in the same hub
(falcosecurity/plugins #1145), audit events under categories that are not theirs (Azure/AKS #4750),
objects where strings should be and the reverse, audit events cut at 16 KiB (Azure/AKS #4635), the
same event from kube-audit and from kube-audit-admin, bodies that are cut or not an envelope.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from testkit.streams import not_audit
from testkit.streams.records import (
    Cluster,
    Key,
    Maker,
    Record,
    Scene,
    audit,
    cut_audit,
    doubled,
    log_object,
    log_string,
    make_cluster,
    properties_string,
    uuid,
)

CUT = "cut"
"""The kind of malformed body of which the records before the cut are to be delivered."""
_CUT_CHARACTERS = 60
"""What is left of the record that a cut body ends in: it ends before its log begins."""
_COPIES_AT_ONCE = 20

_MAX_BODY_CHARACTERS = 600_000
"""An Event Hubs message holds 1 MB; a body is closed well before."""

MIX: tuple[tuple[int, Maker], ...] = (
    (765, audit(log_string)),
    (20, audit(log_object)),
    (10, audit(properties_string)),
    (20, audit(log_string, trusted=False)),
    (100, not_audit.klog),
    (15, not_audit.json_log),
    (15, cut_audit),
    (40, doubled),
    (2, not_audit.timeless),
    (2, not_audit.fragment),
    (3, not_audit.empty_log),
    (5, not_audit.no_log),
    (2, not_audit.odd_log),
    (3, not_audit.odd_record),
)
"""The makers of records, each with its weight."""


@dataclass(frozen=True, slots=True)
class Published:
    """The body of one hub event, and what a forwarder that loses nothing does with it."""

    body: bytes
    partition: int
    audit: tuple[Key, ...] = ()
    """`(auditID, stage)` of each event to be delivered, in order; copies are left out."""
    clusters: Mapping[str, int] = field(default_factory=dict)
    """How many of these are of each cluster."""
    cut: int = 0
    """How many of these come cut."""
    copies: int = 0
    """How many records hold an event that another record holds as well."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """How many records without an audit event it holds, by kind."""
    malformed: str | None = None
    """Which kind of malformed body this is, if it is one: only one that is cut holds events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The description of a stream; `bodies` does not end."""

    seed: int = 1
    clusters: int = 5
    partitions: int = 4
    records: tuple[int, int] = (1, 40)
    """The least and the greatest number of draws from the mix for one body."""
    malformed: float = 0.01
    """The share of malformed bodies."""
    odd: float = 0.02
    """The share of bodies that are well-formed, but not a plain envelope."""
    shared: float = 0.1
    """The share of bodies with records of more than one cluster."""
    mix: tuple[tuple[int, Maker], ...] = MIX

    def bodies(self) -> Iterator[Published]:
        """Yield hub events without end."""
        rng = random.Random(self.seed)
        clusters = [make_cluster(number, rng) for number in range(self.clusters)]
        scene = Scene(rng, clusters[0])
        makers = [maker for _, maker in self.mix]
        weights = list(accumulate(weight for weight, _ in self.mix))
        while True:
            scene.cluster = rng.choice(clusters)
            drawn = rng.choices(makers, cum_weights=weights, k=rng.randint(*self.records))
            before = len(scene.copies)
            records = list(_draw(scene, drawn, clusters if rng.random() < self.shared else []))
            partition = rng.randrange(self.partitions)
            if rng.random() < self.malformed:
                del scene.copies[before:]  # the first ones may be lost with the body
                yield _malformed(rng, records, partition)
                continue
            records += scene.copies[: min(before, _COPIES_AT_ONCE)]
            del scene.copies[: min(before, _COPIES_AT_ONCE)]
            odd = rng.random() < self.odd
            yield _publish(records, partition, rng.choice(_FORMS) if odd else _envelope)

    def take(self, audit_events: int) -> Iterator[Published]:
        """Yield bodies until they hold that many audit events, or a few more."""
        left = audit_events
        for published in self.bodies():
            if left <= 0:
                return
            left -= len(published.audit)
            yield published


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is expected of a forwarder for a whole stream: the sums over its hub events."""

    audit: tuple[Key, ...]
    skipped: Mapping[str, int]
    malformed: Mapping[str, int]
    clusters: Mapping[str, int]
    cut: int
    copies: int
    hub_events: int
    body_bytes: int


def expected_of(stream: Iterable[Published]) -> Expected:
    """Add up what is expected of a forwarder for these hub events."""
    keys: list[Key] = []
    skipped: Counter[str] = Counter()
    malformed: Counter[str] = Counter()
    clusters: Counter[str] = Counter()
    cut = copies = hub_events = size = 0
    for published in stream:
        keys += published.audit
        skipped.update(published.skipped)
        malformed.update([published.malformed] if published.malformed else [])
        clusters.update(published.clusters)
        cut += published.cut
        copies += published.copies
        hub_events += 1
        size += len(published.body)
    return Expected(
        audit=tuple(keys),
        skipped=skipped,
        malformed=malformed,
        clusters=clusters,
        cut=cut,
        copies=copies,
        hub_events=hub_events,
        body_bytes=size,
    )


def bench_bodies(
    n_bodies: int,
    records_per_body: int = 22,
    event_bytes: int = 1024,
    *,
    partitions: int = 4,
    clusters: int = 1,
    time: str = "2026-03-01T08:00:00.123456Z",
    seed: int = 1,
) -> Iterator[Published]:
    """Yield bodies of one size: `records_per_body` events, each of exactly `event_bytes` bytes.

    All stages happened at ``time``; the clusters take turns.
    """
    rng = random.Random(seed)
    invented = [make_cluster(number, rng) for number in range(clusters)]
    templates = [_bench_template(cluster, event_bytes, time) for cluster in invented]
    for number in range(n_bodies):
        ids = [uuid(rng) for _ in range(records_per_body)]
        records = (
            templates[(number * records_per_body + record) % clusters].replace("@id@", audit_id)
            for record, audit_id in enumerate(ids)
        )
        body = '{"records": [' + ",".join(records) + "]}"
        keys = tuple((audit_id, "ResponseComplete") for audit_id in ids)
        yield Published(body.encode(), number % partitions, keys)


def _bench_template(cluster: Cluster, event_bytes: int, time: str) -> str:
    head = '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"@id@",'
    head += '"stage":"ResponseComplete","requestURI":"/api/v1/pods?pad='
    tail = '","verb":"list","user":{"username":"bench","groups":["system:authenticated"]},'
    tail += '"objectRef":{"resource":"pods","apiVersion":"v1"},"responseStatus":{"code":200},'
    tail += f'"requestReceivedTimestamp":"{time}","stageTimestamp":"{time}"}}'
    room = event_bytes - len(head) - len(tail) - 32  # an id is longer than its placeholder
    if room < 0:
        raise ValueError(f"an event takes at least {event_bytes - room} bytes")
    return cluster.envelope("kube-audit", log_string(cluster, head + "x" * room + tail), time)


def _draw(scene: Scene, makers: Iterable[Maker], clusters: Sequence[Cluster]) -> Iterator[Record]:
    """Make records, each of any of the clusters if there are some, else of the scene's."""
    size = 0
    for maker in makers:
        if clusters:
            scene.cluster = scene.rng.choice(clusters)
        for record in maker(scene):
            yield record
            size += len(record.text)
        if size > _MAX_BODY_CHARACTERS:
            return


def _envelope(texts: Sequence[str]) -> str:
    return '{"records": [' + ",".join(texts) + "]}"


def _bom(texts: Sequence[str]) -> str:
    return "\ufeff" + _envelope(texts)


def _lines(texts: Sequence[str]) -> str:
    """Write a record on each line, as Azure does in Blob Storage."""
    if all(text.startswith("{") for text in texts):
        return "\n".join(texts) + "\n"
    return _envelope(texts)


Writer = Callable[[Sequence[str]], str]
_FORMS: tuple[Writer, ...] = (_bom, _lines)


def _publish(records: Sequence[Record], partition: int, write: Writer = _envelope) -> Published:
    fresh = [record for record in records if record.audit and not record.copy]
    return Published(
        write([record.text for record in records]).encode(),
        partition,
        audit=tuple(record.audit for record in fresh if record.audit),
        clusters=Counter(record.cluster for record in fresh),
        cut=sum(record.cut for record in records),
        copies=sum(record.copy for record in records),
        skipped=Counter(record.not_audit for record in records if record.not_audit),
    )


def _malformed(rng: random.Random, records: Sequence[Record], partition: int) -> Published:
    """Make a malformed body. It replaces the records, unless it is one that is cut."""
    kind = rng.choice(sorted((CUT, *not_audit.BODIES)))
    if kind != CUT:
        return Published(not_audit.BODIES[kind](rng), partition, malformed=kind)
    whole = rng.randrange(len(records))

    def write(texts: Sequence[str]) -> str:
        return _envelope([*texts, records[whole].text[:_CUT_CHARACTERS]])[: -len("]}")]

    return replace(_publish(records[:whole], partition, write), malformed=CUT)
