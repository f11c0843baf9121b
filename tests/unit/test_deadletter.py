"""Dead letters as they lie in a directory, and as lines of a segment."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from aks_audit.deadletters import store as deadletter
from aks_audit.deadletters.store import LEFTOVER_S, DeadLetter, DirectoryStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def letter(body: bytes = b"{}", **changes: object) -> DeadLetter:
    known: dict[str, object] = {
        "body": body,
        "kind": "raw",
        "reason": "broken-body",
        "detail": "not UTF-8",
        "partition": "3",
        "sequence_number": 42,
        "offset": "4711",
        "enqueued_at": NOON,
        "dead_at": NOON,
    }
    return DeadLetter(**known | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\0\xff\xfe", bytes(range(256)), b'"\n"', b"x" * 10**6]
)
def test_the_bytes_survive_whatever_they_are(body: bytes) -> None:
    kept = letter(body, status=400, attempts=7, audit_id="\U0001f600\n\0")
    assert deadletter.decode(deadletter.encode([kept, kept])) == [kept, kept]
    assert deadletter.encode([kept]).count(b"\n") == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" + data,
        lambda data: data + b"{}\n",
        lambda _: b"[" * 100_000 + b"\n",
    ],
)
def test_a_damaged_segment_is_told(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own words
        deadletter.decode(damage(deadletter.encode([letter()])))


def test_names_sort_by_time_and_never_meet() -> None:
    moments = [NOON + timedelta(seconds=number / 7) for number in range(20)]
    east = timezone(timedelta(hours=5))
    names = [deadletter.segment_name(moment.astimezone(east)) for moment in moments]
    assert names == sorted(names)
    assert len({deadletter.segment_name(NOON) for _ in range(100)}) == 100


def test_a_directory_keeps_segments_in_order(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "is" / "made")
    assert list(store.names()) == []
    store.write("b.jsonl", b"second")
    store.write("a.jsonl", b"first")
    store.write("a.jsonl", b"first again")
    (tmp_path / "is" / "made" / "notes.txt").write_text("no segment")
    assert list(store.names()) == ["a.jsonl", "b.jsonl"]
    assert store.read("a.jsonl") == b"first again"
    store.remove("a.jsonl")
    store.remove("a.jsonl")
    assert store.read("a.jsonl") is None
    assert list(store.names()) == ["b.jsonl"]


def test_a_segment_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noting_fsync(descriptor: int) -> None:
        kind = "directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112
        steps.append(f"flush {kind}, {len(list(tmp_path.glob('*.jsonl')))} named")
        fsync(descriptor)

    def noting_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "rename", noting_rename)
    DirectoryStore(tmp_path).write("a.jsonl", b"data")
    assert steps == ["flush file, 0 named", "rename", "flush directory, 1 named"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.write("a.jsonl", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            store.write("a.jsonl", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]
    assert store.read("a.jsonl") == b"old"


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
    """What it left aside is no segment, and is removed by a later writer."""
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


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left, busy = tmp_path / ".a.jsonl.1234.tmp", tmp_path / ".b.jsonl.1234.tmp"
    left.write_bytes(b"half")
    busy.write_bytes(b"another process's, just now")
    os.utime(left, (0, left.stat().st_mtime - LEFTOVER_S - 1))
    store = DirectoryStore(tmp_path)
    assert list(store.names()) == []
    store.write("c.jsonl", b"data")
    assert not left.exists()
    assert busy.exists()
