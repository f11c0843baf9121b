"""Faults of the service, for tests. All methods may be called from any thread.

Each takes effect before the call returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import LINK_DETACH_FORCED, NOT_FOUND
from .service import AuthRefusal

if TYPE_CHECKING:
    from .server import Emulator


class Faults:
    """The faults of one running emulator, which knows what is active. Nothing is at first."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._loop = emulator.loop

    def cut(self, hub: str | None = None, partition: str | None = None) -> int:
        """Reset connections, those with a receiver on a hub or partition if given, or all.

        Returns how many there were.
        """
        return self._loop.run(lambda: self._cut(hub, partition))

    def _cut(self, hub: str | None, partition: str | None) -> int:
        anything = hub is None and partition is None
        peers = [peer for peer in self._emulator.peers if anything or peer.reads(hub, partition)]
        for peer in peers:
            peer.reset()
            self._emulator.peers.discard(peer)
        return len(peers)

    def refuse_connections(self) -> None:
        """Refuse new connections, as a host does on a port without a listener; open ones stay."""
        self._loop.run(self._emulator.stop_listening)

    def accept_connections(self) -> None:
        """Accept connections again, on the same port."""
        self._loop.run(self._emulator.listen)

    def stop(self) -> None:
        """Stop the service: refuse new connections and cut those there are. The data stay."""

        def stop() -> None:
            self._emulator.stop_listening()
            self._cut(None, None)

        self._loop.run(stop)

    def start(self) -> None:
        """Start the service again, on the same port, with the same data."""
        self.accept_connections()

    def silence(self) -> None:
        """Accept connections, but do not read or write any more."""
        self._loop.run(self._emulator.pause.begin)

    def recover(self) -> None:
        """Go on after `silence` with everything that has arrived since."""
        self._loop.run(self._emulator.pause.end)

    def refuse_auth(self, status: int = 401, description: str | None = None) -> None:
        """Answer every `put-token` with an HTTP status that is not success."""
        refusal = AuthRefusal(status) if description is None else AuthRefusal(status, description)
        self._set_auth(refusal)

    def grant_auth(self) -> None:
        """Take tokens again."""
        self._set_auth(None)

    def _set_auth(self, refusal: AuthRefusal | None) -> None:
        def change() -> None:
            self._emulator.service.auth_refusal = refusal

        self._loop.run(change)

    def detach(
        self,
        hub: str | None = None,
        partition: str | None = None,
        *,
        condition: str = LINK_DETACH_FORCED,
        description: str = "The link was detached by a fault.",
    ) -> int:
        """Detach receivers with an error, those of a hub or partition if given, or all.

        Returns how many there were.
        """

        def detach() -> int:
            receivers = self._emulator.service.receivers
            chosen = [each for each in receivers if each.partition.matches(hub, partition)]
            for receiver in chosen:
                receiver.disconnect(condition, description)
            return len(chosen)

        return self._loop.run(detach)

    def recreate(
        self, hub: str, partitions: int | None = None, *, keep_creation_time: bool = False
    ) -> int:
        """Delete a hub and make it anew under its name, empty; see Broker.recreate.

        All links to it are detached with amqp:not-found; clients may attach to the new hub at
        once. Returns how many links there were.
        """

        def recreate() -> int:
            self._emulator.broker.recreate(hub, partitions, keep_creation_time=keep_creation_time)
            text = f"The messaging entity '{hub}' could not be found."
            peers = self._emulator.peers
            return sum(peer.connection.detach_hub(hub, NOT_FOUND, text) for peer in peers)

        return self._loop.run(recreate)

    def fail_over(self, *, keep_creation_time: bool = False) -> int:
        """Reset all connections; those who connect again find every hub empty.

        The namespace has failed over without its data; see Broker.fail_over. Together with
        `keep_creation_time` only sequence numbers, offsets and times tell that the events
        are others. Returns how many connections there were.
        """

        def fail_over() -> int:
            self._emulator.broker.fail_over(keep_creation_time=keep_creation_time)
            return self._cut(None, None)

        return self._loop.run(fail_over)

    def delay_deliveries(self, seconds: float) -> None:
        """Send events only that long after they could be sent; 0 ends it."""

        def change() -> None:
            self._emulator.service.delivery_delay = seconds
            self._emulator.wake()

        self._loop.run(change)

    def add_partitions(self, hub: str, count: int = 1) -> None:
        """Give a hub more partitions while it is in use."""
        self._emulator.broker.add_partitions(hub, count)
