"""Print the metrics of a running forwarder, after it has delivered events and read some noise.

The forwarder is a real process on the emulator and the stand-in for Falco, as in the tests.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from testkit.rig import HUB, open_rig, sqlite_store
from testkit.streams.bodies import audit_bodies

NOISE = (b" ", b"no JSON", b'{"records": [{"properties": {"log": "I0109 21:24:54 klog"}}]}')


def main() -> None:
    """Run the command line."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_rig(sqlite_store(Path(folder)), partitions=2) as rig,
        rig.forwarder() as forwarder,
    ):
        rig.publish(audit_bodies("scraped", 20, partitions=2))
        for body in NOISE:
            rig.emulator.broker.publish(HUB, "0", [body])
        rig.account.wait()
        rig.wait_for_checkpoints()
        print(forwarder.get("/metrics").text, end="")


if __name__ == "__main__":
    main()
