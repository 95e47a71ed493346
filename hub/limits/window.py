"""What was taken in the last minute: the promise that no minute, wherever it begins, sees more than its budget. Pure.

A token bucket alone can't promise that: full, it gives its capacity at once and a minute's refill after it, which is
twice the budget in one minute.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ("SLOTS", "Window")

SLOTS = 200
"""Parts of an interval that are counted together. What was taken comes back up to one part late, 0.5 %."""

TOLERANCE = 1e-6


class Window:
    """Counts what was taken within the last `interval`.

    Args:
        capacity: As much as may be taken in any interval, above 0.
        interval: Seconds.
        clock: Gives seconds that never go back.
    """

    __slots__ = ("_capacity", "_clock", "_interval", "_seen", "_slot_interval", "_taken", "_total")

    def __init__(self, capacity: float, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not capacity > 0 or not interval > 0:
            raise ValueError(f"capacity and interval are above 0, not {capacity!r} and {interval!r}")
        self._capacity = float(capacity)
        self._interval = interval
        self._slot_interval = interval / SLOTS
        self._clock = clock
        self._taken: dict[int, float] = {}  # by slot, the oldest first
        self._total = 0.0
        self._seen = -1

    @property
    def capacity(self) -> float:
        """As much as may be taken in any interval."""
        return self._capacity

    @property
    def taken(self) -> float:
        """What was taken within the last interval."""
        self._forget()
        return self._total

    def wait_time(self, amount: float) -> float:
        """Seconds until `amount` can be taken, if nobody takes anything before; 0.0 where it can be now.

        Raises:
            ValueError: `amount` is negative, or above the capacity and so never there.
        """
        if not 0 <= amount <= self._capacity:
            raise ValueError(f"a window of {self._capacity:g} never has room for {amount:g}")
        self._forget()
        excess = self._total + amount - self._capacity
        if excess <= TOLERANCE:
            return 0.0
        for slot, taken in self._taken.items():
            excess -= taken
            if excess <= TOLERANCE:
                return max(TOLERANCE, (slot + SLOTS + 1) * self._slot_interval - self._clock())
        raise AssertionError("the slots have less than their total")  # pragma: no cover

    def add(self, amount: float, *, age: float = 0.0) -> int:
        """Count `amount`, at least 0, as taken `age` seconds ago, whether there is room or not.

        Returns:
            The slot it is counted in, for `take_back`.
        """
        current = self._forget()
        slot = current if age <= 0 else self._slot_at(self._clock() - age)
        if amount > 0 and slot >= current - SLOTS:
            is_older = slot != current and slot not in self._taken
            self._taken[slot] = self._taken.get(slot, 0.0) + amount
            self._total += amount
            if is_older:
                self._taken = dict(sorted(self._taken.items()))
        return slot

    def take_back(self, amount: float, slot: int) -> float:
        """Count `amount` less in a slot, and return by how much: nothing where its interval has passed."""
        self._forget()
        left = self._taken.get(slot, 0.0)
        less = min(amount, left)
        if less > 0:
            self._taken[slot] = left - less
            self._total -= less
        return less

    def resize(self, capacity: float) -> None:
        """Have another capacity from now on."""
        if not capacity > 0:
            raise ValueError(f"a capacity is above 0, not {capacity!r}")
        self._capacity = float(capacity)

    def _forget(self) -> int:
        """Drop what is older than the interval; returns the slot of now."""
        current = self._slot_at(self._clock())
        if current == self._seen:
            return current
        self._seen = current
        while self._taken:
            slot = next(iter(self._taken))
            if slot + SLOTS >= current:
                break
            self._total -= self._taken.pop(slot)
        if not self._taken:
            self._total = 0.0  # rounding doesn't add up
        return current

    def _slot_at(self, instant: float) -> int:
        # The tolerance lets a timer that was set for the edge of a slot find itself beyond it.
        return math.floor((instant + TOLERANCE) / self._slot_interval)
