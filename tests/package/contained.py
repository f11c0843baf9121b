"""Run a program as a container's runtime does, with what util-linux has: needs root."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil


def cannot() -> str | None:
    """Why nothing can be contained here, if so."""
    if os.geteuid() != 0:
        return "only root can make namespaces"
    missing = [tool for tool in ("unshare", "setpriv", "chroot") if shutil.which(tool) is None]
    if missing:
        return f"{missing[0]} is not here"
    probe = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True
    )
    return None if probe.returncode == 0 else f"no namespaces here: {probe.stderr.decode().strip()}"


def as_pid_1(program: str) -> list[str]:
    """The command that runs a program as the first process of a PID namespace."""
    return ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--", program]


def in_image(root: Path, program: str, volume: Path) -> list[str]:
    """The command that runs an image's program as Kubernetes does when all is locked down.

    A read-only root, a tmpfs on /tmp, a volume, the user 65532, no capabilities, no new
    privileges, the first process of its namespace.
    """
    where = shlex.quote(str(root))
    script = f"""
        set -e
        mount --bind {where} {where}
        mount --bind {shlex.quote(str(volume))} {where}/home/nonroot
        mount -o remount,bind,ro {where}
        mount -t tmpfs -o size=64m,mode=1777,nosuid,nodev tmpfs {where}/tmp
        exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid \\
          chroot --userspec=65532:65532 --groups= {where} {program} "$@"
    """
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    return [*unshare, "sh", "-c", script, "sh"]


def first_process(unshare_pid: int) -> psutil.Process:
    """The process that is the first one of the namespace that `unshare` made."""
    (child,) = psutil.Process(unshare_pid).children()
    return child


@contextmanager
def noexec_tmpfs(path: Path) -> Iterator[Path]:
    """A temporary folder from which nothing can be executed."""
    path.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "noexec,size=64m", "tmpfs", str(path)], check=True
    )
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def capabilities(process: psutil.Process) -> dict[str, str]:
    """What the kernel says of a process's rights."""
    wanted = ("CapEff", "CapPrm", "NoNewPrivs", "Uid")
    status = Path(f"/proc/{process.pid}/status").read_text()
    lines: Sequence[str] = status.splitlines()
    return {
        name: " ".join(rest.split())
        for name, _, rest in (x.partition(":") for x in lines)
        if name in wanted
    }
