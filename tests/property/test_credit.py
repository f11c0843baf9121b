"""Whatever the traffic, what may come and what is held stays within the pool."""

import operator

from hypothesis import given
from hypothesis import strategies as st

from aks_audit.hub.credit import CREDIT_MAX, CreditPool

LARGEST = 1024 * 1024

steps = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.sampled_from(["grant", "arrive", "arrive all", "quiet", "lost"]),
        st.sampled_from([0.0, 0.01, 0.3, 0.7, 2.0]),
    ),
    max_size=300,
)


@given(
    st.integers(0, 16 * LARGEST),
    st.lists(st.integers(1, LARGEST), min_size=1, max_size=8),
    steps,
)
def test_the_pool_is_passed_by_a_message_of_each_partition_at_most(
    max_bytes: int, sizes: list[int], steps: list[tuple[int, str, float]]
) -> None:
    pool = CreditPool(max_bytes)
    shares = [pool.open(0.0) for _ in sizes]
    outstanding = [0] * len(sizes)
    held = [0] * len(sizes)
    now = 0.0
    for number, action, later in steps:
        at, now = number % len(sizes), now + later
        share, size = shares[at], sizes[at]
        if action == "grant":
            share.handed_over()  # as the reader does before
            held[at], before = 0, outstanding[at]
            outstanding[at] = share.grant(now)
            assert max(1, before) <= max(1, outstanding[at]) <= CREDIT_MAX
            if outstanding[at] > max(1, before):
                assert pool.free_bytes() >= 0
        elif action == "quiet":
            outstanding[at] = share.quiet(now)
            assert outstanding[at] <= 1
        elif action == "lost":
            share.lost()
            outstanding[at] = 0
        else:
            for _ in range(outstanding[at] if action == "arrive all" else min(1, outstanding[at])):
                share.arrived(size)
                outstanding[at] -= 1
                held[at] += size
        assert share.credit == outstanding[at]
        coming = sum(map(operator.mul, outstanding, sizes))
        assert sum(held) + coming <= max_bytes + len(sizes) * LARGEST
    for share in shares:
        share.close()
    assert (pool.reserved_bytes, pool.members, pool.busy) == (0, 0, 0)
