"""Structured logging: one pipe for our own lines and those of the libraries.

Every line leaves as JSON (or for people, on a terminal), carries the same keys as the lines of
logrus did in the forwarder this one replaces, and has been through the redactor. Logging never
fails: a line that cannot be written, because whoever read the stream is gone or its disk is full,
is lost, since forwarding matters more than talking about it.
"""

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO, cast
from weakref import WeakKeyDictionary

import msgspec
import structlog
from structlog.tracebacks import ExceptionDictTransformer

from ..config.values import LogFormat, LogLevel
from .redact import Redactor

__all__ = ["Logger", "configure", "get_logger", "register_secrets"]

_Fields = MutableMapping[str, Any]
_Processor = Callable[[Any, str, _Fields], Any]

_redactor = Redactor()


class Logger(Protocol):
    """What get_logger gives. No level ends the program, other than logrus's fatal and panic."""

    def bind(self, **fields: object) -> "Logger":
        """Give a logger which adds these fields to each line."""

    def trace(self, event: str, **fields: object) -> None:
        """Log each step."""

    def debug(self, event: str, **fields: object) -> None:
        """Log what helps to understand the program."""

    def info(self, event: str, **fields: object) -> None:
        """Log what is usual and worth knowing."""

    def warning(self, event: str, **fields: object) -> None:
        """Log what is unusual and needs nobody yet."""

    def error(self, event: str, **fields: object) -> None:
        """Log what went wrong."""

    def exception(self, event: str, **fields: object) -> None:
        """Log an error with the traceback of the exception being handled."""

    def fatal(self, event: str, **fields: object) -> None:
        """Log why the program ends."""

    def panic(self, event: str, **fields: object) -> None:
        """Log what should be impossible."""


def get_logger(component: str) -> Logger:
    """Give a component's logger; may be called before configure, used only after it."""
    return cast("Logger", _Component(component))


def register_secrets(values: Iterable[str]) -> None:
    """Mask these texts in every line from now on; those below four characters are left alone."""
    _redactor.register(values)


def configure(
    level: LogLevel,
    format: LogFormat | None,  # noqa: A002 - the setting's name
    stream: TextIO | None = None,
) -> None:
    """Set up the pipe, before the first line; standard error by default.

    A later call takes effect at once, except for what bind gave before.
    """
    _output.stream = stream = sys.stderr if stream is None else stream
    console = format == "console" or (format is None and stream.isatty())
    if not console and isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8")  # JSON is UTF-8 whatever the locale
    processors = _console(colors=stream.isatty()) if console else _json()
    structlog.configure(
        processors=processors,
        wrapper_class=_bound_logger(level),
        logger_factory=_Named,
    )
    for component in _names:
        vars(component).clear()
    _configure_libraries(level, processors)


class _Component:
    """A logger that is put together at its first use, when the configuration is known.

    Its methods then are its own attributes: a disabled one costs a fifth of what it costs through
    structlog's lazy proxy, which matters where each event passes.
    """

    def __init__(self, name: str) -> None:
        _names[self] = name

    def __getattr__(self, name: str) -> Any:
        method = getattr(structlog.get_logger(_names[self]).bind(), name)
        if structlog.is_configured():
            setattr(self, name, method)
        return method


_names: MutableMapping[_Component, str] = WeakKeyDictionary()
"""The components; apart from them, so that their own attributes are methods and nothing else."""


class _Output:
    """The end of the pipe. Locked: the source's thread logs too, and lines must not mix."""

    def __init__(self) -> None:
        self.stream: TextIO = sys.stderr
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        # ValueError is what a closed stream raises.
        with self._lock, suppress(OSError, ValueError):
            self.stream.write(line + "\n")
            self.stream.flush()


_output = _Output()


class _Named:
    """What structlog calls a logger: the pipe's end, with the name get_logger was given."""

    def __init__(self, component: str = "") -> None:
        self.component = component

    def write(self, line: str) -> None:
        _output.write(line)

    trace = debug = info = warning = error = critical = fatal = panic = write


def _bound_logger(level: LogLevel) -> type[structlog.typing.BindableLogger]:
    """Add logrus's levels to structlog's class, whose disabled methods return at once."""
    known = structlog.make_filtering_bound_logger(
        logging.NOTSET if level < LogLevel.DEBUG else min(level, logging.CRITICAL)
    )
    methods = {
        name.lower(): _method(name.lower()) if number >= level else _nothing
        for name, number in LogLevel.__members__.items()
        if name in {"TRACE", "FATAL", "PANIC"}
    }
    return type("BoundLogger", (known,), {**methods, "critical": methods["fatal"]})


def _method(name: str) -> Callable[..., Any]:
    def log(self: Any, event: str, **fields: object) -> Any:
        return self._proxy_to_logger(name, event, **fields)

    return log


def _nothing(_self: Any, _event: str, **_fields: object) -> None:
    pass


def _stamp(logger: _Named | None, level: str, fields: _Fields) -> _Fields:
    """Put the keys of a line first; a field of the same name makes way, as logrus has it."""
    line: _Fields = {
        "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": level,
        "msg": fields.pop("event", ""),
    }
    if logger is not None and logger.component:
        line["component"] = logger.component
    for name, value in fields.items():
        line[f"fields.{name}" if name in line else name] = value
    return line


def _redact(_logger: Any, _level: str, fields: _Fields) -> object:
    return _redactor.plain(fields)


def _json() -> list[_Processor]:
    # Without locals: they are where secrets live, and the redactor cannot know them all.
    tracebacks = ExceptionDictTransformer(show_locals=False)
    return [_stamp, structlog.processors.ExceptionRenderer(tracebacks), _redact, _encode]


def _encode(_logger: Any, _level: str, fields: _Fields) -> str:
    try:
        return msgspec.json.encode(fields).decode()
    except (ValueError, OverflowError):  # lone surrogates, integers over 64 bits
        return json.dumps(fields)


def _console(*, colors: bool) -> list[_Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors,
        event_key="msg",
        timestamp_key="time",
        sort_keys=False,
        # The traceback is text by then, since it has to pass the redactor; rich would show locals.
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_stamp, structlog.processors.format_exc_info, _redact, _defuse, renderer]


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROLS_IN_TRACEBACK = {c: text for c, text in _CONTROLS.items() if chr(c) not in "\n\t"}


def _defuse(_logger: Any, _level: str, fields: _Fields) -> _Fields:
    """Keep what others wrote from steering the terminal or faking a line."""
    return {
        name.translate(_CONTROLS): value.translate(
            _CONTROLS_IN_TRACEBACK if name == "exception" else _CONTROLS
        )
        if isinstance(value, str)
        else value
        for name, value in fields.items()
    }


class _Bridge(logging.Handler):
    """Takes the standard library's records into the pipe."""

    def __init__(self, processors: list[_Processor]) -> None:
        super().__init__()
        self._processors = processors

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit are their author's mistake
            message = str(record.msg)
        line: Any = {"event": message, "logger": record.name}
        if record.exc_info:
            line["exc_info"] = record.exc_info
        level = _level_name(record.levelno)
        for process in self._processors:
            line = process(None, level, line)
        _output.write(line)


def _level_name(number: int) -> str:
    """Name the highest of our levels that a record reaches; logrus writes "warning"."""
    reached = max((level for level in LogLevel if level <= number), default=LogLevel.TRACE)
    return "warning" if reached is LogLevel.WARN else reached.name.lower()


def _configure_libraries(level: LogLevel, processors: list[_Processor]) -> None:
    """Let libraries speak one level lower: their info is our debug, their debug our trace."""
    quieter = {LogLevel.TRACE: LogLevel.DEBUG, LogLevel.DEBUG: LogLevel.INFO}
    root = logging.getLogger()
    root.handlers = [_Bridge(processors)]
    root.setLevel(quieter.get(level, max(level, LogLevel.WARN)))
    logging.captureWarnings(capture=True)
