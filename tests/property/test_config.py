import contextlib
import io
import logging
import string
from base64 import b64encode
from collections.abc import Iterator
from random import Random
from typing import Literal

import httpx
import structlog
from hypothesis import given
from hypothesis import strategies as st

from aks_audit.config.load import ConfigError, load
from aks_audit.config.settings import Config, LogLevel
from aks_audit.config.variables import VARIABLES
from aks_audit.ops import logs
from aks_audit.ops.redact import Redactor
from tests.helpers import examples

NAMES = [variable.name for variable in VARIABLES]
SECRET_NAMES = [variable.name for variable in VARIABLES if variable.secret]
GOOD = {
    "EHUBNAMESPACECONNECTIONSTRING": "Endpoint=sb://x/;SharedAccessKeyName=p;SharedAccessKey=k",
    "BLOBSTORAGECONNECTIONSTRING": "AccountName=acct;AccountKey=a2V5",
    "WEBSINKURL": "http://falco/k8s-audit",
}

# Text made of what the parsers look for, so that it gets far into them.
scraps = st.lists(
    st.sampled_from(
        [
            *("Endpoint=", "sb://", "SharedAccessKeyName=", "SharedAccessKey=", "EntityPath="),
            *("SharedAccessSignature=", "UseDevelopmentEmulator=", "AccountName=", "AccountKey="),
            *("BlobEndpoint=", "UseDevelopmentStorage=", "true", "http://", "https://", "ftp:"),
            *("a.b", "[::1]", "[", "]", ":", "@", "/", "?", "#", "%", ";", "=", ".", "-", "+"),
            *("0", "1", "9000", "99999999999999999999", "MiB", "ms", "s", "m", "h", " ", "\n"),
            *("'", '"', "<key>", "2024-05-01T00:00:00Z", "latest", "hold", "drop", "\u00df"),
        ]
    ),
    max_size=12,
).map("".join)
texts = scraps | st.text(max_size=30) | st.integers().map(str)
names = st.sampled_from([*NAMES, *(f"{name}_FILE" for name in NAMES), *map(str.title, NAMES)])
# Marked at both ends, so that no secret is found by accident in the words of a message.
secrets = st.text(string.ascii_letters + string.digits, max_size=40).map("7Zq{}Xk9".format)


def attempt(environ: dict[str, str]) -> Config | ConfigError:
    try:
        return load(environ)
    except ConfigError as error:
        return error


@examples(100)
@given(st.dictionaries(names | st.text(max_size=12), texts))
def test_no_environment_raises_anything_else(environ: dict[str, str]) -> None:
    attempt(environ)


@examples(100)
@given(st.sampled_from(NAMES), texts)
def test_every_problem_names_its_variable(name: str, text: str) -> None:
    outcome = attempt(GOOD | {name: text})
    if isinstance(outcome, ConfigError):
        assert outcome.problems
        for problem in outcome.problems:
            # A contradiction may be reported of either side, and then names the other.
            assert name in problem.variable or name in problem.wrong
            assert problem.example
            assert problem.variable in str(outcome)


@examples(100)
@given(st.dictionaries(st.sampled_from(NAMES), texts), st.randoms(use_true_random=False))
def test_case_does_not_matter(environ: dict[str, str], random: Random) -> None:
    mixed = {
        "".join(random.choice((letter.lower(), letter)) for letter in name): text
        for name, text in (GOOD | environ).items()
    }
    assert str(attempt(mixed)) == str(attempt(GOOD | environ))


@examples(100)
@given(scraps.map(lambda text: f"http://{text}") | st.text())
def test_an_accepted_url_is_one_to_httpx(text: str) -> None:
    outcome = attempt(GOOD | {"WEBSINKURL": text})
    if isinstance(outcome, Config):
        url = httpx.URL(outcome.sink.url.reveal())
        display = httpx.URL(outcome.sink.display_url)
        assert (display.scheme, display.host, display.port) == (url.scheme, url.host, url.port)
        assert display.path == url.path
        assert not display.userinfo
        assert not display.query


@examples(100)
@given(st.sampled_from(SECRET_NAMES), scraps, secrets, scraps)
def test_no_part_of_a_secret_variable_shows(
    name: str, before: str, secret: str, after: str
) -> None:
    outcome = attempt(GOOD | {name: f"{before}{secret}{after}"})
    if isinstance(outcome, ConfigError):
        assert secret not in str(outcome)
        assert secret not in repr(outcome)


@examples(100)
@given(st.sampled_from([*NAMES, *(f"{name}_FILE" for name in NAMES)]), secrets)
def test_a_key_in_the_wrong_variable_is_not_repeated(name: str, secret: str) -> None:
    key = f"SharedAccessKey={secret}"
    outcome = attempt({name: key, **GOOD, name.upper(): key})
    if isinstance(outcome, ConfigError):
        assert secret not in str(outcome)


@contextlib.contextmanager
def logging_apart() -> Iterator[None]:
    """Undo what logging sets up for the whole process."""
    root = logging.getLogger()
    handlers, level, redactor = root.handlers, root.level, logs._redactor
    logs._redactor = Redactor()
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
        root.handlers, logs._redactor = handlers, redactor
        root.setLevel(level)


def log_line(config: Config, style: Literal["json", "console"], *secret: str) -> str:
    """Log the configuration and every secret in some places each."""
    stream = io.StringIO()
    logs.configure(LogLevel.INFO, style, stream)
    log = logs.get_logger("test")
    try:
        raise ExceptionGroup("several", [LookupError(text) for text in secret])
    except* LookupError:
        told = f"{config} {secret}"
        log.exception(told, config=config, url=config.sink.url.reveal(), secret={1: secret})
        logging.getLogger("library").exception("%s", secret)
    return stream.getvalue()


@examples(100)
@given(key=secrets, password=secrets, token=secrets)
def test_no_secret_shows_in_a_configuration_nor_in_the_log(
    key: str, password: str, token: str
) -> None:
    account_key = b64encode(key.encode()).decode()
    config = load(
        {
            "EHUBNAMESPACECONNECTIONSTRING": f"Endpoint=sb://x/;SharedAccessKeyName=p;"
            f"SharedAccessKey={key}",
            "BLOBSTORAGECONNECTIONSTRING": f"AccountName=acct;AccountKey={account_key}",
            "WEBSINKURL": f"https://user:{password}@falco/k8s-audit?token={token}",
        }
    )
    shown = repr(config) + str(config) + config.sink.display_url
    with logging_apart():
        logs.register_secrets(config.secret_values())
        shown += log_line(config, "json", key, account_key, password, token)
        shown += log_line(config, "console", key, account_key, password, token)
    assert shown.count("test_config.py") >= 4  # the tracebacks are there
    for secret in (key, account_key, password, token):
        assert secret not in shown
