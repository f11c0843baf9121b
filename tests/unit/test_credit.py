from aks_audit.hub.credit import CREDIT_MAX, TYPICAL_BYTES, CreditPool, Share

MIB = 1024 * 1024
BODY = 38_000
"""A hub event as AKS sends it: 22 records of audit events of 1 KB."""
ROUND_S = 0.01


def open_many(pool: CreditPool, count: int) -> list[Share]:
    shares = [pool.open(0.0) for _ in range(count)]
    for share in shares:
        assert share.grant(0.0) == 1
    return shares


def run_hot(share: Share, now: float, *, rounds: int = 40, size: int = BODY) -> float:
    """The partition uses up all it is granted, again and again; returns the time."""
    for _ in range(rounds):
        for _ in range(share.credit):
            share.arrived(size)
        share.handed_over()
        now += ROUND_S
        share.grant(now)
    return now


def rest(shares: list[Share], now: float) -> None:
    for share in shares:
        share.quiet(now)


def test_a_hot_partition_gets_what_the_quiet_ones_leave() -> None:
    pool = CreditPool(32 * MIB)
    *quiet, hot = open_many(pool, 256)
    now = run_hot(hot, 0.0)
    rest(quiet, now)
    run_hot(hot, now)
    assert hot.credit == CREDIT_MAX
    assert {share.credit for share in quiet} == {1}
    assert pool.free_bytes() >= 0


def test_credit_moves_with_the_traffic() -> None:
    pool = CreditPool(4 * MIB)
    shares = open_many(pool, 4)
    for hot in shares:
        now = run_hot(hot, 0.0)
        others = [share for share in shares if share is not hot]
        assert hot.credit > 80
        assert max(share.credit for share in others) <= 1
        assert hot.quiet(now) == 1


def test_busy_partitions_share_equally() -> None:
    pool = CreditPool(8 * MIB)
    shares = open_many(pool, 4)
    now = run_hot(shares[0], 0.0)
    for _ in range(40):
        for share in shares:
            now = run_hot(share, now, rounds=1)
    each = [share.credit for share in shares]
    assert max(each) <= 2 * min(each)
    assert sum(each) * BODY <= 8 * MIB


def test_a_partition_with_few_events_gets_little() -> None:
    pool = CreditPool(32 * MIB)
    sparse = pool.open(0.0)
    now = 0.0
    for _ in range(100):
        sparse.grant(now)
        sparse.arrived(BODY)
        sparse.handed_over()
        now += 0.9
    assert sparse.credit <= 2


def test_a_partition_that_slows_down_gives_back() -> None:
    pool = CreditPool(32 * MIB)
    share = pool.open(0.0)
    now = run_hot(share, 0.0)
    before = share.credit
    for _ in range(20 * CREDIT_MAX):
        share.arrived(BODY)
        share.handed_over()
        now += 0.2
        share.grant(now)
    assert before == CREDIT_MAX
    assert share.credit < 20


def test_larger_messages_get_less_credit_at_once() -> None:
    pool = CreditPool(8 * MIB)
    share = pool.open(0.0)
    now = run_hot(share, 0.0, size=2_000)
    assert share.credit == CREDIT_MAX
    run_hot(share, now, rounds=1, size=MIB)
    assert share.credit <= 8


def test_smaller_messages_get_more_credit_step_by_step() -> None:
    pool = CreditPool(8 * MIB)
    share = pool.open(0.0)
    now = run_hot(share, 0.0, size=MIB)
    assert share.credit <= 8
    run_hot(share, now, size=2_000)
    assert share.credit == CREDIT_MAX


def test_each_partition_may_always_send_one_message() -> None:
    pool = CreditPool(0)
    for share in open_many(pool, 3):
        run_hot(share, 0.0, size=MIB)
        assert share.credit == 1


def test_what_a_link_had_is_free_when_it_is_lost() -> None:
    pool = CreditPool(32 * MIB)
    share = pool.open(0.0)
    run_hot(share, 0.0)
    share.lost()
    assert share.credit == 0
    assert pool.reserved_bytes == 0
    assert share.grant(10.0) > 0


def test_nothing_stays_reserved_when_all_are_closed() -> None:
    pool = CreditPool(32 * MIB)
    shares = open_many(pool, 3)
    for share in shares:
        share.arrived(BODY)
        run_hot(share, 0.0, rounds=5)
        share.arrived(BODY)
        share.close()
    assert (pool.reserved_bytes, pool.members, pool.busy) == (0, 0, 0)


def test_what_is_not_handed_over_counts() -> None:
    pool = CreditPool(2 * TYPICAL_BYTES)
    share = pool.open(0.0)
    share.grant(0.0)
    share.arrived(2 * TYPICAL_BYTES)
    assert pool.free_bytes() == 0
    share.handed_over()
    assert pool.free_bytes() == 2 * TYPICAL_BYTES


def test_a_batch_of_all_partitions_takes_half_the_bytes() -> None:
    assert CreditPool(32 * MIB).batch_bytes(32) == 512 * 1024
    assert CreditPool(32 * MIB).batch_bytes(0) == 16 * MIB
