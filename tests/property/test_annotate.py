"""The cluster's name goes into an event, and nothing else changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aks_audit.audit.annotate import annotate, name_cluster
from aks_audit.audit.event import classify
from aks_audit.audit.jsontext import replace_lone_surrogates
from aks_audit.model import AuditEvent
from testkit.falco.rules import Accepted
from testkit.falco.rules import apply_rules as falco
from tests.corpus import raw_events, real_events, shaped_events
from tests.helpers import audit_event, examples

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)


def additions(cluster: str) -> list[bytes]:
    """What may have been added, the longest first."""
    member = b'"cluster_name":' + json.dumps(cluster).encode()
    return [b',"annotations":{' + member + b"}", member + b",", member]


def check(raw: bytes, cluster: str = "prod-1") -> Any:
    """Only the annotation is added; returns the annotations."""
    named = annotate(raw, cluster)
    known, before = json.loads(named), json.loads(raw)
    found = known.get("annotations")
    if named != raw:
        assert found == (before.get("annotations") or {}) | {"cluster_name": cluster}
        whole = raw[:-1].rstrip() + raw[-1:] if "annotations" not in before else raw
        assert whole in [named.replace(added, b"", 1) for added in additions(cluster)]
        assert len(named) - len(whole) in map(len, additions(cluster))
    rest = {key: value for key, value in known.items() if key != "annotations"}
    assert rest == {key: value for key, value in before.items() if key != "annotations"}
    (verdict,) = falco(named)
    assert isinstance(verdict, Accepted)
    assert isinstance(classify(named), AuditEvent)
    return found


@examples(300)
@given(raw_events(), names)
def test_only_the_annotation_is_added(raw: bytes, cluster: str) -> None:
    before = json.loads(replace_lone_surrogates(raw)).get("annotations", {})
    if isinstance(before, dict) and "cluster_name" not in before:
        assert annotate(raw, cluster) != raw
        check(raw, cluster)
    else:
        assert annotate(raw, cluster) == raw


def test_every_event_of_the_corpus_is_named() -> None:
    for text in {*shaped_events(), *real_events()}:
        assert check(text.encode())["cluster_name"] == "prod-1"


EVENT = audit_event("a")


def with_members(*members: bytes) -> bytes:
    return EVENT[:-1] + b"".join(b"," + member for member in members) + b"}"


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (with_members(b'"annotations":{}'), with_members(b'"annotations":{@}')),
        (with_members(b'"annotations" : { }'), with_members(b'"annotations" : {@ }')),
        (with_members(b'"annotations":{"a":"b"}'), with_members(b'"annotations":{@,"a":"b"}')),
        (with_members(b'"annotations":{"a":"}"}'), with_members(b'"annotations":{@,"a":"}"}')),
        (EVENT, with_members(b'"annotations":{@}')),
        (EVENT[:-1] + b" \n}", with_members(b'"annotations":{@}')),
        (
            with_members(b'"annotations":{"a":"b"}', b'"o":{"annotations":{"a":"b"}}'),
            with_members(b'"annotations":{@,"a":"b"}', b'"o":{"annotations":{"a":"b"}}'),
        ),
        (
            with_members(b'"o":{"annotations":{"a":"b"}}', b'"annotations":{"a":"b"}', b'"n":1'),
            with_members(b'"o":{"annotations":{"a":"b"}}', b'"annotations":{@,"a":"b"}', b'"n":1'),
        ),
        (
            with_members(b'"o":{"annotations":{}}', b'"s":"annotations"', b'"l":[{}]'),
            with_members(
                b'"o":{"annotations":{}}', b'"s":"annotations"', b'"l":[{}]', b'"annotations":{@}'
            ),
        ),
        (
            with_members(b'"s":"\\"annotations\\":{}"', b'"annotations":{}', b'"n":1'),
            with_members(b'"s":"\\"annotations\\":{}"', b'"annotations":{@}', b'"n":1'),
        ),
        (
            with_members(b'"annotations":{"a":1}', b'"annotations":{"b":2}', b'"n":1'),
            with_members(b'"annotations":{"a":1}', b'"annotations":{@,"b":2}', b'"n":1'),
        ),
        (
            with_members(b'"s":"\\ud800"', b'"annotations":{"a":"\\udfff"}'),
            with_members(b'"s":"\\ud800"', b'"annotations":{@,"a":"\\udfff"}'),
        ),
        (
            with_members(b'"annotations":{"a":"b"}', b'"\\"annotations":{"a":"b"}'),
            with_members(b'"annotations":{@,"a":"b"}', b'"\\"annotations":{"a":"b"}'),
        ),
        (
            with_members(b'"annotations":{"a":"b"}', b'"x,\\"annotations":{"a":"b"}'),
            with_members(b'"annotations":{@,"a":"b"}', b'"x,\\"annotations":{"a":"b"}'),
        ),
        (
            with_members(b'"n":1, "annotations"' + b" " * 50 + b': {"a":"b"}'),
            with_members(b'"n":1, "annotations"' + b" " * 50 + b': {@,"a":"b"}'),
        ),
    ],
)
def test_the_name_stands_first_among_the_annotations(raw: bytes, named: bytes) -> None:
    assert annotate(raw, "prod") == named.replace(b"@", b'"cluster_name":"prod"')
    assert isinstance(classify(annotate(raw, "prod")), AuditEvent)


@pytest.mark.parametrize(
    "annotations",
    [
        b'"annotations":{"cluster_name":"other"}',
        b'"annotations":{"a":"b","cluster_name":""}',
        b'"annotations":{"cluster_name":null}',
        b'"annotations":null',
        b'"annotations":[]',
        b'"annotations":"text"',
        b'"annot\\u0061tions":{"a":"b"}',
    ],
)
@pytest.mark.parametrize("behind", [[], [b'"n":1']], ids=["last", "not last"])
def test_an_event_is_left_alone_that_has_a_name_or_no_place_for_it(
    annotations: bytes, behind: list[bytes]
) -> None:
    raw = with_members(annotations, *behind)
    assert annotate(raw, "prod") == raw


def test_a_name_is_written_as_json() -> None:
    assert json.loads(annotate(EVENT, 'a"\\\n😀'))["annotations"] == {"cluster_name": 'a"\\\n😀'}


def test_an_event_is_named_as_long_as_it_stays_within_the_limit() -> None:
    event = AuditEvent(EVENT, "a", "ResponseComplete", "prod", "kube-audit", salvaged=True)
    named = annotate(EVENT, "prod")
    assert name_cluster(event, len(named)) == replace(event, raw=named)
    assert name_cluster(event, len(named) - 1) is event
    assert name_cluster(event, len(EVENT) - 1) is event


def test_an_event_of_an_unknown_cluster_is_left_alone() -> None:
    event = AuditEvent(EVENT, "a", "ResponseComplete")
    assert name_cluster(event, 1_000_000) is event
