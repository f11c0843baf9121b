"""Finds the webhook of an audit event: the first route that matches its cluster and category."""

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache

from ..config.routes import DEFAULT, Route
from ..model import AuditEvent

_PAIRS_REMEMBERED = 4096
"""Pairs of cluster and category whose route is cached: far more than a hub has."""


class Router:
    """Applies the routes of the configuration."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes = routes
        compiled = [(r.name, _matcher(r.cluster), _matcher(r.category)) for r in routes]

        @lru_cache(maxsize=_PAIRS_REMEMBERED)
        def find(cluster: str, category: str) -> str:
            for name, matches_cluster, matches_category in compiled:
                if matches_cluster(cluster) and matches_category(category):
                    return name
            return DEFAULT

        self._find = find

    def sort(self, events: Sequence[AuditEvent]) -> Mapping[str, Sequence[AuditEvent]]:
        """Return the events by the name of their route; those of a route stay in order."""
        if not self._routes:
            return {DEFAULT: events} if events else {}
        by_route: dict[str, list[AuditEvent]] = {}
        for event in events:
            by_route.setdefault(self.route(event), []).append(event)
        return by_route

    def route(self, event: AuditEvent) -> str:
        """Return the name of an event's route."""
        return self._find(event.cluster, event.category) if self._routes else DEFAULT


def _matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(translate(pattern)).match
