"""The scanner finds in any JSON text what a parser finds, and survives any bytes."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aks_audit.audit.jsontext import depth, elements, replace_lone_surrogates, value_start
from tests.corpus import texts, values
from tests.helpers import examples

STYLES: list[dict[str, Any]] = [{}, {"indent": 1}, {"separators": (",", ":")}]
styles = st.sampled_from(STYLES)
scraps = st.sampled_from([b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b" ", b"a", b"\xff"])


def levels(known: Any) -> int:
    if isinstance(known, dict):
        return 1 + max((levels(value) for value in [*known, *known.values()]), default=0)
    return 1 + max(map(levels, known), default=0) if isinstance(known, list) else 1


@examples(300)
@given(st.lists(values, max_size=5), styles)
def test_the_elements_of_a_list_are_what_a_parser_reads(
    known: list[Any], style: dict[str, Any]
) -> None:
    text = json.dumps(known, **style).encode()
    found = list(elements(text + b",7]", 1))
    assert all(whole for _, whole in found)
    assert [json.loads(element) for element, _ in found] == known


@examples(300)
@given(st.dictionaries(texts, values, max_size=5), styles)
def test_the_members_of_an_object_are_what_a_parser_reads(
    known: dict[str, Any], style: dict[str, Any]
) -> None:
    text = json.dumps(known, **style).encode()
    assert {
        key: value
        for member, _ in elements(text, 1)
        for key, value in json.loads(b"{" + member + b"}").items()
    } == known


@examples(300)
@given(st.lists(values, max_size=5) | st.dictionaries(texts, values, max_size=5), styles)
def test_depth_is_what_a_parser_reads(known: Any, style: dict[str, Any]) -> None:
    assert depth(json.dumps(known, **style).encode()) == levels(known)


@examples(300)
@given(st.dictionaries(texts | st.just("key"), values, max_size=5), styles)
def test_a_value_stands_where_a_parser_reads_it(
    known: dict[str, Any], style: dict[str, Any]
) -> None:
    text = json.dumps(known, **style)
    start = value_start(text.encode(), b"key")
    if "key" in known:
        assert json.JSONDecoder().raw_decode(text, start)[0] == known["key"]
    else:
        assert start == -1


@examples(300)
@given(st.lists(scraps | st.binary(max_size=3), max_size=30).map(b"".join))
def test_any_bytes_are_cut_into_elements_in_order(text: bytes) -> None:
    found = list(elements(b"[" + text, 1))
    assert [whole for _, whole in found[:-1]] == [True] * (len(found) - 1)
    at = 0
    for element, _ in found:
        assert element == element.strip() != b""
        at = text.index(element, at) + len(element)
    assert len(replace_lone_surrogates(text)) == len(text)
