"""What else arrives on the hub: records without an audit event, bodies that are not envelopes.

Each kind has a name, under which `Expected` counts it.
"""

import json
import random
from collections.abc import Callable, Iterator

from testkit.streams.records import Maker, Record, Scene

_KLOG = (
    ("kube-apiserver", "W@ 1 dispatcher.go:205] Failed calling webhook, failing open gate: {x}"),
    ("kube-apiserver", 'I@ 1 trace.go:236] Trace[1298498081]: "Update" (total time: 512ms):\n'),
    ("cluster-autoscaler", "I@ 1 static_autoscaler.go:548] Calculating unneeded nodes"),
    ("cluster-autoscaler", "I@ 1 node_group.go:77] [virtualMachineScaleSets] {not json}"),
    ("kube-controller-manager", 'E@ 1 reconciler.go:12] "Unhandled Error" err="\\u00fc <nil>"'),
    ("guard", "I@ 1 handler.go:30] POST /subjectaccessreviews 200"),
    ("cloud-controller-manager", "goroutine 1 [running]:\n\tmain.main()\n\t\t/app/main.go:7 +0x1d"),
)  # fmt: skip
_JSON_LOGS = (
    ("guard", '{"ts":"2026-03-01T08:00:00Z","level":"info","msg":"token reviewed","n":1}'),
    ("kube-apiserver", '{"kind":"Status","apiVersion":"v1","code":503,"message":"shutting down"}'),
    ("kube-controller-manager", '{"kind":"Event","apiVersion":"v1","reason":"Scaled","count":3}'),
    ("cloud-controller-manager", "{}"),
)
_TIMELESS = (
    '{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%s",'
    '"stage":"ResponseComplete","requestURI":"/","verb":"get","stageTimestamp":null}'
)


def klog(scene: Scene) -> Iterator[Record]:
    """Yield a line of text of another component, or of the API server itself."""
    category, line = scene.rng.choice(_KLOG)
    _, fraction = scene.time()
    yield scene.not_audit(
        "klog", category, json.dumps(line.replace("@", f"0301 08:00:00.{fraction}"))
    )


def json_log(scene: Scene) -> Iterator[Record]:
    """Yield a log line that is JSON, but not an audit event."""
    category, line = scene.rng.choice(_JSON_LOGS)
    as_string = scene.rng.random() < 0.8
    yield scene.not_audit("json-log", category, json.dumps(line + "\n") if as_string else line)


def timeless(scene: Scene) -> Iterator[Record]:
    """Yield an audit event without a time, which Falco would drop."""
    line = _TIMELESS % f"{scene.rng.getrandbits(64):x}"
    yield scene.not_audit("timeless-audit", "kube-audit", json.dumps(line))


def fragment(scene: Scene) -> Iterator[Record]:
    """Yield the beginning of an audit event, cut before it says who did what."""
    line = (_TIMELESS % f"{scene.rng.getrandbits(64):016x}")[: scene.rng.randrange(20, 120)]
    yield scene.not_audit("fragment", "kube-audit", json.dumps(line + "\n"))


def empty_log(scene: Scene) -> Iterator[Record]:
    """Yield a log that is empty, or only a line feed."""
    yield scene.not_audit("empty-log", "kube-audit", scene.rng.choice(('""', '"\\n"', '"  "')))


def no_log(scene: Scene) -> Iterator[Record]:
    """Yield a record as other Azure resources write them, or with null for a log."""
    yield scene.not_audit("no-log", "AllMetrics", scene.rng.choice((None, "null")))


def odd_log(scene: Scene) -> Iterator[Record]:
    """Yield a log that is neither text nor an object."""
    yield scene.not_audit(
        "odd-log", "kube-audit", scene.rng.choice(("5", "true", "[]", "[{}]", "1e9"))
    )


def odd_record(scene: Scene) -> Iterator[Record]:
    """Yield something in the place of a record, or of its properties, that has no log."""
    odd = ("null", "7", '"text"', "[]", '{"properties":5}', '{"properties":[]}')
    yield Record(scene.rng.choice(odd), not_audit="odd-record")


RECORDS: dict[str, Maker] = {
    "klog": klog,
    "json-log": json_log,
    "timeless-audit": timeless,
    "fragment": fragment,
    "empty-log": empty_log,
    "no-log": no_log,
    "odd-log": odd_log,
    "odd-record": odd_record,
}

BodyMaker = Callable[[random.Random], bytes]
"""Makes a malformed body."""


def _text(rng: random.Random) -> bytes:
    return rng.choice(
        (b"this is not JSON", b"<html>502 Bad Gateway</html>", b"I0301 08:00:00.1 1 a.go]")
    )


def _binary(rng: random.Random) -> bytes:
    return b"\x1f\x8b\x08\x00" + rng.randbytes(200) + b"\xff"


def _blank(rng: random.Random) -> bytes:
    return rng.choice((b" ", b"\n", b"\r\n\t "))


def _foreign(rng: random.Random) -> bytes:
    bodies = (b'{"hello":"world"}', b'{"records":"text"}', b'{"records":{}}', b'{"records":null}')
    return rng.choice((*bodies, b"[]", b"[1,2]", b'"text"', b"null", b"42"))


BODIES: dict[str, BodyMaker] = {
    "text": _text,
    "binary": _binary,
    "blank": _blank,
    "foreign": _foreign,
}
"""`text` and `binary` are not JSON; `foreign` is JSON, but not an envelope."""
