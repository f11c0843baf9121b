"""Check rendered manifests: schemas, properties of every pod, and the program's configuration.

Kubernetes' objects are checked strictly against the schemas in kubernetes-validate, for several
versions. The objects of operators are checked against the small schemas in `crds.py`. The program's
own configuration checks the environment of every forwarder.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from aks_audit.config.load import ConfigError, load
from aks_audit.config.variables import VARIABLES
from build.crds import SCHEMAS

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("1.27", "1.30", "1.33", "1.37")
SIDECAR_VERSIONS = ("1.29", "1.33", "1.37")
"""Init containers that keep running exist from 1.28 on, and are on by default from 1.29 on."""
LAST_WRITES_S = 15
"""As in aks_audit/app.py."""
CONNECTION_STRINGS = ("EHUBNAMESPACECONNECTIONSTRING", "BLOBSTORAGECONNECTIONSTRING")
EXAMPLES = {
    variable.name: variable.example.replace("Key=KEY", "Key=S0VZ") for variable in VARIABLES
}
"""The examples of the documentation, with keys that are valid Base64."""
LOOKED_AT_ON_THE_SPOT = {"SSL_CERT_FILE"}
"""Variables that name a file which is not on this machine."""
Object = dict[str, Any]


@dataclass(frozen=True)
class Forwarder:
    """A container of the forwarder, and the pod around it."""

    where: str
    container: Object
    pod: Object


def objects(file: Path) -> list[Object]:
    """The objects in a file. The values for Falco's chart become the pod that they extend."""
    documents = [document for document in yaml.safe_load_all(file.read_text()) if document]
    if file.name == "falco-chart-values.yaml":
        return [_pod_of(documents[0])]
    return documents


def _pod_of(values: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "falco"},
        "spec": {
            "initContainers": values["extra"]["initContainers"],
            "containers": [{"name": "falco", "image": "falco"}],
            "volumes": values["mounts"]["volumes"],
        },
    }


def schema_problems(document: Object) -> Iterator[str]:
    """The problems that the schemas find."""
    schema = SCHEMAS.get((document["apiVersion"], document["kind"]))
    if schema is not None:
        for error in jsonschema.Draft7Validator(schema).iter_errors(document):
            yield f"{error.json_path}: {error.message}"
        return
    for version in SIDECAR_VERSIONS if "restartPolicy" in str(_init(document)) else VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {error.message}"


def _pod_template(document: Object) -> Object:
    if document["kind"] == "Pod":
        return document
    template: Object = document.get("spec", {}).get("template", {})
    return template


def _init(document: Object) -> list[Object]:
    containers: list[Object] = _pod_template(document).get("spec", {}).get("initContainers", [])
    return containers


def forwarders(file: Path, documents: list[Object]) -> Iterator[Forwarder]:
    """The forwarder's containers."""
    for document in documents:
        pod = _pod_template(document).get("spec", {})
        for container in (*pod.get("containers", ()), *pod.get("initContainers", ())):
            if container["name"] == "aks-audit-log":
                yield Forwarder(f"{file.name}: {document['metadata']['name']}", container, pod)


def hardening_problems(forwarder: Forwarder) -> Iterator[str]:
    """The requirements that a forwarder's container and pod do not meet."""
    own, pod = forwarder.container.get("securityContext", {}), forwarder.pod
    context = {**pod.get("securityContext", {}), **own}
    expected = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for name, value in expected.items():
        if context.get(name) != value:
            yield f"{name} is not {value}"
    probes = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for name, path in probes.items():
        if forwarder.container.get(name, {}).get("httpGet", {}).get("path") != path:
            yield f"{name} does not ask {path}"
    if "memory" not in forwarder.container["resources"]["limits"]:
        yield "there is no memory limit"
    yield from _tmp_problems(forwarder)


def _tmp_problems(forwarder: Forwarder) -> Iterator[str]:
    mounts = {mount["mountPath"]: mount["name"] for mount in forwarder.container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in forwarder.pod["volumes"]}
    limit = volumes.get(mounts.get("/tmp"), {}).get("emptyDir", {}).get("sizeLimit", "")
    if not limit.endswith("Mi") or int(limit.removesuffix("Mi")) < 64:  # noqa: PLR2004
        yield "/tmp is not an emptyDir of at least 64Mi"


def environment(forwarder: Forwarder, documents: list[Object]) -> dict[str, str]:
    """The environment of a container. Secrets come from the file, or are the examples."""
    known = dict(EXAMPLES)
    for document in documents:
        if document["kind"] == "Secret":
            known.update(document["stringData"])
    found: dict[str, str] = {}
    for source in forwarder.container.get("envFrom", ()):
        if "secretRef" in source:
            found |= {name: known[name] for name in CONNECTION_STRINGS}
    for entry in forwarder.container.get("env", ()):
        name: str = entry["name"]
        mounted = name.removesuffix("_FILE").upper()
        if "valueFrom" in entry:
            found[name] = known[name.upper()]
        elif name.endswith("_FILE") and mounted in EXAMPLES:
            found[mounted] = known[mounted]
        elif name not in LOOKED_AT_ON_THE_SPOT:
            found[name] = entry["value"]
    return found


def environment_problems(forwarder: Forwarder, documents: list[Object]) -> Iterator[str]:
    """Problems of the environment, as the program finds them, and too little time to stop."""
    try:
        config = load(environment(forwarder, documents))
    except ConfigError as error:
        yield f"the program refuses its environment: {error}"
        return
    if config.warnings:
        yield f"the program warns of its environment: {config.warnings}"
    grace = forwarder.pod.get("terminationGracePeriodSeconds", 30)
    if grace <= config.shutdown_grace_s + LAST_WRITES_S:
        yield f"terminationGracePeriodSeconds {grace} is too short"


def selector_problems(documents: list[Object]) -> Iterator[str]:
    """Selectors that do not select any pod of the same file."""
    pods = [
        _pod_template(document)["metadata"].get("labels", {})
        for document in documents
        if document["kind"] == "Deployment"
    ]
    for document in documents:
        spec = document.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector"))
        if not isinstance(selector, dict):
            continue
        labels = selector.get("matchLabels", selector)
        if not labels:
            yield f"{document['kind']} selects everything"
        elif document["kind"] != "ServiceMonitor" and not any(
            labels.items() <= pod.items() for pod in pods
        ):
            yield f"{document['kind']} selects nothing: {labels}"


def secret_problems(documents: list[Object]) -> Iterator[str]:
    """Secrets in places where they must not be."""
    for document in documents:
        text = yaml.safe_dump(document)
        if document["kind"] != "Secret" and ("SharedAccessKey=" in text or "AccountKey=" in text):
            yield f"{document['kind']} holds a connection string"


def problems(file: Path) -> Iterator[str]:
    """All problems of a file."""
    documents = objects(file)
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        yield from (f"{file.name}: {name}: {each}" for each in schema_problems(document))
    yield from (f"{file.name}: {each}" for each in selector_problems(documents))
    yield from (f"{file.name}: {each}" for each in secret_problems(documents))
    found = list(forwarders(file, documents))
    if not found and file.name != "secret.example.yaml":
        yield f"{file.name}: there is no forwarder"
    for forwarder in found:
        for each in (*hardening_problems(forwarder), *environment_problems(forwarder, documents)):
            yield f"{forwarder.where}: {each}"


def variable_problems() -> Iterator[str]:
    """Variables that only the program or only the chart knows."""
    schema = json.loads((ROOT / "deploy/chart/values.schema.json").read_text())["properties"]
    secrets = {variable.name for variable in VARIABLES if variable.secret}
    # STATSADDRESS follows from stats.address and stats.port; a webhook's URL need not be a secret.
    others = {variable.name for variable in VARIABLES} - secrets - {"STATSADDRESS"} | {"WEBSINKURL"}
    for place, expected in (("config", others), ("secret", secrets)):
        known = schema[place]["properties"]
        for names in (known,) if place == "config" else (known["keys"], known["values"]):
            wrong = expected ^ set(names.get("properties", names))
            if wrong:
                yield f"values.schema.json, {place}: {', '.join(sorted(wrong))}"


def main(names: list[str]) -> int:
    """Run the command line."""
    files = [Path(name) for name in names]
    files.append(ROOT / "deploy/kubernetes/falco-chart-values.yaml")
    found = [*variable_problems(), *(each for file in files for each in problems(file))]
    for each in found:
        print(each, file=sys.stderr)
    print(f"{len(files)} files, {sum(len(objects(file)) for file in files)} objects")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
