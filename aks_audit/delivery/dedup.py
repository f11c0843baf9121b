"""Audit events that arrive twice are posted once.

kube-audit-admin is a subset of kube-audit, and clusters that send both deliver
the same event twice; Event Hubs delivers some again. An event counts as seen
when its id *and* its bytes are the same, its cluster and its webhook as well.
The id alone is no proof: a client chooses it with the request header
``Audit-ID`` (kube-apiserver, ``WithAuditInit``), so an attacker could have a
harmless request of the same id hide another one. The stages of a request are
different events, as their bytes differ.

Safe for at-least-once, because the second copy is not done before the first
one: while the hub event of the first copy is open, the second copy's hub event
stays open as well (`Entry.follow`). So no checkpoint passes a copy that rests on
one that may yet be lost in a crash. Such waits only point to hub events that
were opened before, so they never form a ring.
"""

from ..checkpoints.ledger import Entry
from ..model import AuditEvent

BYTES_PER_EVENT = 200
"""What one remembered event costs, measured: key, hashes and its place in a dict. Where each comes
in a hub event of its own, that one's entry in the ledger adds as much again."""


class Window:
    """The events seen last: between ``size`` / 2 and ``size`` of them.

    Two generations, of which the older is dropped whole when the younger is
    full: forgetting costs nothing per event. Memory is bounded by ``size`` times
    `BYTES_PER_EVENT`.
    """

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[Key, Entry] = {}
        self._old: dict[Key, Entry] = {}

    def meet(self, key: "Key", entry: Entry) -> Entry | None:
        """The hub event in which an event came first; None if this is it, which is remembered."""
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


def key_of(event: AuditEvent, lane: str) -> Key:
    """What tells an event on its way to a webhook from others."""
    return hash((lane, event.cluster, event.audit_id)), hash(event.raw)
