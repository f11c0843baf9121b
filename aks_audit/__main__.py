"""The command line. Without a command it forwards, as the forwarders before it did."""

from . import early  # the first of all imports: it handles SIGTERM

# isort: split

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import click
import trio

from .commands.healthcheck import healthcheck as ask
from .commands.moments import parse_moment
from .config.load import ConfigError, load
from .config.settings import Config
from .errors import Fatal
from .ops import logs
from .version import commit, python_version, sdk_version, version

EXIT_FATAL = 1
EXIT_CONFIG = 2

FAULT = "a fault in the program itself; please report it"

EPILOG = "All settings are environment variables: see the README, or .envrc.example."


class Moment(click.ParamType[datetime]):
    """A moment on the command line."""

    name = "TIME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Parse RFC 3339, or a date in UTC."""
        try:
            return value if isinstance(value, datetime) else parse_moment(str(value))
        except ValueError:
            self.fail(
                f"{value!r} is not a time such as 2024-05-01 or 2024-05-01T08:00:00Z", param, ctx
            )


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--reason", "reasons", multiple=True, help="Only these reasons; repeatable."),
        click.option("--until", type=Moment(), help="Only what died before this time."),
        click.option("--since", type=Moment(), help="Only what died at this time or later."),
    ):
        command = option(command)
    return command


# The help texts stand apart from the docstrings, which the executable is built without.
@click.group(
    help="Forward the Kubernetes audit log of AKS clusters from Event Hubs to Falco.\n\n"
    "Without a command: forward, until SIGTERM or SIGINT.",
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(
    version=version(),
    message=(
        f"%(prog)s %(version)s (commit {commit()}, Python {python_version()},"
        f" azure-eventhub {sdk_version()})"
    ),
)
@click.pass_context
def main(context: click.Context) -> None:
    """Forward, where no command is given."""
    if context.invoked_subcommand is not None:
        early.restore()
        return
    config = _configure()
    sys.exit(_run(config))


@main.command(
    help="Send dead letters again, and remove those that are accepted.\n\n"
    "May be interrupted and run again at any time."
)
@_selecting
@click.option("--dry-run", is_flag=True, help="Tell what would be sent; send nothing.")
def replay(
    since: datetime | None, until: datetime | None, reasons: tuple[str, ...], *, dry_run: bool
) -> None:
    """Send dead letters again, and remove those that are accepted."""
    config = _configure()
    from .commands import replay as command
    from .commands.segments import Selection

    wanted = Selection(since, until, frozenset(reasons))
    with _telling_faults():
        sys.exit(command.replay(config, wanted, dry_run=dry_run))


@main.command(help="List the dead letters, a JSON line each, and sum them up.")
@_selecting
@click.option("--summary", is_flag=True, help="Only the numbers.")
def deadletters(
    since: datetime | None, until: datetime | None, reasons: tuple[str, ...], *, summary: bool
) -> None:
    """List the dead letters, a JSON line each, and sum them up."""
    config = _configure()
    from .commands import deadletters as command
    from .commands.segments import Selection

    with _telling_faults():
        command.show(config, Selection(since, until, frozenset(reasons)), summary=summary)


@main.command(
    help="Ask a running forwarder's probe, for images without a shell: exit status 0 if it is well."
)
@click.option("--live", "probe", flag_value="livez", help="Ask /livez rather than /readyz.")
@click.option("--ready", "probe", flag_value="readyz", default="readyz", help="Ask /readyz.")
@click.option("--timeout", default=5.0, show_default=True, help="Seconds to wait for the answer.")
def healthcheck(probe: str, timeout: float) -> None:
    """Ask a probe of the forwarder that STATSADDRESS points to."""
    sys.exit(ask(_load().stats, probe, timeout))


@contextmanager
def _telling_faults() -> Iterator[None]:
    """End a command that fails, with the reason in the log, which masks secrets."""
    log = logs.get_logger("main")
    try:
        yield
    except Fatal as error:
        log.fatal(str(error))
        sys.exit(error.exit_status)
    except BrokenPipeError:
        raise  # whoever read the list has enough; click ends quietly
    except Exception:
        # Logged, and the process ends: Python's own traceback would show secrets unmasked.
        log.exception(FAULT)
        sys.exit(EXIT_FATAL)


def _load() -> Config:
    try:
        return load(os.environ)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIG)


def _configure() -> Config:
    config = _load()
    logs.configure(config.log.level, config.log.format)
    logs.register_secrets(config.secret_values())
    return config


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors in a group, those of the groups in it among them."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _run(config: Config) -> int:
    # SIGTERM is handled so since the first import; trio takes both over once it forwards.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, early.end_at_once)
    log = logs.get_logger("main")
    for warning in config.warnings:
        log.warning(warning)
    log.info("starting", version=version(), hub=config.hub.name, webhook=config.sink.display_url)
    # Here and not on top: the SDK takes a third of a second to import, and a wrong
    # configuration is to be told without it.
    from .app import forward

    status = 0
    try:
        trio.run(forward, config)
    except* Fatal as group:
        for error in _leaves(group):
            log.fatal(str(error))
        status = EXIT_FATAL
    except* Exception:
        # Python's own traceback would go around the masking of secrets.
        log.exception(FAULT)
        status = EXIT_FATAL
    return status


if __name__ == "__main__":
    main(prog_name="aks-audit-log")
