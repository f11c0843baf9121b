import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from aks_audit.config.settings import LogLevel, Secret
from aks_audit.ops import log_stream, logs
from aks_audit.ops.logs import configure, get_logger, register_secrets
from aks_audit.ops.redact import Redactor


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what logging sets up for the whole process."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers)
    monkeypatch.setattr(logs, "_redactor", Redactor())
    monkeypatch.setattr(logs, "_stream", log_stream.LogStream(logs._tell_lost))
    level = root.level
    yield
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def only(stream: io.StringIO) -> dict[str, Any]:
    (line,) = lines(stream)
    return line


def fail_and_log(error: Exception, log: Callable[[str], None]) -> None:
    try:
        raise error
    except LookupError:
        log("failed")


def test_a_line_has_the_keys_of_logrus_first(stream: io.StringIO) -> None:
    configure(LogLevel.INFO, "json", stream)
    before = datetime.now(UTC)
    get_logger("sink").bind(partition=3).info("posted", events=2, seconds=0.5)
    line = only(stream)
    assert list(line) == ["time", "level", "msg", "component", "partition", "events", "seconds"]
    assert line | {"time": ""} == {
        "time": "",
        "level": "info",
        "msg": "posted",
        "component": "sink",
        "partition": 3,
        "events": 2,
        "seconds": 0.5,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
    assert before <= datetime.fromisoformat(line["time"]) <= datetime.now(UTC)


def test_a_field_named_like_a_key_makes_way(stream: io.StringIO) -> None:
    configure(LogLevel.INFO, "json", stream)
    get_logger("x").info("m", level=1, msg=2, time=3)
    line = only(stream)
    assert (line["level"], line["msg"]) == ("info", "m")
    assert (line["fields.level"], line["fields.msg"], line["fields.time"]) == (1, 2, 3)


LEVELS = ["trace", "debug", "info", "warning", "error", "fatal", "panic"]


@pytest.mark.parametrize("level", LogLevel)
def test_each_level_shows_itself_and_what_is_worse(level: LogLevel, stream: io.StringIO) -> None:
    configure(level, "json", stream)
    log = get_logger("x")
    for name in LEVELS:
        getattr(log, name)("m")
    assert [line["level"] for line in lines(stream)] == LEVELS[sorted(LogLevel).index(level) :]


def calls_of(function: Callable[[], object]) -> int:
    """Count the calls that a call makes."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls


def test_a_disabled_level_costs_next_to_nothing(stream: io.StringIO) -> None:
    configure(LogLevel.INFO, "json", stream)
    log = get_logger("x")
    log.info("first use")
    assert calls_of(lambda: log.info("m", a=1)) > 100
    assert calls_of(lambda: log.debug("m", a=1)) < 30


def test_loggers_made_before_configure_work(stream: io.StringIO) -> None:
    log = get_logger("early")
    configure(LogLevel.INFO, "json", stream)
    log.info("m")
    assert only(stream)["component"] == "early"


def test_structlogs_own_get_logger_takes_the_same_way(stream: io.StringIO) -> None:
    configure(LogLevel.INFO, "json", stream)
    structlog.get_logger("sink").warning("m", n=1)
    structlog.get_logger().info("m")
    first, second = lines(stream)
    assert list(first) == ["time", "level", "msg", "component", "n"]
    assert (first["level"], first["component"]) == ("warning", "sink")
    assert list(second) == ["time", "level", "msg"]


def test_a_later_configuration_reaches_loggers_in_use(stream: io.StringIO) -> None:
    configure(LogLevel.ERROR, "json", io.StringIO())
    log = get_logger("x")
    log.debug("unseen")
    configure(LogLevel.DEBUG, "json", stream)
    log.debug("seen")
    assert only(stream)["msg"] == "seen"


class TestExceptions:
    def test_are_one_line_without_locals(self, stream: io.StringIO) -> None:
        configure(LogLevel.INFO, "json", stream)
        local = {"password": "hunter2"}
        try:
            local.pop("user")
        except KeyError:
            get_logger("x").exception("failed")
        line = only(stream)
        assert line["level"] == "error"
        (stack,) = line["exception"]
        assert stack["exc_type"] == "KeyError"
        assert stack["exc_value"] == "'user'"
        assert stack["frames"][-1]["name"] == "test_are_one_line_without_locals"
        assert "hunter2" not in stream.getvalue()

    def test_nested_groups_are_kept_to_the_leaves(self, stream: io.StringIO) -> None:
        configure(LogLevel.INFO, "json", stream)
        error: Exception = LookupError("leaf")
        for depth in range(5):
            error = ExceptionGroup(f"group {depth}", [error])
        get_logger("x").error("failed", exc_info=error)
        (found,) = only(stream)["exception"]
        for _ in range(5):
            ((found,),) = found["exceptions"]
        assert found["exc_value"] == "leaf"

    def test_are_plain_text_on_the_console(self) -> None:
        stream = Terminal()
        configure(LogLevel.INFO, None, stream)
        register_secrets(["hunter2"])
        fail_and_log(LookupError("hunter2 \x1b[2J"), get_logger("x").exception)
        assert "Traceback (most recent call last):\n" in stream.getvalue()
        assert "LookupError: *** \\x1b[2J" in stream.getvalue()


class TestFormats:
    def test_a_terminal_gets_the_console(self) -> None:
        stream = Terminal()
        configure(LogLevel.INFO, None, stream)
        get_logger("sink").panic("ended", events=2)
        assert not stream.getvalue().startswith("{")
        plain = re.sub(r"\x1b\[\d*m", "", stream.getvalue())
        assert re.search(r"\[panic *\] ended +component=sink events=2\n$", plain)

    def test_anything_else_gets_json(self, stream: io.StringIO) -> None:
        configure(LogLevel.INFO, None, stream)
        get_logger("x").info("m")
        assert only(stream)["msg"] == "m"

    def test_the_setting_wins_over_the_stream(self, stream: io.StringIO) -> None:
        terminal = Terminal()
        configure(LogLevel.INFO, "json", terminal)
        get_logger("x").info("m")
        assert only(terminal)["msg"] == "m"
        configure(LogLevel.INFO, "console", stream)
        get_logger("x").info("m")
        assert "\x1b" not in stream.getvalue()
        assert "m" in stream.getvalue()

    def test_standard_error_is_the_default(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure(LogLevel.INFO, "json")
        get_logger("x").info("m")
        assert json.loads(capsys.readouterr().err)["msg"] == "m"

    def test_the_console_shows_control_characters_instead_of_obeying(self) -> None:
        stream = Terminal()
        configure(LogLevel.INFO, "console", stream)
        get_logger("x").info("a\nb", field="c\x1b[2Jd", **{"e\r": 1})
        text = stream.getvalue()
        assert text.count("\n") == 1
        assert "a\\x0ab" in text
        assert "\x1b[2J" not in text
        assert "\r" not in text

    def test_the_console_shows_marks_of_direction_as_text(self) -> None:
        stream = Terminal()
        configure(LogLevel.INFO, "console", stream)
        get_logger("x").info("a\u202eb", field="c\x9bd\u2028e", nested={"f": "g\u2066h"})
        text = stream.getvalue()
        assert "a\\u202eb" in text
        assert "c\\x9bd\\u2028e" in text
        assert "g\\u2066h" in text

    def test_json_is_utf8_whatever_the_locale(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
        configure(LogLevel.INFO, "json", stream)
        get_logger("x").info("Stra\u00dfe")
        assert json.loads(raw.getvalue().decode())["msg"] == "Stra\u00dfe"


def test_json_escapes_what_a_terminal_or_a_reader_of_lines_obeys(stream: io.StringIO) -> None:
    obeyed = "".join(map(chr, (*range(32), *range(127, 160), 0x61C, *range(0x2028, 0x202F))))
    obeyed += "\u200e\u200f\u2066\u2069"
    value = f"a{obeyed}\u00e9\u4e2d\U0001f600"
    configure(LogLevel.INFO, "json", stream)
    for more in ({}, {"surrogate": "\udcff"}):
        get_logger("x").info(value, field=value, **{value: 1}, **more)
    lines = stream.getvalue()
    assert not set(lines) & set(obeyed.replace("\n", ""))
    for line in lines.split("\n")[:-1]:
        known = json.loads(line)
        assert (known["msg"], known["field"], known[value]) == (value, value, 1)
    assert "\u4e2d" in lines, "other text stays as it is"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("hunter2")


def test_no_value_breaks_a_line(stream: io.StringIO) -> None:
    configure(LogLevel.INFO, "json", stream)
    cycle: list[object] = []
    cycle += [cycle, cycle]
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    get_logger("x").info(
        "m",
        cycle=cycle,
        deep=deep,
        unprintable=Unprintable(),
        secret_wrapper=Secret("hunter2"),
        path=Path("/a"),
        big=1 << 100,
        nan=float("nan"),
        surrogate="\udcff",
        data=b"\xff",
        keys={1: 2, None: 3},
        level_number=LogLevel.INFO,
        unordered={1},
        nothing=None,
        yes=True,
    )
    line = only(stream)
    assert line["cycle"] == ["...", "..."]
    assert line["unprintable"] == "<Unprintable: no text, RuntimeError>"
    assert line["secret_wrapper"] == "***"
    assert line["path"] == "/a"
    assert line["big"] == 1 << 100
    assert line["keys"] == {"1": 2, "None": 3}
    assert line["level_number"] == 20
    assert line["unordered"] == [1]
    assert line["nothing"] is None
    assert line["yes"] is True
    assert "hunter2" not in stream.getvalue()


class TestLibraries:
    def test_their_lines_take_the_same_way(self, stream: io.StringIO) -> None:
        configure(LogLevel.INFO, "json", stream)
        logging.getLogger("azure.eventhub").warning("lost %s", "link")
        line = only(stream)
        assert list(line) == ["time", "level", "msg", "logger"]
        assert (line["level"], line["msg"]) == ("warning", "lost link")
        assert line["logger"] == "azure.eventhub"

    @pytest.mark.parametrize(
        ("level", "shown"),
        [
            (LogLevel.TRACE, ["debug", "info", "warning", "error", "fatal"]),
            (LogLevel.DEBUG, ["info", "warning", "error", "fatal"]),
            (LogLevel.INFO, ["warning", "error", "fatal"]),
            (LogLevel.WARN, ["warning", "error", "fatal"]),
            (LogLevel.ERROR, ["error", "fatal"]),
            (LogLevel.FATAL, ["fatal"]),
            (LogLevel.PANIC, []),
        ],
    )
    def test_they_speak_one_level_lower(
        self, level: LogLevel, shown: list[str], stream: io.StringIO
    ) -> None:
        configure(level, "json", stream)
        for number in (5, 10, 20, 30, 40, 50):
            logging.getLogger("httpx").log(number, "m")
        assert [line["level"] for line in lines(stream)] == shown

    def test_their_exceptions_are_structured(self, stream: io.StringIO) -> None:
        configure(LogLevel.INFO, "json", stream)
        fail_and_log(LookupError("why"), logging.getLogger("azure").exception)
        assert only(stream)["exception"][0]["exc_value"] == "why"

    def test_arguments_that_do_not_fit_lose_no_line(
        self, stream: io.StringIO, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure(LogLevel.INFO, "json", stream)
        logging.getLogger("azure").warning("%d events", "many")
        assert only(stream)["msg"] == "%d events"
        assert capsys.readouterr().err == ""

    def test_warnings_are_logged(self, stream: io.StringIO) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            configure(LogLevel.INFO, "json", stream)
            warnings.warn("old hat", DeprecationWarning, stacklevel=1)
            logging.captureWarnings(capture=False)
        line = only(stream)
        assert line["logger"] == "py.warnings"
        assert "DeprecationWarning: old hat" in line["msg"]


class Broken(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), BlockingIOError()])
def test_a_stream_that_fails_loses_the_line_and_nothing_else(error: Exception) -> None:
    configure(LogLevel.INFO, "json", Broken(error))
    get_logger("x").info("m")
    logging.getLogger("azure").warning("m")


def test_a_closed_stream_loses_the_line_and_nothing_else(stream: io.StringIO) -> None:
    configure(LogLevel.INFO, "json", stream)
    stream.close()
    get_logger("x").info("m")


class TestWhileItRuns:
    async def test_lines_are_written_until_the_end(self, stream: io.StringIO) -> None:
        configure(LogLevel.INFO, "json", stream)

        async with trio.open_nursery() as nursery:
            await nursery.start(logs.run)
            get_logger("x").info("ours")
            logging.getLogger("azure").warning("theirs")
            nursery.cancel_scope.cancel()
        assert [line["msg"] for line in lines(stream)] == ["ours", "theirs"]

    async def test_lost_lines_are_counted_and_told(
        self, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_stream, "MAX_QUEUED_CHARS", 1)
        monkeypatch.setattr(logs, "_stream", log_stream.LogStream(logs._tell_lost))
        configure(LogLevel.INFO, "json", stream)

        async with trio.open_nursery() as nursery:
            await nursery.start(logs.run)
            for _ in range(3):
                get_logger("x").info("m")  # nothing is written before the loop goes on
            nursery.cancel_scope.cancel()
        assert logs.lost_lines() == 2
        first, told = lines(stream)
        assert first["msg"] == "m"
        assert told["msg"] == "log lines were lost: nobody read them"
        assert (told["level"], told["component"], told["lines"]) == ("warning", "logs", 2)


def test_a_library_logs_without_a_lock_besides_the_streams(stream: io.StringIO) -> None:
    """With a lock of the handler's, a finalizer that logs within the stream could wait for ever."""
    configure(LogLevel.INFO, "json", stream)
    (handler,) = logging.getLogger().handlers
    with handler.lock or nullcontext():
        thread = threading.Thread(target=logging.getLogger("azure").warning, args=("m",))
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    assert [line["msg"] for line in lines(stream)] == ["m"]


class ByCharacter(io.StringIO):
    """Gives other threads many chances to come between."""

    def write(self, text: str) -> int:
        return sum(super(ByCharacter, self).write(character) for character in text)


def test_lines_of_several_threads_do_not_mix() -> None:
    stream = ByCharacter()
    configure(LogLevel.INFO, "json", stream)
    log = get_logger("x")
    threads = [threading.Thread(target=log.info, args=("m" * 100,)) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert [line["msg"] for line in lines(stream)] == ["m" * 100] * 8


class TestRedaction:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            (
                "Endpoint=sb://x/;SharedAccessKeyName=p;SharedAccessKey=hunter2=;EntityPath=h",
                "Endpoint=sb://x/;SharedAccessKeyName=p;SharedAccessKey=***;EntityPath=h",
            ),
            ("AccountName=a;accountkey=hunter2==", "AccountName=a;accountkey=***"),
            (
                "x;SharedAccessSignature=SharedAccessSignature sr=h&sig=hunter2&se=1;y",
                "x;SharedAccessSignature=***;y",
            ),
            (
                "SharedAccessSignature sr=h&sig=hunter2%3d&se=1&skn=p",
                "SharedAccessSignature sr=h&sig=***&se=1&skn=p",
            ),
            ("https://a/c/b?sv=1&sig=hunter2 403", "https://a/c/b?sv=1&sig=*** 403"),
            ("POST http://user:hunter2@falco/k8s", "POST http://***@falco/k8s"),
            ("http://u:hunter2@x@falco/?a=b@c", "http://***@falco/?a=b@c"),
            ("Authorization: Basic hunter2", "Authorization: ***"),
            ("{'authorization': 'Bearer hunter2', 'a': 1}", "{'authorization': ***, 'a': 1}"),
            ("[(b'Authorization', b'Basic hunter2')]", "[(b'Authorization', ***)]"),
            ('{"SharedAccessKey": "hunter2"}', '{"SharedAccessKey": "***"}'),
            ("design=blue&x=1", "design=blue&x=1"),
            ("mail to a@b.c about the key: none", "mail to a@b.c about the key: none"),
        ],
    )
    def test_what_looks_like_a_secret_is_masked(self, text: str, shown: str) -> None:
        assert Redactor().text(text) == shown

    def test_fields_named_like_secrets_are_masked(self) -> None:
        secret = dict.fromkeys(("password", "Authorization", "connection_string", "api_key"), "x")
        others = {"key": "x", "keys": "x", "password_age": 4, "partition_key_count": "5"}
        plain = Redactor().plain(secret | {"Authorization": b"x"} | others)
        assert plain == dict.fromkeys(secret, "***") | others

    def test_registered_secrets_are_masked_everywhere(self, stream: io.StringIO) -> None:
        configure(LogLevel.INFO, "json", stream)
        register_secrets(['hunter2"\\', "hunter2", "12345678"])
        nested = {'hunter2"\\': [("hunter2", {b"hunter2"})], "n": 12345678}
        log = get_logger("hunter2")
        log.info('say hunter2"\\', nested=nested, error=LookupError("hunter2"))
        logging.getLogger("hunter2").warning("hunter2 %s", "hunter2")
        error = LookupError("hunter2")
        error.__cause__ = KeyError("hunter2")
        fail_and_log(error, log.exception)
        assert "hunter2" not in stream.getvalue()
        assert "12345678" not in stream.getvalue()
        assert lines(stream)[0]["msg"] == "say ***"

    def test_very_short_ones_are_left_alone(self) -> None:
        redactor = Redactor()
        redactor.register(["", "a", "abc"])
        assert redactor.text("abc") == "abc"

    @pytest.mark.parametrize("text", ["://", "authorization=", "sig=", "AccountKey=", "://a@"])
    def test_no_text_makes_it_hang(self, text: str) -> None:
        """Time that grows with the square of the length would end in hours."""
        assert Redactor().text(text * 200_000)
