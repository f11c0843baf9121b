"""Which audit events go on to Falco: a short list of rules in a file.

A rule is one line: ``keep`` or ``drop``, and conditions that all have to hold. The first rule that
fits an event decides; an event that fits none is kept::

    # leases and health checks are noise
    drop resource=leases verb=get,update
    keep namespace=kube-system
    drop user=system:node:* verb=get,list,watch stage!=Panic

Values are shell patterns, several separated by commas; ``!=`` holds where none of them matches. In
an event that came cut, a field that the cut may have taken is unknown: a condition on it never lets
the event be dropped. ``#`` at the beginning of a word begins a comment. Within a word it belongs to
the word, as in the names that Entra ID gives to guests.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate

from ..model import AuditEvent
from .event import summarise

FIELDS = ("category", "cluster", "namespace", "resource", "stage", "user", "verb")
_ACTIONS = ("keep", "drop")
_COMMENT = re.compile(r"(?:^|\s)#")
_CONDITION = re.compile(r"([a-z]+)(!?=)(\S+)")


class FilterError(ValueError):
    """A rule that cannot be read; says which, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One field, and the values that it must or must not have."""

    field: str
    negated: bool
    matches: Callable[[str], object]

    def holds(self, value: str) -> bool:
        """Whether the condition holds for a known value."""
        return bool(self.matches(value)) is not self.negated


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the file."""

    drop: bool
    conditions: tuple[Condition, ...]

    def fits(self, fields: dict[str, str], *, cut: bool) -> bool:
        """Whether the rule decides about an event.

        Args:
            fields: the event's values by FIELDS; empty where it has none.
            cut: whether the event came cut, so that an empty value is an unknown one.
        """
        for condition in self.conditions:
            value = fields[condition.field]
            if cut and not value:
                if self.drop:
                    return False
                continue
            if not condition.holds(value):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Filter:
    """The rules, in order."""

    rules: tuple[Rule, ...]

    def drops(self, event: AuditEvent) -> bool:
        """Whether an event is not to be forwarded."""
        known = summarise(event)
        fields = dict.fromkeys(FIELDS, "") | known
        fields |= {"category": event.category, "cluster": event.cluster, "stage": event.stage}
        cut = event.salvaged or "user" not in known
        if cut and "/" not in fields["resource"]:
            fields["resource"] = ""  # the subresource is written last: this may be half of it
        for rule in self.rules:
            if rule.fits(fields, cut=cut):
                return rule.drop
        return False


def parse(text: str) -> Filter:
    """Read the rules. Raises FilterError for the first line that is wrong."""
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        words = _COMMENT.split(line, maxsplit=1)[0].split()
        if words:
            rules.append(_rule(number, words))
    return Filter(tuple(rules))


def _rule(number: int, words: Sequence[str]) -> Rule:
    action, *conditions = words
    if action not in _ACTIONS:
        raise FilterError(f"line {number}: begins with neither keep nor drop")
    if not conditions:
        raise FilterError(f"line {number}: has no condition, such as verb=get,list")
    return Rule(action == "drop", tuple(_condition(number, word) for word in conditions))


def _condition(number: int, word: str) -> Condition:
    match = _CONDITION.fullmatch(word)
    if match is None:
        raise FilterError(f"line {number}: {word!r} is not a condition, such as verb=get,list")
    field, operator, values = match.groups()
    if field not in FIELDS:
        raise FilterError(f"line {number}: {field!r} is not one of {', '.join(FIELDS)}")
    patterns = [translate(value) for value in values.split(",") if value]
    if not patterns:
        raise FilterError(f"line {number}: {word!r} names no value")
    return Condition(field, operator == "!=", re.compile("|".join(patterns)).match)
