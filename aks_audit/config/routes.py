"""Which webhook an audit event goes to, by cluster and category. Pure.

A small TOML file; the first route that fits decides, what fits none goes to
WEBSINKURL::

    [[route]]
    name = "prod"                      # for metrics and logs
    cluster = "prod-*"                 # a shell pattern, lower case
    category = "kube-audit*"           # optional
    url = "http://falco.prod:9765/k8s-audit"
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any

from ..model import AuditEvent
from .addresses import SinkUrl, sink_url

DEFAULT = "default"
"""The name of the route to WEBSINKURL."""
_KEYS = {"name", "cluster", "category", "url"}
_PLACE = re.compile(r"\((at [a-z0-9, ]+)\)\Z")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class RouteError(ValueError):
    """A route that cannot be read; says which, and what is wrong. Never holds a URL."""


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the file."""

    name: str
    url: SinkUrl
    cluster: str
    category: str


class Router:
    """Finds the route of an event."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        compiled = [(r.name, _matcher(r.cluster), _matcher(r.category)) for r in routes]

        @lru_cache(maxsize=4096)
        def find(cluster: str, category: str) -> str:
            for name, fits_cluster, fits_category in compiled:
                if fits_cluster(cluster) and fits_category(category):
                    return name
            return DEFAULT

        self._find = find

    def sort(self, events: Sequence[AuditEvent]) -> Mapping[str, Sequence[AuditEvent]]:
        """The events by name of their route, in order."""
        if not self.routes:
            return {DEFAULT: events} if events else {}
        by_route: dict[str, list[AuditEvent]] = {}
        for event in events:
            by_route.setdefault(self.route(event), []).append(event)
        return by_route

    def route(self, event: AuditEvent) -> str:
        """The name of an event's route."""
        return self._find(event.cluster, event.category) if self.routes else DEFAULT


def _matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(translate(pattern)).match


def parse(text: str) -> tuple[Route, ...]:
    """Read the routes. Raises RouteError."""
    try:
        known = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # What is wrong may be a URL, or the password in it: only the place is told.
        place = _PLACE.search(str(error))
        raise RouteError(f"is no TOML{f' {place[1]}' if place else ''}") from None
    tables = known.get("route")
    if set(known) != {"route"} or not isinstance(tables, list):
        raise RouteError("holds something else than [[route]] tables")
    if not all(isinstance(table, dict) for table in tables):
        raise RouteError("has a route that is no table")
    routes = tuple(_route(number, entry) for number, entry in enumerate(tables, 1))
    names = [route.name for route in routes]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RouteError(f"names a route twice: {', '.join(sorted(twice))}")
    return routes


def _route(number: int, entry: dict[str, Any]) -> Route:
    unknown = set(entry) - _KEYS
    if unknown:
        raise RouteError(f"route {number} has a key that is none of {', '.join(sorted(_KEYS))}")
    if not all(isinstance(value, str) for value in entry.values()):
        raise RouteError(f"route {number} has a value that is no string")
    name = entry.get("name", f"route-{number}")
    if name == DEFAULT or _NAME.fullmatch(name) is None:
        raise RouteError(f"route {number} has a name that is not of a-z, 0-9, - and _, or default")
    if "cluster" not in entry and "category" not in entry:
        raise RouteError(f"route {number} has neither cluster nor category")
    try:
        url = sink_url(entry.get("url", ""))
    except ValueError as error:
        raise RouteError(f"route {number}: its url {error}") from error
    return Route(name, url, entry.get("cluster", "*").lower(), entry.get("category", "*"))
