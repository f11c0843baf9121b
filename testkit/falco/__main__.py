"""`python -m testkit.falco`: the stand-in for Falco as a separate process."""

import json
import signal
from pathlib import Path

import click
import trio

from testkit.falco.received import Received
from testkit.falco.server import serve_falco
from testkit.falco.webhook import Settings

_STATS_SECONDS = 1.0


async def _write_stats(received: Received, path: Path) -> None:
    """Keep a JSON file of the counts, replaced as a whole so that no reader sees half of one."""
    partial_path = path.with_name(path.name + ".partial")
    try:
        while True:
            await trio.sleep(_STATS_SECONDS)
            _write_whole(received, partial_path, path)
    finally:
        _write_whole(received, partial_path, path)


def _write_whole(received: Received, partial_path: Path, path: Path) -> None:
    partial_path.write_text(json.dumps(received.summary()) + "\n")
    partial_path.replace(path)


async def _run(
    host: str, port: int, settings: Settings, script: str, stats_file: Path | None
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            falco = await nursery.start(serve_falco, host, port, settings)
            falco.faults.script(script)
            if stats_file is not None:
                nursery.start_soon(_write_stats, falco.received, stats_file)
            print(f"listening on {falco.url}", flush=True)
            async for _ in signals:
                break
            await falco.stop()
            nursery.cancel_scope.cancel()
    print(json.dumps(falco.received.summary()), flush=True)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=9765, show_default=True, help="0 takes a free port")
@click.option("--path", default="/k8s-audit", show_default=True)
@click.option("--latency-ms", default=0.0, show_default=True, help="added to every answer")
@click.option("--count-only", is_flag=True, help="do not look at the events")
@click.option("--queue", default=0, show_default=True, help="bodies that are answered at once: 50")
@click.option("--events-per-s", default=0.0, show_default=True, help="at which it is emptied")
@click.option("--journal", type=click.Path(path_type=Path), help="a line for each event out of it")
@click.option("--script", default="", help="faults for the first requests, as '503*3 close'")
@click.option("--stats-file", type=click.Path(path_type=Path), help="keep the counts here, as JSON")
def main(
    *,
    host: str,
    port: int,
    path: str,
    latency_ms: float,
    count_only: bool,
    queue: int,
    events_per_s: float,
    journal: Path | None,
    script: str,
    stats_file: Path | None,
) -> None:
    """Stand in for Falco's k8saudit webhook until SIGINT or SIGTERM."""
    settings = Settings(
        path=path,
        latency_ms=latency_ms,
        count_only=count_only,
        queue_bodies=queue,
        events_per_s=events_per_s,
        journal=journal,
    )
    trio.run(_run, host, port, settings, script, stats_file)


if __name__ == "__main__":
    main()
