"""The whole path on one machine: emulator, a real forwarder process, Falco's stand-in.

`Rig` holds the three together; a `Forwarder` is one process; an `Accounting` says what
was lost and what came twice; `eventually` waits for a condition. Nothing here waits for
a fixed time.
"""

from tests.rig.accounting import Accounting
from tests.rig.azurite import Azurite
from tests.rig.bodies import audit_bodies, envelope
from tests.rig.forwarder import Forwarder
from tests.rig.rig import HUB, Rig, open_rig
from tests.rig.scrape import Scrape
from tests.rig.stores import Store, blob_store, sqlite_store
from tests.rig.wait import DEADLINE_S, eventually

__all__ = [
    "DEADLINE_S",
    "HUB",
    "Accounting",
    "Azurite",
    "Forwarder",
    "Rig",
    "Scrape",
    "Store",
    "audit_bodies",
    "blob_store",
    "envelope",
    "eventually",
    "open_rig",
    "sqlite_store",
]
