"""A token bucket: what an endpoint keeps for an account, as far as it can be known here. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ("TokenBucket",)

TOLERANCE = 1e-6
"""Less than that is missing by rounding, not by use."""


class TokenBucket:
    """A level that rises by `refill_rate` a second up to `capacity`, and falls by what is taken. It begins full.

    Its level may lie below zero: what is known to have been used only afterwards is charged all the same.

    Args:
        capacity: The highest level, above 0.
        refill_rate: By how much the level rises in a second, above 0.
        clock: Gives seconds that never go back.
    """

    __slots__ = ("_capacity", "_clock", "_level", "_refill_rate", "_updated_at")

    def __init__(self, capacity: float, refill_rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        _check_size(capacity, refill_rate)
        self._capacity = float(capacity)
        self._refill_rate = float(refill_rate)
        self._clock = clock
        self._level = self._capacity
        self._updated_at = clock()

    def __repr__(self) -> str:
        return f"TokenBucket(capacity={self._capacity:g}, refill_rate={self._refill_rate:g}, level={self.level:g})"

    @property
    def capacity(self) -> float:
        """The highest level."""
        return self._capacity

    @property
    def refill_rate(self) -> float:
        """By how much the level rises in a second."""
        return self._refill_rate

    @property
    def level(self) -> float:
        """What may be taken now; below zero where more was charged than there was."""
        now = self._clock()
        if now > self._updated_at:
            self._level = min(self._capacity, self._level + (now - self._updated_at) * self._refill_rate)
            self._updated_at = now
        return self._level

    def wait_time(self, amount: float) -> float:
        """Seconds until `amount` can be taken, if nobody takes anything before; 0.0 where it can be now.

        Raises:
            ValueError: `amount` is negative, or above the capacity and so never there.
        """
        if not 0 <= amount <= self._capacity:
            raise ValueError(f"a bucket of {self._capacity:g} never has {amount:g}")
        missing = amount - self.level
        return 0.0 if missing <= TOLERANCE else missing / self._refill_rate

    def take(self, amount: float) -> bool:
        """Take `amount`, where it is there; else take nothing and return False.

        Raises:
            ValueError: `amount` is negative or above the capacity.
        """
        if self.wait_time(amount) > 0:
            return False
        self._level -= amount
        return True

    def charge(self, amount: float) -> None:
        """Lower the level by `amount`, at least 0, whether it is there or not."""
        if not amount >= 0:
            raise ValueError(f"a charge is at least 0, not {amount!r}")
        self._level = self.level - amount

    def give_back(self, amount: float) -> None:
        """Raise the level by `amount`, at least 0, up to the capacity."""
        if not amount >= 0:
            raise ValueError(f"what is given back is at least 0, not {amount!r}")
        self._level = min(self._capacity, self.level + amount)

    def lower_to(self, level: float) -> None:
        """The endpoint says that only so much is left; a level that is lower already stands.

        It never raises the level: what is on its way to the endpoint is known here and not yet there.
        """
        self._level = min(self.level, level)

    def resize(self, capacity: float, refill_rate: float) -> None:
        """Have another capacity and refill rate from now on. What was missing to the full stays missing."""
        _check_size(capacity, refill_rate)
        missing = self._capacity - self.level
        self._capacity, self._refill_rate = float(capacity), float(refill_rate)
        self._level = self._capacity - missing


def _check_size(capacity: float, refill_rate: float) -> None:
    if not 0 < capacity < float("inf") or not 0 < refill_rate < float("inf"):
        raise ValueError(f"capacity and refill_rate are above 0, not {capacity!r} and {refill_rate!r}")
