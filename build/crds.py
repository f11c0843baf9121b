"""Schemas of the operators' objects, only for the fields that the chart uses.

Written from the documentation of the Prometheus operator (monitoring.coreos.com/v1) and KEDA
(keda.sh/v1alpha1). They find a misspelt or misplaced field without the full definitions.
"""

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
COUNT: Schema = {"type": "integer", "minimum": 0}
DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}


def _object(required: dict[str, Schema], **optional: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": items}


def _kind(version: str, kind: str, spec: Schema) -> Schema:
    metadata = _object({"name": TEXT, "namespace": TEXT}, labels=TEXTS, annotations=TEXTS)
    return _object(
        {
            "apiVersion": {"const": version},
            "kind": {"const": kind},
            "metadata": metadata,
            "spec": spec,
        }
    )


RELABELING = _object(
    {},
    sourceLabels=_list(TEXT),
    separator=TEXT,
    targetLabel=TEXT,
    regex=TEXT,
    replacement=TEXT,
    action=TEXT,
)
ENDPOINT = _object(
    {"port": TEXT, "path": TEXT, "interval": DURATION, "scrapeTimeout": DURATION},
    relabelings=_list(RELABELING),
    metricRelabelings=_list(RELABELING),
)
SELECTOR = _object({"matchLabels": TEXTS})
RULE = _object(
    {"alert": TEXT, "expr": TEXT, "labels": TEXTS, "annotations": TEXTS}, **{"for": DURATION}
)
TRIGGER = _object(
    {
        "type": {"const": "azure-eventhub"},
        "metadata": _object(
            {
                "eventHubName": TEXT,
                "consumerGroup": TEXT,
                "blobContainer": TEXT,
                "checkpointStrategy": {"const": "blobMetadata"},
                "unprocessedEventThreshold": {"type": "string", "pattern": "^[0-9]+$"},
            }
        ),
        "authenticationRef": _object({"name": TEXT}),
    }
)
BEHAVIOR = _object({"scaleDown": _object({"stabilizationWindowSeconds": COUNT})})

MONITORING, KEDA = "monitoring.coreos.com/v1", "keda.sh/v1alpha1"
SCHEMAS: dict[tuple[str, str], Schema] = {
    (version, kind): _kind(version, kind, spec)
    for version, kind, spec in (
        (
            MONITORING,
            "ServiceMonitor",
            _object({"selector": SELECTOR, "endpoints": _list(ENDPOINT)}),
        ),
        (
            MONITORING,
            "PodMonitor",
            _object({"selector": SELECTOR, "podMetricsEndpoints": _list(ENDPOINT)}),
        ),
        (
            MONITORING,
            "PrometheusRule",
            _object({"groups": _list(_object({"name": TEXT, "rules": _list(RULE)}))}),
        ),
        (
            KEDA,
            "TriggerAuthentication",
            _object(
                {"secretTargetRef": _list(_object({"parameter": TEXT, "name": TEXT, "key": TEXT}))}
            ),
        ),
        (
            KEDA,
            "ScaledObject",
            _object(
                {
                    "scaleTargetRef": _object({"name": TEXT}),
                    "minReplicaCount": COUNT,
                    "maxReplicaCount": COUNT,
                    "pollingInterval": COUNT,
                    "advanced": _object(
                        {"horizontalPodAutoscalerConfig": _object({"behavior": BEHAVIOR})}
                    ),
                    "triggers": _list(TRIGGER),
                }
            ),
        ),
    )
}
