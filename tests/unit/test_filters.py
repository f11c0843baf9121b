import json
from typing import Any

import pytest

from aks_audit.audit.event import classify
from aks_audit.audit.filters import FIELDS, FilterError, parse
from aks_audit.audit.salvage import salvage
from aks_audit.model import AuditEvent
from tests.helpers import audit_event

NODE = "system:node:aks-1"
KNOWN: dict[str, Any] = {
    "verb": "get",
    "user": {"username": NODE},
    "objectRef": {"resource": "leases", "namespace": "kube-node-lease", "name": "n"},
}


def event(*, cut: bool = False, **fields: Any) -> AuditEvent:
    raw = audit_event("a", **(KNOWN | fields))
    result = classify(raw, "prod", "kube-audit")
    assert isinstance(result, AuditEvent)
    return AuditEvent(raw, "a", "ResponseComplete", "prod", "kube-audit", salvaged=cut)


def dropped(text: str, one: AuditEvent | None = None) -> bool:
    return parse(text).drops(one or event())


@pytest.mark.parametrize(
    "condition",
    [
        "verb=get",
        "verb=list,get,watch",
        "verb!=list,watch",
        "user=system:node:*",
        "user!=system:serviceaccount:*",
        "namespace=kube-node-lease",
        "namespace=kube-*",
        "resource=leases",
        "resource=[kl]eases",
        "resource=l?ases",
        "stage=ResponseComplete",
        "category=kube-audit",
        "cluster=prod",
        "cluster=p*,test",
        "verb=get resource=leases",
        "verb=get resource=leases   user=system:* # leases",
    ],
)
def test_a_rule_fits_when_all_its_conditions_hold(condition: str) -> None:
    assert dropped(f"drop {condition}")
    assert not dropped(f"keep {condition}\ndrop verb=*")


@pytest.mark.parametrize(
    "condition",
    [
        "verb=GET",
        "verb=ge",
        "verb!=get",
        "verb!=list,get",
        "verb=list",
        "user=node",
        "resource=leases/status",
        "namespace=default",
        "stage=Panic",
        "category=kube-audit-admin",
        "cluster=Prod",
        "verb=get resource=pods",
        "verb=get verb=list",
    ],
)
def test_a_rule_does_not_fit_when_one_condition_does_not_hold(condition: str) -> None:
    assert not dropped(f"drop {condition}")


def test_the_first_rule_that_fits_decides() -> None:
    assert not dropped("keep user=system:*\ndrop verb=get")
    assert dropped("drop verb=get\nkeep user=system:*")
    assert dropped("keep verb=list\n\n# a comment\ndrop verb=get\n")


def test_what_fits_no_rule_is_kept() -> None:
    assert not dropped("")
    assert not dropped("# nothing\n\n   \n")
    assert not dropped("drop verb=list")
    assert not dropped("keep verb=list")


def test_a_resource_has_its_subresource_behind_a_slash() -> None:
    shell = event(objectRef={"resource": "pods", "subresource": "exec"})
    assert dropped("drop resource=pods/exec", shell)
    assert dropped("drop resource=pods*", shell)
    assert not dropped("drop resource=pods", shell)


def test_what_an_event_does_not_have_is_empty() -> None:
    bare = event(objectRef={})
    assert not dropped("drop namespace=*?", bare)
    assert dropped("drop namespace!=default", bare)


def test_a_hash_within_a_word_is_not_a_comment() -> None:
    """So are the names that Entra ID gives to guests."""
    guest = event(user={"username": "bob_x.com#EXT#@y.com"})
    assert dropped("drop user=bob_x.com#EXT#@y.com  # Bob", guest)
    assert not dropped("drop user=bob_x.com", guest)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("dorp verb=get", "line 1: begins with neither keep nor drop"),
        ("drop verb=get\n\nverb=get", "line 3: begins with neither keep nor drop"),
        ("drop", "line 1: has no condition"),
        ("# x\ndrop # y", "line 2: has no condition"),
        ("drop verb", "line 1: 'verb' is not a condition"),
        ("drop verb=get resource", "line 1: 'resource' is not a condition"),
        ("drop verb = get", "line 1: 'verb' is not a condition"),
        ("drop verb==get,", None),
        ("drop Verb=get", "line 1: 'Verb=get' is not a condition"),
        ("drop name=x", "line 1: 'name' is not one of category, cluster,"),
        ("drop verb=", "line 1: 'verb=' is not a condition"),
        ("drop verb=,", "line 1: 'verb=,' names no value"),
        ("drop verb~get", "line 1: 'verb~get' is not a condition"),
    ],
)
def test_an_error_names_the_line(text: str, wrong: str | None) -> None:
    if wrong is None:
        assert not dropped(text)  # a value that begins with =
        return
    with pytest.raises(FilterError) as raised:
        parse(text)
    assert str(raised.value).startswith(wrong)


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_can_be_asked_for(field: str) -> None:
    assert dropped(f"drop {field}=*")
    assert not dropped(f"drop {field}=x")


WHOLE = json.loads(audit_event("a", **KNOWN))


def cut_within(text: str) -> AuditEvent:
    """The event cut right behind a text, and rebuilt."""
    raw = json.dumps(WHOLE | {"requestObject": {}}, separators=(",", ":")).replace(
        '"stageTimestamp":"2026-03-01T10:00:00.123456Z",', ""
    )
    end = raw.index(text) + len(text)
    rebuilt = salvage(raw[:end].encode(), "2026-03-01T10:00:00Z")
    return AuditEvent(rebuilt, "a", "ResponseComplete", "prod", "kube-audit", salvaged=True)


def test_what_the_cut_may_have_taken_never_lets_an_event_be_dropped() -> None:
    cut = cut_within('"username":"system:node:aks-1"')
    for field in ("resource", "namespace"):
        assert not dropped(f"drop {field}=*", cut)
        assert not dropped(f"drop {field}!=x", cut)
        assert not dropped(f"drop verb=get {field}!=x", cut)
        assert not dropped(f"keep {field}=x\ndrop verb=get", cut)  # it might have been x
    for condition in ("verb=get", "user=system:*", "stage=*", "cluster=prod", "category=*"):
        assert dropped(f"drop {condition}", cut)


def test_a_resource_without_its_subresource_may_be_half_of_it() -> None:
    cut = cut_within('"namespace":"kube-node-lease"')
    assert not dropped("drop resource=leases", cut)
    assert dropped("drop namespace=kube-node-lease", cut)


def test_an_event_that_cannot_be_read_so_far_is_kept() -> None:
    assert not dropped("drop user!=x resource!=x", event(user=7))
    assert not dropped("drop namespace!=x", event(objectRef=[]))
    assert dropped("drop cluster=prod", event(user=7))
