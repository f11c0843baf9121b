"""How often each request comes to an API server: the mix that the stream draws from."""

from testkit.streams.shapes import (
    ADMIN,
    ALICE,
    COLLECTOR,
    CONTROLLER,
    LONG_RUNNING,
    NOBODY,
    NODE,
    OPERATOR,
    ROBOT,
    Json,
    Shape,
    metadata,
    pod,
    ref,
)

_CORE = "/api/v1/namespaces"
_RBAC = "rbac.authorization.k8s.io"
_DISCOVERY = (
    'RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" '
    'to Group "system:authenticated"'
)


def _list(kind: str, items: int) -> Json:
    return {
        "kind": f"{kind}List",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "@rv@"},
        "items": [dict(pod("shop", 2)) for _ in range(items)],
    }


_CONFIG_MAP = {
    "kind": "ConfigMap",
    "apiVersion": "v1",
    "metadata": metadata("shop"),
    "data": {
        "app.ini": 'path = "C:\\\\temp"\nmotto = "größer & besser"\n\ttab\u2028 \U0001f680\n',
        "aws_access_key_id": "not a real one",
    },
}
_BINDING = {
    "kind": "ClusterRoleBinding",
    "apiVersion": f"{_RBAC}/v1",
    "metadata": metadata(),
    "subjects": [{"kind": "User", "apiGroup": _RBAC, "name": "mallory"}],
    "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
}
_PATCH = {"spec": {"replicas": 3, "template": {"metadata": {"labels": {"rev": "@rv@"}}}}}
_DELETE = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}

_READS = (
    Shape(weight=90, verb="get", uri="/apis/metrics.k8s.io/v1beta1?timeout=32s", user=COLLECTOR,
          reason=_DISCOVERY),
    Shape(weight=60, verb="get", uri=f"{_CORE}/kube-system/configmaps/@name@", user=ADMIN,
          ref=ref("configmaps", "kube-system")),
    Shape(weight=60, verb="get", uri="/apis/coordination.k8s.io/v1/leases/@name@", user=CONTROLLER,
          ref=ref("leases", "kube-system", group="coordination.k8s.io")),
    Shape(weight=30, verb="get", uri="/healthz", user=NOBODY),
    Shape(weight=30, verb="get", uri=f"{_CORE}/shop/pods/@name@", user=NODE,
          ref=ref("pods", "shop"), response=pod("shop", 10)),
    Shape(weight=20, verb="get", uri=f"{_CORE}/shop/pods/@name@", user=ALICE, code=404,
          ref=ref("pods", "shop")),
    Shape(weight=25, verb="get", uri=f"{_CORE}/shop/secrets/@name@", user=OPERATOR,
          ref=ref("secrets", "shop")),
    Shape(weight=6, verb="list", uri="/api/v1/secrets?limit=500", user=NOBODY, code=403,
          ref=ref("secrets"), reason='User "system:anonymous" cannot list resource "secrets"'),
    Shape(weight=20, verb="list", uri=f"{_CORE}/shop/pods?labelSelector=a%3Db&limit=500",
          user=OPERATOR, ref=ref("pods", "shop")),
    Shape(weight=3, verb="list", uri=f"{_CORE}/shop/pods", user=OPERATOR, ref=ref("pods", "shop"),
          response=_list("Pod", 30)),
    Shape(weight=25, verb="watch", uri="/api/v1/pods?watch=true&resourceVersion=@rv@", user=NODE,
          ref=ref("pods"), stages=LONG_RUNNING),
    Shape(weight=10, verb="watch", uri="/apis/apps/v1/deployments?watch=true", user=CONTROLLER,
          ref=ref("deployments", group="apps"), stages=("RequestReceived", *LONG_RUNNING)),
)  # fmt: skip
_WRITES = (
    Shape(weight=60, verb="update", uri="/apis/coordination.k8s.io/v1/leases/@name@", user=NODE,
          ref=ref("leases", "kube-node-lease", group="coordination.k8s.io")),
    Shape(weight=20, verb="patch", uri="/api/v1/nodes/@name@/status?timeout=10s", user=NODE,
          ref=ref("nodes", subresource="status"), request=_PATCH),
    Shape(weight=12, verb="create", uri=f"{_CORE}/shop/pods", user=CONTROLLER, code=201,
          ref=ref("pods", "shop"), request=pod("shop", 20), response=pod("shop", 20)),
    Shape(weight=3, verb="create", uri=f"{_CORE}/shop/pods", user=ROBOT, code=201,
          ref=ref("pods", "shop"), request=pod("shop", 5, privileged=True),
          response=pod("shop", 300, privileged=True)),
    Shape(weight=10, verb="create", uri=f"{_CORE}/kube-system/events", user=NODE, code=201,
          ref=ref("events", "kube-system"), stages=("RequestReceived", "ResponseComplete")),
    Shape(weight=8, verb="create", uri=f"{_CORE}/shop/configmaps", user=ROBOT, code=201,
          ref=ref("configmaps", "shop"), request=_CONFIG_MAP, response=_CONFIG_MAP),
    Shape(weight=6, verb="create", uri=f"{_CORE}/shop/pods/@name@/exec?command=sh&stdin=true",
          user=ALICE, code=101, ref=ref("pods", "shop", "exec"), stages=LONG_RUNNING),
    Shape(weight=3, verb="create", uri=f"{_CORE}/shop/pods/@name@/attach?container=main",
          user=ALICE, code=101, ref=ref("pods", "shop", "attach"), stages=LONG_RUNNING),
    Shape(weight=4, verb="create", uri=f"/apis/{_RBAC}/v1/clusterrolebindings", user=ALICE,
          code=201, ref=ref("clusterrolebindings", group=_RBAC), request=_BINDING,
          response=_BINDING),
    Shape(weight=8, verb="patch", uri="/apis/apps/v1/namespaces/shop/deployments/@name@",
          user=ROBOT, ref=ref("deployments", "shop", group="apps"), request=_PATCH,
          response=pod("shop", 60)),
    Shape(weight=6, verb="delete", uri=f"{_CORE}/shop/pods/@name@", user=CONTROLLER,
          ref=ref("pods", "shop"), request=_DELETE),
    Shape(weight=2, verb="delete", uri=f"/apis/{_RBAC}/v1/clusterroles/@name@", user=ALICE,
          ref=ref("clusterroles", group=_RBAC), request=_DELETE),
    Shape(weight=1, verb="update", uri=f"{_CORE}/shop/services/@name@", user=ROBOT,
          ref=ref("services", "shop"), stages=("RequestReceived", "Panic")),
)  # fmt: skip

SHAPES = _READS + _WRITES
