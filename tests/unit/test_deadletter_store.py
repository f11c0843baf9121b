"""Segments of dead letters, as they lie in a directory."""

import os
import resource
import stat
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from aks_audit.deadletters import letter as deadletter
from aks_audit.deadletters.store import LEFTOVER_S, DirectoryStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


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


def test_nobody_else_may_read_dead_letters(tmp_path: Path) -> None:
    folder, before = tmp_path / "deadletters", os.umask(0)
    try:
        DirectoryStore(folder).write("a.jsonl", b"data")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "a.jsonl").stat().st_mode) == 0o600
