"""What happens in a cluster: the kinds of requests that audit events report.

The key order is that of kube-apiserver (`audit/v1`, `types.go`). A text is a template: `@id@`,
`@began@`, `@ended@`, `@name@` and `@rv@` stand for what differs from event to event.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

_UID = "5b0f5d0c-0b7e-4d0e-9a53-3c1a4a0f7e11"

COMPLETE = ("ResponseComplete",)
LONG_RUNNING = ("ResponseStarted", "ResponseComplete")
"""Watches, exec and attach: Falco's rules for the latter look at ResponseStarted."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    groups: Sequence[str]
    agent: str
    impersonates: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One kind of request, and how often it happens compared with the others."""

    weight: int
    verb: str
    uri: str
    user: User
    ref: Json | None = None
    code: int = 200
    stages: Sequence[str] = COMPLETE
    request: Json | None = None
    response: Json | None = None
    reason: str = ""

    @property
    def mutating(self) -> bool:
        """Whether kube-audit-admin has it: that category leaves reads out."""
        return self.verb not in {"get", "list", "watch"}

    def text(self, stage: str) -> str:
        """Write the event as kube-apiserver does: compact, with <, > and & escaped."""
        compact = json.dumps(self._event(stage), ensure_ascii=False, separators=(",", ":"))
        for character in "<>&":
            compact = compact.replace(character, f"\\u{ord(character):04x}")
        return compact

    def _event(self, stage: str) -> dict[str, Any]:
        return (
            self._who(stage)
            | self._what(stage)
            | {
                "requestReceivedTimestamp": "@began@",
                "stageTimestamp": "@ended@",
                "annotations": {
                    "authorization.k8s.io/decision": "forbid" if self.code == 403 else "allow",
                    "authorization.k8s.io/reason": self.reason,
                },
            }
        )

    def _who(self, stage: str) -> dict[str, Any]:
        event: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "RequestResponse" if self.response or self.request else "Metadata",
            "auditID": "@id@",
            "stage": stage,
            "requestURI": self.uri,
            "verb": self.verb,
            "user": {"username": self.user.name, "uid": _UID, "groups": list(self.user.groups)},
        }
        if self.user.impersonates:
            event["impersonatedUser"] = {"username": self.user.impersonates}
        return event | {"sourceIPs": ["10.224.0.4"], "userAgent": self.user.agent}

    def _what(self, stage: str) -> dict[str, Any]:
        event: dict[str, Any] = {"objectRef": self.ref} if self.ref else {}
        if stage == "RequestReceived":
            return event
        code = 500 if stage == "Panic" else self.code
        event["responseStatus"] = {"metadata": {}, "code": code}
        if self.request:
            event["requestObject"] = self.request
        if self.response and stage == "ResponseComplete":
            event["responseObject"] = self.response
        return event


def service_account(namespace: str, name: str, agent: str) -> User:
    """Return the user that a service account is."""
    accounts = "system:serviceaccounts"
    groups = (accounts, f"{accounts}:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups, agent)


KUBECTL = "kubectl/v1.32.3 (linux/amd64) kubernetes/32cc146"
ADMIN = User("masterclient", ("system:masters", "system:authenticated"), KUBECTL)
ALICE = User("alice.müller@contoso.example", ("aad:platform", "system:authenticated"), KUBECTL)
ROBOT = User("ci-robot", ("system:authenticated",), "argocd/v2.14 <ci>", impersonates="deployer")
NOBODY = User("system:anonymous", ("system:unauthenticated",), "curl/8.5.0")
NODE = User(
    "system:node:aks-nodepool1-31415926-vmss000000",
    ("system:nodes", "system:authenticated"),
    "kubelet/v1.32.4 (linux/amd64) kubernetes/59526cd",
)
CONTROLLER = User(
    "system:kube-controller-manager",
    ("system:authenticated",),
    "kube-controller-manager/v1.32.4 (linux/amd64) kubernetes/59526cd/leader-election",
)
COLLECTOR = service_account("kube-system", "resourcequota-controller", "hyperkube/v1.32.4")
OPERATOR = service_account("monitoring", "operator", "operator/0.80 (linux/amd64)")


def ref(resource: str, namespace: str = "", subresource: str = "", group: str = "") -> Json:
    """Return an objectRef, its keys in the order of the API's type, empty ones left out."""
    known = {"resource": resource, "namespace": namespace, "name": "@name@", "apiGroup": group}
    known |= {"apiVersion": "v1", "subresource": subresource}
    return {key: value for key, value in known.items() if value}


def metadata(namespace: str = "", **more: Any) -> dict[str, Any]:
    """Return the metadata of an object that a controller also manages."""
    known = {"name": "@name@", "namespace": namespace, "resourceVersion": "@rv@"}
    fields: Json = {"f:spec": {"f:template": {"f:spec": {"f:containers": {}}}}}
    managed = {"manager": "kubectl", "operation": "Update", "fieldsV1": fields}
    kept = {key: value for key, value in known.items() if value}
    return kept | more | {"managedFields": [managed]}


def pod(namespace: str, variables: int, *, privileged: bool = False) -> Json:
    """Return a pod; the number of its environment variables makes its size."""
    container = {
        "name": "main",
        "image": "registry.example/team/app@sha256:" + "0123456789abcdef" * 4,
        "command": ["sh", "-c", 'exec "$0" --flag="a b" && echo <done>\n'],
        "env": [
            {"name": f"SETTING_{n}", "value": f"value of number {n}"} for n in range(variables)
        ],
        "securityContext": {"privileged": privileged, "runAsUser": 0 if privileged else 1000},
    }
    spec = {"containers": [container], "hostNetwork": privileged, "nodeName": "@name@"}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata(namespace), "spec": spec}
