"""The image's root file system, run as Kubernetes runs it when everything is locked down.

`build/image_root.sh` unpacks the image to dist/image; REQUIRE_IMAGE insists on it.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from testkit.rig import Forwarder, Rig
from testkit.streams.stream import Stream
from tests.package.contained import cannot, capabilities, first_process, in_image

IMAGE = Path(__file__).parents[2] / "dist" / "image"
contained = pytest.mark.skipif(cannot() is not None, reason=str(cannot()))


@pytest.fixture(scope="module")
def root() -> Path:
    if (IMAGE / "aks-audit-log").is_file():
        return IMAGE
    if os.environ.get("REQUIRE_IMAGE"):
        pytest.fail(f"REQUIRE_IMAGE is set, but {IMAGE} is not there")
    pytest.skip("no image here: `make image-root` makes and unpacks it")


def test_nothing_but_the_executable_can_be_run(root: Path) -> None:
    programs = [
        each.relative_to(root)
        for each in root.rglob("*")
        if each.is_file()
        and not each.is_symlink()
        and os.access(each, os.X_OK)
        and ".so" not in each.name
    ]
    assert Path("aks-audit-log") in programs
    assert not {each.name for each in programs} & {"sh", "bash", "dash", "busybox", "apt", "dpkg"}
    assert (root / "etc/ssl/certs/ca-certificates.crt").stat().st_size > 100_000


@contained
def test_locked_down(root: Path, rig: Rig, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    shutil.chown(volume, 65532, 65532)
    rig.publish(Stream(seed=6).take(500))
    environment = {
        **rig.environment({"CHECKPOINTFILE": "/home/nonroot/checkpoints.sqlite"}),
        "PATH": os.environ["PATH"],
    }
    program = in_image(root, "/aks-audit-log", volume)
    with Forwarder(environment, program=program) as forwarder:
        rig.account.wait()
        first = first_process(forwarder.pid)
        assert capabilities(first) == {
            "CapEff": "0" * 16,
            "CapPrm": "0" * 16,
            "NoNewPrivs": "1",
            "Uid": "65532 65532 65532 65532",
        }
        first.send_signal(signal.SIGTERM)
        assert forwarder.wait() == 0
        assert forwarder.log("stopped")
    assert (volume / "checkpoints.sqlite").stat().st_uid == 65532
