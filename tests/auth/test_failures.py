"""The bound on failed log-ins."""

from starlings.auth.failures import BURST, REFILL_SECONDS, FailureLimiter


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def exhaust(limiter: FailureLimiter, address: str) -> None:
    for _ in range(BURST):
        assert limiter.take(address) is None


def test_a_burst_is_allowed_and_the_next_failure_is_told_how_long_to_wait() -> None:
    limiter = FailureLimiter(Clock())
    exhaust(limiter, "192.0.2.1")
    assert limiter.take("192.0.2.1") == REFILL_SECONDS


def test_one_more_failure_is_allowed_after_the_refill_time() -> None:
    clock = Clock()
    limiter = FailureLimiter(clock)
    exhaust(limiter, "192.0.2.1")
    clock.seconds += REFILL_SECONDS - 1.5
    assert limiter.take("192.0.2.1") == 2
    clock.seconds += 1.5
    assert limiter.take("192.0.2.1") is None
    assert limiter.take("192.0.2.1") is not None


def test_other_addresses_are_not_affected() -> None:
    limiter = FailureLimiter(Clock())
    exhaust(limiter, "192.0.2.1")
    assert limiter.take("192.0.2.2") is None
    assert limiter.take("") is None


def test_an_ipv6_subscriber_cannot_change_addresses_within_its_64() -> None:
    limiter = FailureLimiter(Clock())
    exhaust(limiter, "2001:db8::1")
    assert limiter.take("2001:db8::2") is not None
    assert limiter.take("2001:db8:0:1::1") is None


def test_an_ipv4_address_is_the_same_in_its_ipv6_form() -> None:
    limiter = FailureLimiter(Clock())
    exhaust(limiter, "192.0.2.1")
    assert limiter.take("::ffff:192.0.2.1") is not None
    assert limiter.take("::ffff:192.0.2.2") is None


def test_memory_is_bounded_and_the_least_recent_address_is_forgotten() -> None:
    limiter = FailureLimiter(Clock(), most_addresses=3)
    exhaust(limiter, "192.0.2.1")
    for last in range(2, 10):
        limiter.take(f"192.0.2.{last}")
        assert len(limiter) <= 3
    assert limiter.take("192.0.2.1") is None


def test_other_bounds_can_be_asked_for() -> None:
    clock = Clock()
    limiter = FailureLimiter(clock, burst=2, refill_seconds=100.0)
    assert [limiter.take("192.0.2.1") for _ in range(3)] == [None, None, 100]
    clock.seconds += 100.0
    assert [limiter.take("192.0.2.1") for _ in range(2)] == [None, 100]
