import pytest

from aks_audit.audit.jsontext import depth, elements, replace_lone_surrogates, value_start


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"[]", []),
        (b"[ ]", []),
        (b"[1, [2,3] ,{}]", [b"1", b"[2,3]", b"{}"]),
        (b'{"a":1,"b":{"c":[2,3]}}', [b'"a":1', b'"b":{"c":[2,3]}']),
        (b'["],[","\\",\\"]","\\\\"]', [b'"],["', b'"\\",\\"]"', b'"\\\\"']),
        (b"[1],2]", [b"1"]),
        (b"[1}", [b"1"]),
        (b"[,1,,2,]", [b"1", b"2"]),
    ],
)
def test_the_elements_of_a_whole_container(text: bytes, found: list[bytes]) -> None:
    assert list(elements(text, 1)) == [(element, True) for element in found]


@pytest.mark.parametrize(
    ("text", "whole", "rest"),
    [
        (b"[", [], []),
        (b"[1", [], [b"1"]),
        (b"[1,", [b"1"], []),
        (b"[1, ", [b"1"], []),
        (b"[1,[2,3]", [b"1"], [b"[2,3]"]),
        (b"[1,[2,3", [b"1"], [b"[2,3"]),
        (b'[1,"],', [b"1"], [b'"],']),
        (b'[1,"]\\', [b"1"], [b'"]\\']),
        (b'[1,"]\\"', [b"1"], [b'"]\\"']),
    ],
)
def test_the_last_element_of_a_cut_container_is_not_whole(
    text: bytes, whole: list[bytes], rest: list[bytes]
) -> None:
    assert list(elements(text, 1)) == [(e, True) for e in whole] + [(e, False) for e in rest]


def test_the_container_may_begin_anywhere() -> None:
    text = b'{"records":[{"a":1},2],"x":[3]}'
    assert [element.text for element in elements(text, text.index(b"[") + 1)] == [b'{"a":1}', b"2"]


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        (b"{}", 1),
        (b" [ ] ", 1),
        (b"[0]", 2),
        (b'{"a":{}}', 2),
        (b'{"a":{},"b":[[]],"c":{}}', 3),
        (b'{"a":{},"b":[["[{["]],"c":{}}', 4),
        (b'{"a\\"[[[":"\\\\"}', 2),
        (b"[" * 1000 + b"]" * 1000, 1000),
    ],
)
def test_depth(text: bytes, levels: int) -> None:
    assert depth(text) == levels


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"k":1}', b"1}"),
        (b' { "k" : 1 } ', b"1 } "),
        (b'{"a":"k","b":["k"],"k":[1]}', b"[1]}"),
        (b'{"k":1,"k":2,"b":3}', b'2,"b":3}'),
        (b'{"a":{"k":1},"b":{}}', None),
        (b'{"x\\"k":1,"kk":2}', None),
        (b'{"\\u006b":1}', None),
        (b"{}", None),
    ],
)
def test_where_the_value_of_a_member_begins(text: bytes, value: bytes | None) -> None:
    start = value_start(text, b"k")
    assert (text[start:] if start >= 0 else None) == value


def test_a_key_is_not_a_pattern() -> None:
    assert value_start(b'{"audit":1,"a.d*t":2}', b"a.d*t") == len(b'{"audit":1,"a.d*t":')


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        (b"", b""),
        (b"ud800", b"ud800"),
        (b"\\ud800", b"\\ufffd"),
        (b"\\uDfFf", b"\\ufffd"),
        (b"\\ud83d\\ude00", b"\\ud83d\\ude00"),
        (b"\\ud83d\\ud83d\\ude00", b"\\ufffd\\ud83d\\ude00"),
        (b"\\ude00\\ud83d", b"\\ufffd\\ufffd"),
        (b"\\\\ud800", b"\\\\ud800"),
        (b"\\\\\\ud800", b"\\\\\\ufffd"),
        (b"\\ud80", b"\\ud80"),
        (b"\\ud800\\\\", b"\\ufffd\\\\"),
        (b"\\", b"\\"),
    ],
)
def test_only_lone_surrogates_are_replaced(text: bytes, replaced: bytes) -> None:
    assert replace_lone_surrogates(text) == replaced
