"""What the soak publishes: mostly good hub events, with some of each kind of bad ones."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from testkit.falco import Key
from testkit.streams.bodies import envelope
from testkit.streams.stream import Published

POISON = '"poison-'
"""What Falco's stand-in refuses: the ids of the poison events begin with it."""
STAGE = "ResponseComplete"


@dataclass
class Mix:
    """An endless stream of hub events; counts those without an audit event."""

    rng: random.Random
    partitions: int
    skipped: int = 0
    """Records and bodies without any event: deliberately skipped."""

    def __iter__(self) -> Iterator[Published]:
        number = 0
        while True:
            yield self._one(number)
            number += 1

    def _one(self, number: int) -> Published:
        partition = self.rng.randrange(self.partitions)
        dice = self.rng.random()
        if dice < 0.90:
            return _audit(f"good-{number}", self.rng.randint(1, 16), partition)
        if dice < 0.93:
            return _audit(f"poison-{number}", self.rng.randint(1, 2), partition)
        if dice < 0.94:
            return _audit(f"large-{number}", 1, partition, padding=300_000)
        if dice < 0.97:
            return self._malformed(number, partition)
        self.skipped += 1
        klog = {"category": "guard", "properties": {"log": f"I0301 1 a.go:5] line {number}\n"}}
        return Published(json.dumps({"records": [klog]}).encode(), partition)

    def _malformed(self, number: int, partition: int) -> Published:
        name = f"malformed-{number}"
        body = self.rng.choice(
            [
                f"this is not JSON: {name}",
                json.dumps({"hello": name}),
                json.dumps({"records": name}),
                json.dumps([name]),
                f'{{"records": [{{"properties": "{name}"}}, \0]}}',
                "[" * 10_000 + f'"{name}"' + "]" * 10_000,
            ]
        )
        return Published(body.encode(), partition, malformed=name)


def _audit(name: str, count: int, partition: int, *, padding: int = 0) -> Published:
    ids = [f"{name}-{record}" for record in range(count)]
    keys: tuple[Key, ...] = tuple((audit_id, STAGE) for audit_id in ids)
    return Published(envelope(ids, padding=padding), partition, keys)
