"""The commands on dead letters, as processes, on both stores."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from aks_audit.config.load import load
from aks_audit.deadletters import letter as deadletter
from aks_audit.deadletters.letter import DeadLetter
from aks_audit.deadletters.store import open_store
from testkit.falco import Settings, ThreadedFalco
from testkit.rig import Store, eventually
from tests.helpers import audit_event, envelope, record

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class DeadLetters:
    """A dead-letter store, an endpoint, and the commands between them."""

    environment: dict[str, str]
    falco: ThreadedFalco

    def __post_init__(self) -> None:
        config = load(self.environment)
        self.store = open_store(config.dead_letters, config.hub)

    def add(self, letters: Sequence[DeadLetter]) -> str:
        name = deadletter.segment_name(letters[0].dead_at)
        self.store.write(name, deadletter.encode(letters))
        return name

    def ids(self) -> list[str]:
        segments = [self.store.read(name) for name in self.store.names()]
        return [each.audit_id for data in segments if data for each in deadletter.decode(data)]

    def start(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "aks_audit", *arguments],
            env=self.environment | changes,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, **changes) as process:
            out, err = process.communicate(timeout=180)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess([], process.returncode, out, err)


@pytest.fixture
def falco() -> Iterator[ThreadedFalco]:
    with ThreadedFalco() as running:
        yield running


@pytest.fixture
def dead(sqlite: Store, falco: ThreadedFalco) -> DeadLetters:
    """In a directory, for tests to which the store does not matter."""
    return open_dead(sqlite, falco)


@pytest.fixture
def stored_dead(store: Store, falco: ThreadedFalco) -> DeadLetters:
    """In each of the stores in turn."""
    return open_dead(store, falco)


def open_dead(store: Store, falco: ThreadedFalco) -> DeadLetters:
    environment = {
        **store.environment,
        "EHUBNAMESPACECONNECTIONSTRING": "Endpoint=sb://x/;SharedAccessKeyName=p;SharedAccessKey=k",
        "WEBSINKURL": falco.url,
        "POSTMAXRETRIES": "2",
        "POSTRETRYINCREMENTALDELAY": "5",
        "INDOUBTTIME": "300",
    }
    return DeadLetters(environment, falco)


def letter(
    audit_id: str, *, hours: float = 0, reason: str = "rejected", raw: bytes | None = None
) -> DeadLetter:
    return DeadLetter(
        body=audit_event(audit_id) if raw is None else raw,
        kind="audit-event" if raw is None else "raw",
        reason=reason,
        detail="HTTP 400",
        partition="0",
        sequence_number=1,
        offset="1",
        enqueued_at=NOON,
        dead_at=NOON + timedelta(hours=hours),
        audit_id=audit_id,
        stage="ResponseComplete",
    )


def letters(name: str, count: int) -> list[DeadLetter]:
    return [letter(f"{name}-{number}") for number in range(count)]


def delivered(falco: ThreadedFalco) -> dict[str, int]:
    return {audit_id: times for (audit_id, _), times in falco.receipts.items()}


def test_what_is_accepted_is_removed(stored_dead: DeadLetters, falco: ThreadedFalco) -> None:
    dead = stored_dead
    for segment in range(3):
        dead.add(letters(str(segment), 20))
    ended = dead.run("replay")
    assert ended.returncode == 0
    assert ended.stdout.startswith("60 of 60 dead letters accepted and removed, 0 left")
    assert list(dead.store.names()) == []
    assert set(delivered(falco).values()) == {1}
    assert len(delivered(falco)) == 60
    assert falco.events["0-0", "ResponseComplete"] == audit_event("0-0")
    assert dead.run("replay").stdout.startswith("0 of 0")


def test_a_dry_run_sends_and_removes_nothing(dead: DeadLetters, falco: ThreadedFalco) -> None:
    dead.add([*letters("a", 5), letter("b", reason="exhausted", hours=2)])
    ended = dead.run("replay", "--dry-run")
    assert ended.returncode == 0
    assert "6 dead letters" in ended.stdout
    assert "5 rejected" in ended.stdout
    assert "1 exhausted" in ended.stdout
    assert f"from {NOON.isoformat()} to" in ended.stdout
    assert falco.received.requests == 0
    assert len(dead.ids()) == 6


def test_filters_choose_and_leave_the_rest(dead: DeadLetters, falco: ThreadedFalco) -> None:
    dead.add([letter("noon"), letter("one", hours=1)])
    dead.add([letter("two", hours=2), letter("other", hours=1, reason="exhausted")])
    window = ["--since", "2026-03-01T13:00:00Z", "--until", "2026-03-01T15:00:00+01:00"]
    for options, wanted in (
        ([*window, "--reason", "exhausted", "--reason", "none"], {"other"}),
        (window, {"one"}),
        (["--since", "2026-03-02"], set()),
    ):
        before, seen = set(dead.ids()), set(delivered(falco))
        listed = dead.run("deadletters", *options)
        assert {json.loads(line)["auditId"] for line in listed.stdout.splitlines()} == wanted
        assert dead.run("replay", *options).returncode == 0
        assert delivered(falco).keys() - seen == wanted
        assert set(dead.ids()) == before - wanted
    assert set(dead.ids()) == {"noon", "two"}


def test_a_wrong_time_is_told(dead: DeadLetters) -> None:
    ended = dead.run("replay", "--since", "yesterday")
    assert ended.returncode == 2
    assert "'yesterday' is not a time such as" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_repeats_only_what_was_under_way(
    dead: DeadLetters, falco: ThreadedFalco, number: signal.Signals
) -> None:
    for segment in range(2):
        dead.add(letters(str(segment), 100))
    falco.faults.script("200*20 delay:3600*forever")
    with dead.start("replay") as process:
        falco.wait_for(lambda: falco.count == 21)
        process.send_signal(number)
        out, err = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "run it again" in err
    assert out.split()[0] == "20", "one POST was under way"
    assert len(dead.ids()) == 180
    falco.faults.clear()
    assert dead.run("replay").returncode == 0
    assert len(delivered(falco)) == 200
    assert falco.received.duplicates == 1
    assert dead.ids() == []


def test_a_kill_repeats_a_segment_at_most(stored_dead: DeadLetters, falco: ThreadedFalco) -> None:
    dead = stored_dead
    for segment in range(4):
        dead.add(letters(str(segment), 50))
    for more in (70, 60, 30):
        falco.faults.script(f"200*{more} delay:3600*forever")
        goal = falco.count + more + 1
        with dead.start("replay") as process:
            falco.wait_for(lambda: falco.count == goal)  # noqa: B023
            process.kill()
        falco.faults.clear()
    assert {*delivered(falco), *dead.ids()} == {f"{s}-{n}" for s in range(4) for n in range(50)}
    assert dead.run("replay").returncode == 0
    assert len(delivered(falco)) == 200
    assert falco.received.duplicates <= 3 * 50
    assert dead.ids() == []


def test_two_at_once_lose_nothing(stored_dead: DeadLetters, falco: ThreadedFalco) -> None:
    dead = stored_dead
    for segment in range(5):
        dead.add(letters(str(segment), 40))
    for poison in ("0-7", "2-39", "4-0"):
        falco.faults.reject(f'"{poison}"')
    with dead.start("replay") as one, dead.start("replay") as other:
        for process in (one, other):
            _, err = process.communicate(timeout=180)
            assert process.returncode == 1, err
            assert "damaged" not in err
    assert {*delivered(falco), *dead.ids()} == {f"{s}-{n}" for s in range(5) for n in range(40)}
    assert {"0-7", "2-39", "4-0"} <= set(dead.ids())
    falco.faults.clear()
    assert dead.run("replay").returncode == 0
    assert len(delivered(falco)) == 200
    assert dead.ids() == []


def test_a_damaged_segment_is_named_and_left_alone(
    stored_dead: DeadLetters, falco: ThreadedFalco
) -> None:
    dead = stored_dead
    whole = deadletter.encode(letters("lost?", 3))
    damaged = {
        "20260301T000000.000000Z-a.jsonl": whole[:-20],
        "20260301T000000.000000Z-b.jsonl": b"",
        "20260301T000000.000000Z-c.jsonl": b"\xff\x00" + whole,
        "20260301T000000.000000Z-d.jsonl": b"[" * 100_000 + b"\n",
        "20260301T000000.000000Z-e.jsonl": b'{"body":5}\n',
    }
    for name, data in damaged.items():
        dead.store.write(name, data)
    dead.add(letters("good", 3))
    ended = dead.run("replay")
    assert ended.returncode == 1
    assert len(delivered(falco)) == 3
    assert {name: dead.store.read(name) for name in dead.store.names()} == damaged
    assert all(f"damaged, left alone: {name}" in ended.stderr for name in damaged)
    listed = dead.run("deadletters")
    assert listed.stdout == ""
    assert all(f"damaged, left alone: {name}" in listed.stderr for name in damaged)


def test_an_endpoint_that_is_down_ends_it_with_everything_kept(
    dead: DeadLetters, falco: ThreadedFalco
) -> None:
    dead.add(letters("a", 5))
    with falco.refusing():
        ended = dead.run("replay")
    assert ended.returncode == 1
    assert "the endpoint does not take events: ConnectError" in ended.stderr
    assert ended.stdout.startswith("0 of 5 dead letters accepted")
    assert len(dead.ids()) == 5


def test_an_endpoint_that_goes_down_midway_repeats_nothing(
    stored_dead: DeadLetters, falco: ThreadedFalco
) -> None:
    dead = stored_dead
    dead.add(letters("a", 20))
    falco.faults.script("200*7 500*forever")
    ended = dead.run("replay")
    assert ended.returncode == 1
    assert "HTTP 500" in ended.stderr
    assert ended.stdout.startswith("7 of 20 dead letters accepted and removed, 13 left")
    assert len(dead.ids()) == 13
    falco.faults.clear()
    assert dead.run("replay").returncode == 0
    assert falco.received.duplicates == 0
    assert falco.received.unique == 20


def test_an_endpoint_that_breaks_may_have_lost_what_it_took(
    stored_dead: DeadLetters, falco: ThreadedFalco
) -> None:
    dead = stored_dead
    dead.add(letters("a", 20))
    falco.faults.script("200*7 503*forever")
    ended = dead.run("replay")
    assert ended.returncode == 1
    assert ended.stdout.startswith("0 of 20 dead letters accepted and removed, 20 left")
    assert len(dead.ids()) == 20
    falco.faults.clear()
    assert dead.run("replay").returncode == 0
    assert falco.received.duplicates == 7
    assert falco.received.unique == 20


def test_what_an_endpoint_loses_with_its_queue_is_sent_again(sqlite: Store) -> None:
    """All 20 are in its queue when it ends."""
    settings = Settings(queue_bodies=50, events_per_s=5)
    with ThreadedFalco(settings=settings) as falco:
        dead = open_dead(sqlite, falco)
        dead.add(letters("a", 20))
        with dead.start("replay", INDOUBTTIME="6000") as process:
            falco.wait_for(lambda: falco.received.requests == 20)
            falco.restart()
            process.communicate(timeout=180)
        assert process.returncode == 0
        assert falco.received.unique == 20
        assert dead.ids() == []


def test_what_is_refused_or_too_large_stays(dead: DeadLetters, falco: ThreadedFalco) -> None:
    large = letter("large", raw=audit_event("large", pad="x" * 300_000), reason="too-large")
    dead.add([letter("good"), letter("poison"), large])
    falco.faults.reject('"poison"')
    ended = dead.run("replay")
    assert ended.returncode == 1
    assert "1 of 3 dead letters accepted and removed, 2 left (1 refused again, 1 " in ended.stdout
    assert dead.ids() == ["poison", "large"]
    assert delivered(falco) == {"good": 1}


def test_raw_ones_are_read_again(dead: DeadLetters, falco: ThreadedFalco) -> None:
    """As a later version may read what this one could not."""
    whole = envelope(record(audit_event("in-1").decode()), record(audit_event("in-2").decode()))
    dead.add(
        [
            letter("", raw=whole, reason="broken-body"),
            letter("", raw=audit_event("bare"), reason="broken-audit"),
            letter("", raw=b'{"records":[null]}', reason="broken-record"),
            letter("", raw=b"\xff\xfe", reason="broken-body"),
            letter("", raw=b"", reason="broken-body"),
        ]
    )
    ended = dead.run("replay")
    assert ended.returncode == 1
    assert ended.stdout.startswith("2 of 5 dead letters accepted and removed, 3 left")
    assert delivered(falco).keys() == {"in-1", "in-2", "bare"}
    assert len(dead.ids()) == 3


def test_routes_and_the_name_of_the_cluster_apply_again(
    dead: DeadLetters, falco: ThreadedFalco
) -> None:
    routes = '[[route]]\nname = "prod"\ncluster = "prod-*"\nurl = "{}"\n'
    with ThreadedFalco() as prod:
        dead.add(
            [
                replace(letter("here"), cluster="dev-1"),
                replace(letter("there"), cluster="prod-1"),
                letter("nobody knows"),
            ]
        )
        ended = dead.run("replay", ROUTES=routes.format(prod.url), CLUSTERNAME="annotate")
        assert ended.returncode == 0, ended.stderr
        assert delivered(prod).keys() == {"there"}
        assert b'"cluster_name":"prod-1"' in prod.bodies[0]
        assert delivered(falco).keys() == {"here", "nobody knows"}


def test_a_name_that_would_make_an_event_too_large_is_left_out(
    dead: DeadLetters, falco: ThreadedFalco
) -> None:
    limit = 262_144
    largest = audit_event("largest", pad="")
    largest = largest.replace(b'"pad":""', b'"pad":"%s"' % (b"x" * (limit - len(largest))))
    dead.add(
        [
            replace(letter("largest", raw=largest, reason="exhausted"), cluster="prod-1"),
            replace(letter("other"), cluster="prod-1"),
        ]
    )
    ended = dead.run("replay", CLUSTERNAME="annotate", MAXEVENTBYTES=str(limit))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("2 of 2 dead letters accepted and removed, 0 left")
    assert falco.events["largest", "ResponseComplete"] == largest
    assert b'"cluster_name":"prod-1"' in falco.events["other", "ResponseComplete"]
    assert list(dead.store.names()) == []


def test_progress_is_shown_on_a_terminal(dead: DeadLetters, falco: ThreadedFalco) -> None:
    dead.add(letters("a", 60))
    falco.faults.latency_ms = 20
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "aks_audit", "replay"],
        env=dead.environment | {"TERM": "dumb"},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = eventually(lambda: os.read(ours, 1000))
        assert process.wait(60) == 0
    os.close(ours)
    assert b"accepted, 0 left so far, segment 1 of 1" in shown


def test_the_list_has_all_but_the_content(dead: DeadLetters) -> None:
    dead.add([letter("a"), letter("b", reason="exhausted")])
    ended = dead.run("deadletters")
    assert ended.returncode == 0
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(line["auditId"], line["reason"]) for line in lines] == [
        ("a", "rejected"),
        ("b", "exhausted"),
    ]
    assert lines[0]["body"] == f"{len(audit_event('a'))} bytes"
    assert "2 dead letters" in ended.stderr
    summary = dead.run("deadletters", "--summary")
    assert "2 dead letters" in summary.stdout
    assert summary.stderr == ""


def test_the_list_reaches_no_terminal_raw(dead: DeadLetters) -> None:
    obeyed = "\x1b[2J\x9b\u202e\u2028"
    dead.add([msgspec.structs.replace(letter("a"), cluster=obeyed, reason=obeyed)])
    ended = dead.run("deadletters")
    assert json.loads(ended.stdout)["cluster"] == obeyed
    assert not set(ended.stdout + ended.stderr) & set(obeyed) - set("[2J")


def test_a_reader_that_has_enough_is_no_fault(dead: DeadLetters) -> None:
    for segment in range(4):
        dead.add(letters(str(segment), 500))
    with dead.start("deadletters") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()


def test_a_store_that_cannot_be_read_is_told(dead: DeadLetters, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no directory")
    for command in ("replay", "deadletters"):
        ended = dead.run(command, DEADLETTERPATH=str(file))
        assert ended.returncode == 1
        assert "the dead letters cannot be read: NotADirectoryError" in ended.stderr
