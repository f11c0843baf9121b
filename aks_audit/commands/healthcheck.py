"""``aks-audit-log healthcheck``: ask a running forwarder's probe, for images without a shell."""

import http
import http.client
import ipaddress

import click

from ..config.settings import StatsConfig
from ..errors import describe
from ..ops.escapes import printable

IPV4 = 4


def healthcheck(stats: StatsConfig, probe: str, timeout_s: float) -> int:
    """Ask a probe of the forwarder that listens there, and print its answer.

    Args:
        stats: Where the forwarder listens (STATSADDRESS).
        probe: ``livez`` or ``readyz``.
        timeout_s: How long to wait for the answer.

    Returns:
        The exit status: 0 if the forwarder is well, else 1.
    """
    host = _asked(stats.host)
    connection = http.client.HTTPConnection(host, stats.port, timeout=timeout_s)
    try:
        connection.request("GET", f"/{probe}")
        answer = connection.getresponse()
        click.echo(printable(answer.read().decode("utf-8", "replace"), lines=True))
    except (OSError, http.client.HTTPException) as error:
        why = printable(describe(error))
        click.echo(f"no answer from {host}:{stats.port}: {why}", err=True)
        return 1
    return 0 if answer.status == http.HTTPStatus.OK else 1


def _asked(host: str) -> str:
    """Where to ask a server that listens there: one that listens everywhere, on loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == IPV4 else "::1"
