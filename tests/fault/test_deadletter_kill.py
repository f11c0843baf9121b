"""A writer of dead letters is killed at any moment."""

import signal
import subprocess
import sys
from pathlib import Path

from aks_audit.deadletters.store import DirectoryStore

_WRITER = """
import os, sys
from pathlib import Path
from aks_audit.deadletters.store import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
for number in range(1000000):
    store.write(f"{number % 50:06}.jsonl", (b"%d" % (number % 10)) * 300_000)
    if number == 100:
        print("writing", flush=True)
"""


def test_a_kill_leaves_no_half_segment(tmp_path: Path) -> None:
    """What it left half written is not a segment, and a later writer removes it."""
    store = DirectoryStore(tmp_path)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writing\n"
            process.send_signal(signal.SIGKILL)
        segments = [store.read(name) for name in store.names()]
        assert len(segments) == 50
        assert all(data and data == data[:1] * 300_000 for data in segments)
