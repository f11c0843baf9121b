"""An Event Hubs endpoint over AMQP 1.0, for demos, tests and benchmarks.

It keeps events in memory and speaks plain AMQP on a port of the local machine, the way
the SDKs address Microsoft's emulator (`UseDevelopmentEmulator=true`). A `Broker` holds
the hubs; `serve` runs an `Emulator` for it in a trio nursery, `ThreadedEmulator` in
its own thread.
"""

from .broker import Broker, Hub
from .counters import Counters, PartitionCounters, ReceiverCounters
from .errors import RefusedError
from .faults import Faults
from .partition import Partition
from .server import Emulator, serve
from .threaded import ThreadedEmulator

__all__ = [
    "Broker",
    "Counters",
    "Emulator",
    "Faults",
    "Hub",
    "Partition",
    "PartitionCounters",
    "ReceiverCounters",
    "RefusedError",
    "ThreadedEmulator",
    "serve",
]
