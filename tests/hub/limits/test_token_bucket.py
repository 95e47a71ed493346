"""The bucket's arithmetic, by example and by machine."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.limits import TokenBucket
from tests.hub.limits.support import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_bucket_begins_full_and_refills_to_its_capacity(clock: ManualClock) -> None:
    bucket = TokenBucket(10, 2, clock.time)
    assert bucket.take(10)
    clock.now = 3
    assert bucket.level == 6
    clock.now = 100
    assert bucket.level == bucket.capacity == 10


def test_what_is_not_there_is_not_taken(clock: ManualClock) -> None:
    bucket = TokenBucket(10, 2, clock.time)
    assert bucket.take(8)
    assert not bucket.take(3)
    assert bucket.level == 2


def test_the_wait_ends_when_there_is_enough(clock: ManualClock) -> None:
    bucket = TokenBucket(10, 2, clock.time)
    bucket.take(10)
    assert bucket.wait_time(5) == 2.5
    clock.now = 2.49
    assert not bucket.take(5)
    clock.now = 2.5
    assert bucket.take(5)


def test_a_charge_may_go_below_zero(clock: ManualClock) -> None:
    bucket = TokenBucket(10, 2, clock.time)
    bucket.charge(14)
    assert bucket.level == -4
    assert bucket.wait_time(0) == 2.0


def test_what_is_given_back_ends_at_the_capacity(clock: ManualClock) -> None:
    bucket = TokenBucket(10, 2, clock.time)
    bucket.charge(3)
    bucket.give_back(100)
    assert bucket.level == 10


def test_a_level_is_lowered_and_never_raised_by_what_an_endpoint_says(clock: ManualClock) -> None:
    bucket = TokenBucket(10, 2, clock.time)
    bucket.lower_to(4)
    bucket.lower_to(9)
    assert bucket.level == 4


def test_what_was_missing_stays_missing_at_another_size(clock: ManualClock) -> None:
    bucket = TokenBucket(10, 2, clock.time)
    bucket.take(3)
    bucket.resize(100, 5)
    assert (bucket.capacity, bucket.refill_rate, bucket.level) == (100, 5, 97)


def test_a_clock_that_stands_or_goes_back_gives_nothing(clock: ManualClock) -> None:
    clock.now = 5
    bucket = TokenBucket(10, 2, clock.time)
    bucket.take(10)
    clock.now = 1
    assert bucket.level == 0


@pytest.mark.parametrize("amount", [-1, 11, float("nan")])
def test_what_is_never_there_is_misuse(clock: ManualClock, amount: float) -> None:
    with pytest.raises(ValueError, match="never has"):
        TokenBucket(10, 2, clock.time).take(amount)


@pytest.mark.parametrize("method", ["charge", "give_back"])
def test_negative_amounts_are_misuse(clock: ManualClock, method: str) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        getattr(TokenBucket(10, 2, clock.time), method)(-1)


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (float("inf"), 1), (float("nan"), 1)])
def test_a_bucket_has_a_size(size: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(*size)


class BucketMachine(RuleBasedStateMachine):
    """The bucket beside one that reckons in exact fractions."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.bucket = TokenBucket(100, 3, self.clock.time)
        self.capacity, self.rate, self.level = Fraction(100), Fraction(3), Fraction(100)

    @rule(seconds=st.integers(0, 4_000).map(lambda parts: parts / 64))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.level = min(self.capacity, self.level + Fraction(seconds) * self.rate)

    @rule(amount=st.integers(0, 500))
    def take(self, amount: int) -> None:
        if amount > self.capacity:
            with pytest.raises(ValueError, match="never has"):
                self.bucket.take(amount)
        elif self.bucket.take(amount):
            self.level -= amount
            assert self.level >= Fraction(-1, 1_000)
        else:
            assert self.level < amount

    @rule(amount=st.integers(0, 500))
    def charge(self, amount: int) -> None:
        self.bucket.charge(amount)
        self.level -= amount

    @rule(amount=st.integers(0, 500))
    def give_back(self, amount: int) -> None:
        self.bucket.give_back(amount)
        self.level = min(self.capacity, self.level + amount)

    @rule(remaining=st.integers(0, 500))
    def hear_of_remaining(self, remaining: int) -> None:
        self.bucket.lower_to(remaining)
        self.level = min(self.level, Fraction(remaining))

    @rule(capacity=st.integers(1, 500), rate=st.integers(1, 50))
    def resize(self, capacity: int, rate: int) -> None:
        self.bucket.resize(capacity, rate)
        self.level = capacity - (self.capacity - self.level)
        self.capacity, self.rate = Fraction(capacity), Fraction(rate)

    @rule(amount=st.integers(0, 500))
    def wait_as_long_as_it_says(self, amount: int) -> None:
        if amount > self.capacity:
            return
        seconds = self.bucket.wait_time(amount)
        assert float(max(Fraction(0), amount - self.level) / self.rate) == pytest.approx(seconds, abs=1e-3)
        self.wait(seconds)
        assert self.bucket.wait_time(amount) == pytest.approx(0, abs=1e-6)

    @invariant()
    def the_levels_are_one(self) -> None:
        assert self.bucket.level == pytest.approx(float(self.level), abs=1e-3)
        assert self.bucket.level <= self.bucket.capacity


BucketMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBucketMachine = BucketMachine.TestCase
