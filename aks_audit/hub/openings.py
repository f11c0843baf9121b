"""The SDK's client, made to tell when it cannot open a partition, and to pause before it retries.

The SDK takes any failure to open a partition's link for a close
(`aio/_transport/_pyamqp_transport_async.py`, ``_receive_task``, "exit by close"), and
begins anew at once, for ever. An unknown consumer group or a right that is missing would
show as silence, at the cost of a core.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from azure.eventhub.aio import EventHubConsumerClient

PAUSE_S = 1.0
"""Between two attempts to open a partition."""

Tell = Callable[[str, Exception | None], None]
"""(partition, why it cannot be opened, or None when it is open)"""


def tell_openings(client: EventHubConsumerClient, tell: Tell) -> None:
    """Have a client tell how the opening of each partition goes.

    The SDK has no public way to learn of it, so the making of its consumers is wrapped.
    """
    anyhow: Any = client
    create = anyhow._create_consumer  # noqa: SLF001

    def create_consumer(consumer_group: str, partition_id: str, *args: Any, **kwargs: Any) -> Any:
        consumer = create(consumer_group, partition_id, *args, **kwargs)
        consumer._open = _telling(consumer, partition_id, tell)  # noqa: SLF001
        return consumer

    anyhow._create_consumer = create_consumer  # noqa: SLF001


def _telling(consumer: Any, partition: str, tell: Tell) -> Any:
    attempt = consumer._open  # noqa: SLF001

    async def open_() -> None:
        if consumer.running:
            return
        try:
            await attempt()
        except Exception as error:
            tell(partition, error)
            await asyncio.sleep(PAUSE_S)
            raise
        tell(partition, None)

    return open_
