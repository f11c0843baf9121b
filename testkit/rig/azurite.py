"""Azurite, Microsoft's emulator of Blob Storage: a real process on a free loopback port."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = _ROOT / ".work/azurite/node_modules/azurite/dist/src/blob/main.js"
_OPTIONS = (
    "--blobHost=127.0.0.1",
    "--blobPort=0",
    "--inMemoryPersistence",
    "--extentMemoryLimit=64",
    "--skipApiVersionCheck",  # the SDK may be newer than Azurite
    "--disableTelemetry",
    "--silent",
)
_LISTENS = re.compile(r"successfully listens on http://127\.0\.0\.1:(\d+)")
_ACCOUNT = "devstoreaccount1"
# The key of every Azurite, published by Microsoft.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azurite:
    """A running Azurite."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def connection_string(self) -> str:
        """The connection string of its only account."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{self.port}/{_ACCOUNT};"
        )

    @staticmethod
    def missing() -> str | None:
        """Return why it cannot be run, or None if it can."""
        if shutil.which("node") is None:
            return "node is missing, which Azurite runs on"
        if not _SCRIPT.exists():
            return "Azurite is not installed: make azurite"
        return None


@contextmanager
def run_azurite(directory: Path) -> Iterator[Azurite]:
    """Run an Azurite from the beginning to the end of the block."""
    with subprocess.Popen(
        ["node", str(_SCRIPT), *_OPTIONS], cwd=directory, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Azurite(_port_of(process))
        finally:
            process.terminate()
            # It may still write output, and must not block because nobody reads it.
            process.communicate()


def _port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line)
        if match := _LISTENS.search(line):
            return int(match[1])
    raise RuntimeError(f"Azurite did not start: {''.join(output)}")
