import json

from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from aks_audit.delivery.channel import Channel
from aks_audit.delivery.inflight import InFlight
from aks_audit.delivery.webhook import LIST_OVERHEAD
from aks_audit.ops.metrics import Metrics
from testkit.falco.rules import Accepted, apply_rules
from tests.helpers import audit_event, examples, make_items, posted, waiting

audit_events = st.builds(
    lambda number, note, pad: audit_event(f"id-{number}", note=note, pad="x" * pad),
    st.integers(0, 9999),
    st.text(max_size=10),
    st.integers(0, 300),
)


@examples(150)
@given(st.lists(audit_events, min_size=1, max_size=30), st.integers(1, 40), st.integers(100, 3000))
async def test_batches_keep_to_their_bounds_and_to_the_bytes(
    autojump_clock: MockClock, raws: list[bytes], max_events: int, max_bytes: int
) -> None:
    in_flight = InFlight(10**9, Metrics().outcomes)
    channel = Channel(in_flight, max_events=max_events, max_bytes=max_bytes - LIST_OVERHEAD)
    items, _ = make_items(raws)
    channel.put(items)
    found: list[bytes] = []
    rest = raws
    while waiting(channel):
        batch = await channel.take()
        body = posted(batch)
        assert len(batch) <= max_events
        assert len(body) <= max_bytes or len(batch) == 1
        verdicts = apply_rules(body)
        found += [verdict.raw for verdict in verdicts if isinstance(verdict, Accepted)]
        rest = rest[len(batch) :]
        if rest and len(batch) < max_events:
            # It ended for the sake of its size: one more would have been too much.
            assert len(body) + 1 + len(rest[0]) + (len(batch) == 1) * LIST_OVERHEAD > max_bytes
    assert found == raws


@examples(100)
@given(st.lists(audit_events, min_size=1, max_size=10))
def test_a_body_parses_to_its_items(raws: list[bytes]) -> None:
    items, _ = make_items(raws)
    body = posted(items)
    known = json.loads(body)
    if len(raws) == 1:
        assert body == raws[0]
    else:
        assert known["kind"] == "EventList"
        assert known["items"] == [json.loads(raw) for raw in raws]
