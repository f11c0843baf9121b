"""Structured logging: one way out for our own lines and those of the libraries.

Every line is written as JSON (or for people, on a terminal), has the keys that logrus gave to the
lines of aks-audit-log-go, and has passed the redactor. Logging never fails, and while `run` runs it
never waits: a line is lost if nobody reads the stream, if its reader is gone or its disk is full.
Forwarding is more important than the log.
"""

import io
import logging
import sys
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO, cast
from weakref import WeakKeyDictionary

import structlog
import trio
from structlog.tracebacks import ExceptionDictTransformer

from ..config.values import LogFormat, LogLevel
from .escapes import json_line, printable
from .log_stream import LogStream
from .redact import Redactor

__all__ = ["Logger", "configure", "get_logger", "lost_lines", "register_secrets", "run"]

_Fields = MutableMapping[str, Any]
_Processor = Callable[[Any, str, _Fields], Any]

_redactor = Redactor()


class Logger(Protocol):
    """What get_logger returns. Unlike logrus's, fatal and panic do not end the program."""

    def bind(self, **fields: object) -> "Logger":
        """Return a logger that adds these fields to each line."""

    def trace(self, event: str, **fields: object) -> None:
        """Log every step."""

    def debug(self, event: str, **fields: object) -> None:
        """Log what helps to understand what the program does."""

    def info(self, event: str, **fields: object) -> None:
        """Log what is normal and worth knowing."""

    def warning(self, event: str, **fields: object) -> None:
        """Log what is unusual, but needs no action yet."""

    def error(self, event: str, **fields: object) -> None:
        """Log what went wrong."""

    def exception(self, event: str, **fields: object) -> None:
        """Log an error, with the traceback of the exception that is being handled."""

    def fatal(self, event: str, **fields: object) -> None:
        """Log why the program ends."""

    def panic(self, event: str, **fields: object) -> None:
        """Log what should be impossible."""


def get_logger(component: str) -> Logger:
    """Return the logger of a component. Call it at any time; log only after `configure`."""
    return cast("Logger", _Component(component))


def register_secrets(values: Iterable[str]) -> None:
    """Mask these texts in every line from now on, except those of less than four characters."""
    _redactor.register(values)


def configure(
    level: LogLevel,
    log_format: LogFormat | None,
    stream: TextIO | None = None,
) -> None:
    """Set logging up, before the first line.

    A later call takes effect at once, except for loggers that `Logger.bind` has returned before.

    Args:
        level: The least severe level that is written.
        log_format: None chooses console for a terminal, json for all else.
        stream: Where to write; None is standard error.
    """
    stream = sys.stderr if stream is None else stream
    _stream.use(stream)
    console = log_format == "console" or (log_format is None and stream.isatty())
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


async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Write all lines from a worker thread until cancelled, so that logging waits for no reader.

    At the end it waits up to two seconds for a stream that does not take the last lines.
    """
    await _stream.run(task_status)


def lost_lines() -> int:
    """Return how many lines were lost since the start, because the stream did not take them."""
    return _stream.lost


def _tell_lost(lines: int) -> None:
    get_logger("logs").warning("log lines were lost: nobody read them", lines=lines)


_stream = LogStream(_tell_lost)


class _Component:
    """A logger that is made at its first use, when the configuration is known.

    Its methods then become its own attributes. A disabled method then costs a fifth of what it
    costs through structlog's lazy proxy, which matters where a line is logged for each event.
    """

    def __init__(self, name: str) -> None:
        _names[self] = name

    def __getattr__(self, name: str) -> Any:
        method = getattr(structlog.get_logger(_names[self]).bind(), name)
        if structlog.is_configured():
            setattr(self, name, method)
        return method


_names: MutableMapping[_Component, str] = WeakKeyDictionary()
"""The names of the components. They stand here because a component's attributes are its methods."""


class _Named:
    """What structlog calls a logger: it knows its component's name, and writes finished lines."""

    def __init__(self, component: str = "") -> None:
        self.component = component

    def write(self, line: str) -> None:
        _stream.write(line)

    trace = debug = info = warning = error = critical = fatal = panic = write


def _bound_logger(level: LogLevel) -> type[structlog.typing.BindableLogger]:
    """Add logrus's levels to structlog's class, whose disabled methods do nothing."""
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
    """Put the fixed keys first; a field with the name of one is renamed, as logrus does it."""
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
    # Without local variables: they may hold secrets, and the redactor does not know all of them.
    tracebacks = ExceptionDictTransformer(show_locals=False)
    return [_stamp, structlog.processors.ExceptionRenderer(tracebacks), _redact, _encode]


def _encode(_logger: Any, _level: str, fields: _Fields) -> str:
    return json_line(fields)


def _console(*, colors: bool) -> list[_Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors,
        event_key="msg",
        timestamp_key="time",
        sort_keys=False,
        # The traceback is text already, since it has to pass the redactor; rich would show locals.
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_stamp, structlog.processors.format_exc_info, _redact, _defuse, renderer]


def _defuse(_logger: Any, _level: str, fields: _Fields) -> _Fields:
    """Escape control characters: a foreign text must not control the terminal or fake a line."""
    return {
        printable(name): printable(value, lines=name == "exception")
        if isinstance(value, str)
        else value
        for name, value in fields.items()
    }


class _Bridge(logging.Handler):
    """Writes the records of the standard library's logging like our own lines."""

    def __init__(self, processors: list[_Processor]) -> None:
        super().__init__()
        self._processors = processors

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record without the lock that a handler usually holds meanwhile.

        The stream has locks of its own. With a second one, two threads could wait for each other:
        one in the stream, where a finalizer runs that logs, and one that logs by this handler.
        """
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's arguments may raise anything, and its log line must not end it
            message = str(record.msg)
        line: Any = {"event": message, "logger": record.name}
        if record.exc_info:
            line["exc_info"] = record.exc_info
        level = _level_name(record.levelno)
        for process in self._processors:
            line = process(None, level, line)
        _stream.write(line)


def _level_name(number: int) -> str:
    """Return the name of the highest level that a record reaches; logrus writes "warning"."""
    reached = max((level for level in LogLevel if level <= number), default=LogLevel.TRACE)
    return "warning" if reached is LogLevel.WARN else reached.name.lower()


def _configure_libraries(level: LogLevel, processors: list[_Processor]) -> None:
    """Log libraries one level lower: their info counts as our debug, their debug as our trace."""
    quieter = {LogLevel.TRACE: LogLevel.DEBUG, LogLevel.DEBUG: LogLevel.INFO}
    root = logging.getLogger()
    root.handlers = [_Bridge(processors)]
    root.setLevel(quieter.get(level, max(level, LogLevel.WARN)))
    logging.captureWarnings(capture=True)
