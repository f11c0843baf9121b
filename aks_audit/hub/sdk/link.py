"""The receiving of one partition: the SDK's link, connection and buffers."""

import asyncio
import importlib
from contextlib import suppress
from typing import Any

from azure.eventhub import EventData

from .names import ERRORS

_FRAME_HEADER_BYTES = 8


class PartitionLink:
    """The private parts of the SDK that reading one partition takes, and no policy.

    Args:
        consumer: The SDK's consumer of the partition.
        batch: Whether its callback takes lists of events.
    """

    def __init__(self, consumer: Any, *, batch: bool) -> None:
        self._consumer = consumer
        self._batch = batch
        self.partition: str = consumer._partition

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and not closed since."""
        return bool(self._consumer.running)

    async def open(self) -> None:
        """Open it at the event that was taken last. Raises what the SDK raises."""
        await self._consumer._open()

    async def ready(self) -> bool:
        """Renew the token if it is time; returns whether events can come.

        Raises what the SDK raises, for example that the hub has detached the link.
        """
        return bool(await self._consumer._handler.client_ready_async())

    @property
    def credit(self) -> int:
        """How many messages the hub may still send; less than nothing after a reduction."""
        return int(self._consumer._handler._link.current_link_credit)

    async def grant(self, credit: int) -> None:
        """Tell the hub how many messages it may send from now on. Raises what the SDK raises."""
        await self._consumer._handler._link.flow(link_credit=credit)

    async def listen(self, wait_s: float) -> None:
        """Read one frame, or none in ``wait_s``. Raises what the SDK raises.

        A frame that is there as a whole is read without a timeout, which costs a task. In Python
        3.11 a timeout may also swallow a cancellation (`asyncio.wait_for`).
        """
        connection = self._consumer._handler._connection
        await connection.listen(wait=True if self.has_frame() else wait_s)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError

    def has_frame(self) -> bool:
        """Whether a whole frame can be read without waiting; False where that is not known."""
        transport = self._consumer._handler._connection._transport
        left = transport._read_buffer
        if left.tell() != left.getbuffer().nbytes:  # of a frame that was not whole
            return False
        data: bytes = getattr(getattr(transport, "reader", None), "_buffer", b"")
        size = int.from_bytes(data[:4], "big")  # AMQP 1.0, 2.3.1
        return bool(_FRAME_HEADER_BYTES <= size <= len(data))

    def take(self) -> list[EventData]:
        """The events that came since the last call. An opening begins with the last of them."""
        consumer = self._consumer
        events: list[EventData] = [
            consumer._next_message_in_buffer() for _ in range(len(consumer._message_buffer))
        ]
        if events:
            # A link that is opened again begins with the event that was received last. Where the
            # stream was replaced meanwhile, an offset may lie anywhere in it; by its sequence
            # number this very event must come again, or the stream is not the same.
            consumer._offset = events[-1].sequence_number
            consumer._offset_inclusive = True
            consumer._last_received_event = None  # it would be kept until the next one comes
        return events

    async def call_back(self, events: list[EventData]) -> None:
        """Hand events over, or the sign that there are none. Raises what the callback raises."""
        call = self._consumer._on_event_received
        if self._batch:
            await call(events)
            return
        if not events:
            await call(None)
        for event in events:
            await call(event)

    async def keep_alive(self) -> None:
        """Send the hub an empty frame, if it is time for one, and read nothing.

        Any fault is met again by whoever reads next.
        """
        if self.is_open:
            with suppress(importlib.import_module(ERRORS).AMQPException):
                await self._consumer._handler._connection.listen(batch=0)

    def is_final(self, error: Exception) -> bool:
        """Whether another reader has the partition, or the SDK lacks a package."""
        errors: Any = importlib.import_module(ERRORS)
        stolen = isinstance(error, errors.AMQPLinkError) and (
            error.condition == errors.ErrorCondition.LinkStolen
        )
        return stolen or isinstance(error, ImportError)

    async def shut(self, error: Exception) -> Exception:
        """Close the link after an error; returns it, or raises it, as a public error."""
        failure: Exception = await self._consumer._handle_exception(error)
        return failure
