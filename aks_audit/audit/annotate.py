"""The cluster's name into an audit event, without touching any other byte. Pure.

Falco reads ``ka.cluster.name`` from ``annotations.cluster_name``, which nothing
sets on AKS (plugin k8saudit, field extraction). The annotations are spliced
into the event's bytes: everything else stays as the API server wrote it.
"""

import re

import msgspec

from ..model import AuditEvent
from .event import mend

KEY = "cluster_name"


class _Annotated(msgspec.Struct, gc=False):
    annotations: msgspec.Raw = msgspec.Raw()


class _Named(msgspec.Struct, gc=False):
    cluster_name: msgspec.Raw = msgspec.Raw()


_annotated = msgspec.json.Decoder(_Annotated)
_named = msgspec.json.Decoder(_Named)
_LAST = re.compile(rb'"annotations"\s*:\s*\Z')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:]', re.DOTALL)


def name_cluster(event: AuditEvent, max_bytes: int) -> AuditEvent:
    """An event with the cluster's name among its annotations.

    Comes back as it was where the record named no cluster, and where it would grow past
    ``max_bytes``: an event without its cluster is better than one that Falco does not take.
    """
    if not event.cluster:
        return event
    named = annotate(event.raw, event.cluster)
    if len(named) > max_bytes:
        return event
    return msgspec.structs.replace(event, raw=named)


def annotate(raw: bytes, cluster: str) -> bytes:
    """An event with the cluster's name among its annotations.

    ``raw`` is one valid JSON object. Comes back as it was where it names a
    cluster already, or where its annotations are no object.
    """
    readable = _readable(raw)
    value = bytes(_annotated.decode(readable).annotations)
    member = b'"%s":%s' % (KEY.encode(), msgspec.json.encode(cluster))
    if not value:
        return b'%s,"annotations":{%s}}' % (raw[:-1].rstrip(), member)
    if not value.startswith(b"{") or _named.decode(value).cluster_name:
        return raw
    start = _position(readable, value)
    if start < 0:  # the key is written with escapes, as no API server does
        return raw
    comma = b"" if value[1:-1].strip() == b"" else b","
    return raw[: start + 1] + member + comma + raw[start + 1 :]


def _readable(raw: bytes) -> bytes:
    """The event without what msgspec refuses; every byte of it stands where it stood."""
    try:
        _annotated.decode(raw)
    except msgspec.DecodeError:
        return mend(raw)
    return raw


def _position(raw: bytes, value: bytes) -> int:
    """Where the annotations' object begins; they are the last member of nearly every event."""
    tail = raw[:-1].rstrip()
    start = len(tail) - len(value)
    if tail.endswith(value) and _LAST.search(tail, max(0, start - 32), start):
        return start
    depth, key, found = 0, b"", -1
    for match in _TOKEN.finditer(raw):
        token = match.group()
        if token == b"{" and depth == 1 and key == b'"annotations"':
            found = match.start()  # the last of several is the one that counts
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        key = token if token != b":" else key
    return found
