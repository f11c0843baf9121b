"""A stand-in for Falco's k8saudit webhook, with faults on demand and a memory.

It runs in a trio program (`serve_falco`), beside a test (`ThreadedFalco`), or as a separate
process (`python -m testkit.falco`).
"""

from testkit.falco.received import Key
from testkit.falco.server import Falco, serve_falco
from testkit.falco.threaded import ThreadedFalco
from testkit.falco.webhook import Settings

__all__ = ["Falco", "Key", "Settings", "ThreadedFalco", "serve_falco"]
