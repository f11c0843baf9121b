"""The request nodes: `$cbs` takes tokens, `$management` describes hubs and partitions.

Names of operations, properties and fields as in the SDKs: azure-eventhub,
`_client_base.py` and `_pyamqp/cbs.py`; OASIS "AMQP Claims-based Security".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proton import UNDESCRIBED, Array, Data, int32, timestamp

from .addresses import CBS
from .errors import NOT_FOUND, UNAUTHORIZED_ACCESS, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .broker import Broker
    from .partition import Partition
    from .service import Service
    from .tokens import Authorization

_EVENTHUB, _PARTITION = "com.microsoft:eventhub", "com.microsoft:partition"
_OK, _ACCEPTED, _BAD_REQUEST, _UNAUTHORIZED, _MISSING = 200, 202, 400, 401, 404
_NEVER_MS = -62_135_596_800_000  # the first day of year 1, the service's "no time"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: an HTTP status with its text, the fields asked for, an AMQP condition."""

    status: int
    description: str
    body: dict[str, object] | None = None
    condition: str | None = None

    def properties(self) -> dict[str, object]:
        """Return the application properties of the message that carries this reply."""
        code = int32(self.status)
        # The two nodes spell these differently, and so do the clients of each: both are sent.
        properties: dict[str, object] = {
            "status-code": code,
            "statusCode": code,
            "status-description": self.description,
            "statusDescription": self.description,
        }
        if self.condition is not None:
            properties["error-condition"] = self.condition
        return properties


def answer(
    node: str,
    service: Service,
    authorization: Authorization,
    request: Mapping[str, object],
    body: object,
) -> Reply:
    """Answer a request to `$cbs` or `$management`.

    It is given as its application properties and its body; `authorization` is its connection's.
    """
    if node == CBS:
        return _put_token(service, authorization, request, body)
    try:
        with service.broker.lock:
            return _read(service.broker, request)
    except RefusedError as error:
        status = _MISSING if error.condition == NOT_FOUND else _BAD_REQUEST
        return Reply(status, error.description, condition=error.condition)


def _put_token(
    service: Service, authorization: Authorization, request: Mapping[str, object], token: object
) -> Reply:
    if request.get("operation") != "put-token":
        return _bad_request(request)
    if service.auth_refusal is not None:
        refusal = service.auth_refusal
        service.refused_tokens += 1
        return Reply(refusal.status, refusal.description, condition=UNAUTHORIZED_ACCESS)
    try:
        authorization.put_token(token)
    except RefusedError as error:
        service.refused_tokens += 1
        return Reply(_UNAUTHORIZED, error.description, condition=error.condition)
    return Reply(_ACCEPTED, "Accepted")


def _read(broker: Broker, request: Mapping[str, object]) -> Reply:
    hub = broker.hub(str(request.get("name", "")))
    if request.get("operation") != "READ":
        return _bad_request(request)
    if request.get("type") == _EVENTHUB:
        body: dict[str, object] = {
            "name": hub.name,
            "type": _EVENTHUB,
            "created_at": timestamp(hub.created_ms),
            "partition_count": int32(len(hub.partitions)),
            # An array, as the service sends it: Go's SDK does not take a list.
            "partition_ids": _strings(hub.partition_ids),
        }
        return Reply(_OK, "OK", body)
    if request.get("type") == _PARTITION:
        return Reply(_OK, "OK", _describe(hub.partition(str(request.get("partition", "")))))
    return _bad_request(request)


def _strings(texts: list[str]) -> Array:
    return Array(UNDESCRIBED, Data.STRING, *texts)  # type: ignore[arg-type]  # its annotation is too narrow


def _describe(partition: Partition) -> dict[str, object]:
    last = partition.last_event
    return {
        "name": partition.hub,
        "type": _PARTITION,
        "partition": partition.id,
        "begin_sequence_number": partition.first_sequence_number,
        "last_enqueued_sequence_number": partition.last_sequence_number,
        "last_enqueued_offset": "-1" if last is None else partition.offset_of(last),
        "last_enqueued_time_utc": timestamp(_NEVER_MS if last is None else last.enqueued_ms),
        "is_partition_empty": len(partition) == 0,
    }


def _bad_request(request: Mapping[str, object]) -> Reply:
    operation, entity = request.get("operation"), request.get("type")
    return Reply(_BAD_REQUEST, f"The operation {operation!r} on {entity!r} is not supported.")
