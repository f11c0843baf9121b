"""Put the cluster's name into an audit event, without touching any other byte.

Falco reads ``ka.cluster.name`` from ``annotations.cluster_name``, which nothing sets on AKS (plugin
k8saudit, field extraction). The annotation is inserted into the event's bytes: all others stay as
the API server wrote them.
"""

import re

import msgspec

from ..model import AuditEvent
from .jsontext import replace_lone_surrogates, value_start


class _Annotated(msgspec.Struct, gc=False):
    annotations: msgspec.Raw = msgspec.Raw()


class _Named(msgspec.Struct, gc=False):
    cluster_name: msgspec.Raw = msgspec.Raw()


_annotated = msgspec.json.Decoder(_Annotated)
_named = msgspec.json.Decoder(_Named)
_KEY_BEFORE = re.compile(rb'[{,]\s*"annotations"\s*:\s*\Z')
_KEY_BEFORE_MAX = 32
"""Bytes before the annotations in which their key is looked for; without white space it has 15."""


def name_cluster(event: AuditEvent, max_bytes: int) -> AuditEvent:
    """The event with its cluster's name among the annotations.

    The event comes back as it was where its cluster is not known, where it has the name already or
    no place for it, and where the name would take it over ``max_bytes`` (MAXEVENTBYTES). Better an
    event without its cluster than one that Falco drops because of the name.
    """
    if not event.cluster:
        return event
    named = annotate(event.raw, event.cluster)
    return event if len(named) > max_bytes else msgspec.structs.replace(event, raw=named)


def annotate(raw: bytes, cluster: str) -> bytes:
    """A valid JSON object with the cluster's name among its annotations.

    Comes back as it was where the annotations name a cluster already, or are not an object.
    """
    readable = _readable(raw)
    value = bytes(_annotated.decode(readable).annotations)
    member = b'"cluster_name":' + msgspec.json.encode(cluster)
    if not value:
        return b'%s,"annotations":{%s}}' % (raw[:-1].rstrip(), member)
    if not value.startswith(b"{") or _named.decode(value).cluster_name:
        return raw
    start = _annotations_start(readable, value)
    if start < 0:  # the key is written with escapes, as no API server does
        return raw
    comma = b"" if value[1:-1].strip() == b"" else b","
    return raw[: start + 1] + member + comma + raw[start + 1 :]


def _readable(raw: bytes) -> bytes:
    """The event without what msgspec refuses; every byte keeps its place."""
    try:
        _annotated.decode(raw)
    except msgspec.DecodeError:
        return replace_lone_surrogates(raw)
    return raw


def _annotations_start(raw: bytes, value: bytes) -> int:
    """Where the annotations' object begins; they are the last member of nearly every event."""
    tail = raw[:-1].rstrip()
    start = len(tail) - len(value)
    if tail.endswith(value) and _KEY_BEFORE.search(tail, max(0, start - _KEY_BEFORE_MAX), start):
        return start
    return value_start(raw, b"annotations")
