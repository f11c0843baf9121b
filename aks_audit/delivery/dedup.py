"""Audit events that arrive twice are posted once.

kube-audit-admin is a subset of kube-audit, and clusters that send both deliver the same event
twice. Event Hubs delivers some events again. An event counts as a copy when its id *and* its
bytes are the same, and its cluster and its webhook as well. The id alone is not a proof: a client
chooses it with the request header ``Audit-ID`` (kube-apiserver, ``WithAuditInit``). So an
attacker could hide a request behind a harmless one of the same id. The stages of a request are
different events, because their bytes differ.

This keeps at-least-once, because the second copy is not done before the first one: while the hub
event of the first copy is open, the second copy's hub event stays open as well (`Entry.follow`).
So no checkpoint passes a copy whose first one may still be lost in a crash. An entry only follows
one that was opened before it, so they never wait for each other in a ring.
"""

from ..checkpoints.ledger import Entry
from ..model import AuditEvent

BYTES_PER_EVENT = 200
"""What one remembered event costs, measured: key, hashes and its place in a dict. Where each event
comes in a hub event of its own, the entry in the ledger costs as much again."""


class Window:
    """The events seen last: between ``size`` / 2 and ``size`` of them.

    There are two generations. When the younger one is full, the older one is dropped whole, so
    forgetting costs nothing per event. Memory is bounded by ``size`` times `BYTES_PER_EVENT`.
    """

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[Key, Entry] = {}
        self._old: dict[Key, Entry] = {}

    def meet(self, key: "Key", entry: Entry) -> Entry | None:
        """The hub event in which an event came first; None if it is this one.

        The first one is remembered.
        """
        young = self._young
        first = young.get(key) or self._old.get(key)
        if first is None:
            if len(young) >= self._half:
                self._old, self._young = young, {}
            self._young[key] = entry
        return first

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


Key = tuple[int, int]
"""The hashes of what an event says of itself and of its bytes (SipHash with a secret of this
process). No text is kept: the id is as long as the client likes."""


def key_of(event: AuditEvent, route: str) -> Key:
    """What tells an event on its way to a webhook from others."""
    return hash((route, event.cluster, event.audit_id)), hash(event.raw)
