"""The whole path on one machine: emulator, a real forwarder process, Falco's stand-in.

`Rig` holds the three together; a `Forwarder` is one process; an `Accounting` says what
was lost and what came twice; `eventually` waits for a condition. Nothing here waits for
a fixed time.
"""

from testkit.rig.accounting import Accounting
from testkit.rig.azurite import Azurite
from testkit.rig.forwarder import Forwarder
from testkit.rig.rig import HUB, Rig, open_rig
from testkit.rig.scrape import Scrape
from testkit.rig.stores import Store, blob_store, sqlite_store
from testkit.rig.wait import DEADLINE_S, eventually

__all__ = [
    "DEADLINE_S",
    "HUB",
    "Accounting",
    "Azurite",
    "Forwarder",
    "Rig",
    "Scrape",
    "Store",
    "blob_store",
    "eventually",
    "open_rig",
    "sqlite_store",
]
