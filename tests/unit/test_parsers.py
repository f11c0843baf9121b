import pytest

from aks_audit.config.settings import LogLevel, StatsConfig
from tests.configs import problem, with_


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1500", 1.5), ("500ms", 0.5), ("2s", 2), ("1.5s", 1.5), ("1m", 60), ("1m30s", 90)],
)
def test_durations(text: str, seconds: float) -> None:
    assert with_(POSTTIMEOUT=text).sink.timeout_s == seconds


@pytest.mark.parametrize("text", ["1.5", "2 s", "-1", "s", "1d", "\u0661000", "1s2", "9" * 5000])
def test_wrong_durations(text: str) -> None:
    assert "is not a duration" in problem(POSTTIMEOUT=text)


@pytest.mark.parametrize("text", ["8388608", "8388608B", "8192KiB", "8MiB", "8 MiB", "8mib", "8Mi"])
def test_sizes(text: str) -> None:
    assert with_(POSTBATCHMAXBYTES=text).sink.batch_max_bytes == 8 << 20


@pytest.mark.parametrize("text", ["8MB", "8.5MiB", "8M", "MiB", "8  MiB", "-8"])
def test_wrong_sizes(text: str) -> None:
    assert "is not a size" in problem(POSTBATCHMAXBYTES=text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("YES", True), ("1", True), ("False", False), ("no", False), ("0", False)],
)
def test_booleans(*, text: str, value: bool) -> None:
    assert with_(KEEPALIVE=text).sink.keepalive is value


# Inclusive ends, in the variable's own unit; the documentation names the same.
RANGES = {
    "POSTMAXRETRIES": (0, 1000),
    "POSTRETRYINCREMENTALDELAY": (1, 600_000),
    "POSTTIMEOUT": (100, 600_000),
    "POSTCONCURRENCY": (1, 64),
    "POSTBATCHMAXEVENTS": (1, 10_000),
    "POSTBATCHMAXBYTES": (1024, 12 * 1024 * 1024),
    "RATELIMITERBURST": (1, 1_000_000),
    "INFLIGHTMAXBYTES": (1024 * 1024, 16 * 1024**3),
    "CHECKPOINTINTERVAL": (100, 600_000),
    "SHUTDOWNGRACE": (0, 600_000),
    "VERBOSELEVEL": (1, 4),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges(name: str) -> None:
    low, high = RANGES[name]
    room = {"POSTBATCHMAXBYTES": "1KiB"} if name == "INFLIGHTMAXBYTES" else {}
    for inside in (low, high):
        with_(**room, **{name: str(inside)})
    for outside in (low - 1, high + 1):
        assert problem(**room, **{name: str(outside)})


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":9000", "0.0.0.0", 9000),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:9000", "::1", 9000),
        ("localhost:80", "localhost", 80),
    ],
)
def test_stats_addresses(text: str, host: str, port: int) -> None:
    assert with_(STATSADDRESS=text).stats == StatsConfig(host=host, port=port)


@pytest.mark.parametrize("text", ["9000", "::1:9000", ":", "host:", ":65536", "a/b:1", "[x]:1"])
def test_wrong_stats_addresses(text: str) -> None:
    assert "is not an address with a port" in problem(STATSADDRESS=text)


class TestLog:
    @pytest.mark.parametrize(
        ("text", "level"),
        [
            ("panic", LogLevel.PANIC),
            ("fatal", LogLevel.FATAL),
            ("error", LogLevel.ERROR),
            ("warn", LogLevel.WARN),
            ("warning", LogLevel.WARN),
            ("INFO", LogLevel.INFO),
            ("debug", LogLevel.DEBUG),
            ("trace", LogLevel.TRACE),
        ],
    )
    def test_levels(self, text: str, level: LogLevel) -> None:
        assert with_(LOGLEVEL=text).log.level is level

    @pytest.mark.parametrize(
        ("verbose", "text"), [(1, "error"), (2, "warn"), (3, "info"), (4, "debug")]
    )
    def test_sysdigs_levels(self, verbose: int, text: str) -> None:
        config = with_(VerboseLevel=str(verbose))
        assert config == with_(LOGLEVEL=text)
        assert config == with_(LOGLEVEL=text, VerboseLevel=str(verbose))

    def test_two_levels_contradict(self) -> None:
        assert "another level than LOGLEVEL" in problem(LOGLEVEL="info", VERBOSELEVEL="4")

    def test_formats(self) -> None:
        assert with_(LOGFORMAT="JSON").log.format == "json"
        assert with_(LOGFORMAT="console").log.format == "console"
        assert problem(LOGFORMAT="text") == '"text" is neither json nor console'
