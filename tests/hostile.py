"""Bodies of any size that are made to cost much: time, memory or a crash."""

import json
from collections.abc import Callable

from tests.helpers import audit_event, envelope, record

WHO = '{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","verb":"get",'
WHO += '"user":{"username":"u"},"requestObject":'
EVENT = audit_event("a").decode()


def log(text: str) -> bytes:
    return envelope(record(text))


def many(one: bytes, size: int) -> bytes:
    return one * (size // len(one) + 1)


def records(one: bytes, size: int) -> bytes:
    return b'{"records":[' + b",".join([one] * (size // len(one) + 1)) + b"]}"


CUT_RECORD = json.dumps(record(WHO + '{"a":"' + "x" * 200)).encode()

HOSTILE: dict[str, Callable[[int], bytes]] = {
    "opening brackets": lambda size: many(b"[", size),
    "opening braces": lambda size: many(b'{"a":', size),
    "nested envelopes": lambda size: many(b'{"records":[', size),
    "nested lists": lambda size: many(b"[", size // 2) + many(b"]", size // 2),
    "quotes": lambda size: many(b'"', size),
    "backslashes": lambda size: many(b"\\", size),
    "escaped quotes": lambda size: b'{"records":["' + many(b'\\"', size),
    "escaped quotes in the open": lambda size: b'{"records":[' + many(b'\\"', size),
    "lone surrogates": lambda size: log("?").replace(b"?", many(b"\\ud800", size)),
    "lone surrogates in an event": lambda size: log(
        WHO + '{"a":"' + many(b"\\ud800", size).decode() + '"},"b":'
    ),
    "no UTF-8": lambda size: log("?").replace(b"?", many(b"\xff", size)),
    "truncated records": lambda size: records(CUT_RECORD, size),
    "truncated records, the body cut": lambda size: records(CUT_RECORD, size)[:-3],
    "empty records": lambda size: records(b"{}", size),
    "empty logs": lambda size: records(b'{"properties":{"log":""}}', size),
    "lines of a brace": lambda size: many(b"{\n", size),
    "lines of objects": lambda size: many(b"{}\n", size),
    "lines of envelopes": lambda size: many(b'{"records":[{}]}\n', size),
    "lines of broken envelopes": lambda size: many(b'{"records":[{},\n', size),
    "line feeds": lambda size: b"{" + many(b"\n", size),
    "the same key": lambda size: many(b'{"auditID":', size),
    "the same key in a log": lambda size: log(many(b'{"auditID":', size).decode()),
    "a key and white space": lambda size: log("{x" + many(b'"auditID"      ', size).decode()),
    "a long word": lambda size: log(WHO + '{"a":"' + "a" * size + '"},"b":!'),
    "a long word that is cut": lambda size: log(WHO + '{"a":"' + "a" * size),
    "a long word, then a cut": lambda size: log(WHO + '{"a":"' + "a" * size + '"},"b":"'),
    "many words": lambda size: log(WHO + '["' + many(b'a","', size).decode()),
    "many members": lambda size: log(WHO + "{" + many(b'"a":1,', size).decode()),
    "a long number": lambda size: log(WHO + "9" * size),
    "a long number, then a cut": lambda size: log(WHO + "9" * size + ',"b":'),
    "many long numbers": lambda size: log(WHO + "[" + many(b"9" * 5000 + b",", size).decode()),
    "a deep object": lambda size: log(WHO + many(b'{"a":', size).decode()),
    "a deep object, then a cut": lambda size: log(
        WHO + many(b"[", size // 2).decode() + many(b"]", size // 2).decode() + ',"b":'
    ),
    "many deep objects": lambda size: log(
        WHO + "1," + ",".join([f'"x":{"[" * 300}{"]" * 300}'] * (size // 605 + 1)) + ',"b":'
    ),
    "white space": lambda size: log(WHO + " " * size),
    "white space before": lambda size: b" " * size + b"{",
    "many annotations": lambda size: log(
        EVENT[:-1] + many(b',"annotations":{"a":"b"}', size).decode() + "}"
    ),
    "annotations, then many members": lambda size: log(
        EVENT[:-1] + ',"annotations":{"a":"b"}' + many(b',"b":["\\"",{}]', size).decode() + "}"
    ),
    "many lists": lambda size: log(EVENT[:-1] + ',"b":[' + many(b'["]"],', size).decode() + "0]}"),
    "a list of events": lambda size: (
        b'{"kind":"EventList","items":[' + b",".join([b"1"] * (size // 2)) + b"]}"
    ),
    "a long cluster": lambda size: json.dumps(
        record(EVENT) | {"resourceId": "/managedClusters/" + "c" * size}
    ).encode(),
    "properties as a string": lambda size: json.dumps(
        {"properties": json.dumps({"log": json.loads(EVENT) | {"x": "\\" * (size // 8)}})}
    ).encode(),
}
"""By name, what makes a body of about so many bytes."""
