"""The promise that no interval sees more than its capacity."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.limits.ledger import Ledger
from hub.limits.window import SLOTS, Window
from tests.hub.limits.support import ManualClock


def test_room_comes_back_an_interval_after_it_was_taken() -> None:
    clock = ManualClock()
    window = Window(10, 60, clock.time)
    window.add(6)
    clock.now = 20
    window.add(4)
    assert window.wait_time(1) == pytest.approx(40, abs=60 / SLOTS)
    assert window.wait_time(7) == pytest.approx(60, abs=60 / SLOTS)
    clock.now = 60 + 60 / SLOTS
    assert window.taken == 4


def test_what_was_taken_before_is_counted_by_its_age() -> None:
    clock = ManualClock()
    clock.now = 1_000
    window = Window(10, 60, clock.time)
    window.add(5, age=0)
    window.add(5, age=50)
    window.add(5, age=61)
    assert window.taken == 10
    assert window.wait_time(5) == pytest.approx(10, abs=60 / SLOTS)


def test_only_what_lies_in_a_slot_is_taken_back() -> None:
    clock = ManualClock()
    window = Window(10, 60, clock.time)
    slot = window.add(3)
    assert window.take_back(5, slot) == 3
    assert window.take_back(5, slot) == 0
    assert window.taken == 0


def test_a_window_has_a_size_and_never_has_room_for_more() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Window(0, 60)
    window = Window(10, 60)
    with pytest.raises(ValueError, match="never has room"):
        window.wait_time(11)
    with pytest.raises(ValueError, match="above 0"):
        window.resize(0)


def test_a_ledger_keeps_an_interval_in_few_entries() -> None:
    clock = ManualClock()
    ledger = Ledger(60, clock.time)
    for _ in range(6_100):
        clock.now += 0.01
        ledger.add(2, 1)
    entries = ledger.taken()
    assert len(entries) <= SLOTS + 2
    assert sum(tokens for _, tokens, _ in entries) == pytest.approx(12_000, rel=0.02)
    assert all(0 <= age <= 60.5 for age, _, _ in entries)
    ledger.clear()
    assert ledger.taken() == []


class WindowMachine(RuleBasedStateMachine):
    """The window beside a list of all that was taken."""

    CAPACITY, INTERVAL = 100, 60.0

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.window = Window(self.CAPACITY, self.INTERVAL, self.clock.time)
        self.taken: list[list[float]] = []  # instant, amount, slot

    @rule(seconds=st.floats(0, 90))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(amount=st.integers(1, 100))
    def take_after_the_wait(self, amount: int) -> None:
        self.clock.now += self.window.wait_time(amount)
        assert self.window.wait_time(amount) == pytest.approx(0, abs=1e-5)
        self.taken.append([self.clock.now, amount, self.window.add(amount)])

    @rule(amount=st.integers(1, 100), data=st.data())
    def take_back(self, amount: int, data: st.DataObject) -> None:
        if not self.taken:
            return
        entry = data.draw(st.sampled_from(self.taken))
        amount = min(amount, int(entry[1]))
        if self.window.take_back(amount, int(entry[2])):
            entry[1] -= amount

    @invariant()
    def no_interval_sees_more(self) -> None:
        now = self.clock.now
        exact = sum(amount for at, amount, _ in self.taken if at > now - self.INTERVAL)
        late = self.INTERVAL * (1 + 1.01 / SLOTS)
        assert exact <= self.window.taken <= sum(amount for at, amount, _ in self.taken if at > now - late)
        assert exact <= self.CAPACITY


WindowMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestWindowMachine = WindowMachine.TestCase
