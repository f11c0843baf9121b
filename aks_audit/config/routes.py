"""The routes: which clusters and categories have a webhook of their own. Pure.

A small TOML file; the first route that matches an event decides, an event that matches none goes to
WEBSINKURL. `delivery.router` applies the routes::

    [[route]]
    name = "prod"                      # for metrics and logs
    cluster = "prod-*"                 # a shell pattern; case does not matter
    category = "kube-audit*"           # optional
    url = "http://falco.prod:9765/k8s-audit"
"""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from .addresses import SinkUrl, sink_url

DEFAULT = "default"
"""The name of the route to WEBSINKURL."""
_KEYS = {"name", "cluster", "category", "url"}
_PLACE = re.compile(r"\((at [a-z0-9, ]+)\)\Z")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class RouteError(ValueError):
    """The routes cannot be read. The text says which route and why; it never holds a URL."""


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the file."""

    name: str
    """For metrics and the log; unique in the file."""
    url: SinkUrl
    cluster: str
    """A shell pattern in lower case, as names of clusters arrive."""
    category: str
    """A shell pattern, for the category of the hub event's record."""


def parse(text: str) -> tuple[Route, ...]:
    """Read the routes. Raises RouteError."""
    try:
        known = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The wrong text may be a URL with a password: the message tells only the place.
        place = _PLACE.search(str(error))
        raise RouteError(f"is not TOML{f' {place[1]}' if place else ''}") from None
    tables = known.get("route")
    if set(known) != {"route"} or not isinstance(tables, list):
        raise RouteError("holds something other than [[route]] tables")
    if not all(isinstance(table, dict) for table in tables):
        raise RouteError("has a route that is not a table")
    routes = tuple(_route(number, entry) for number, entry in enumerate(tables, 1))
    names = [route.name for route in routes]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RouteError(f"names a route twice: {', '.join(sorted(twice))}")
    return routes


def _route(number: int, entry: dict[str, Any]) -> Route:
    unknown = set(entry) - _KEYS
    if unknown:
        raise RouteError(f"route {number} has a key that is not one of {', '.join(sorted(_KEYS))}")
    if not all(isinstance(value, str) for value in entry.values()):
        raise RouteError(f"route {number} has a value that is not a string")
    name = entry.get("name", f"route-{number}")
    if name == DEFAULT or _NAME.fullmatch(name) is None:
        raise RouteError(
            f"route {number} has a name that is not made of a-z, 0-9, - and _, or is {DEFAULT}"
        )
    if "cluster" not in entry and "category" not in entry:
        raise RouteError(f"route {number} has neither cluster nor category")
    try:
        url = sink_url(entry.get("url", ""))
    except ValueError as error:
        raise RouteError(f"route {number}: its url {error}") from error
    return Route(name, url, entry.get("cluster", "*").lower(), entry.get("category", "*"))
