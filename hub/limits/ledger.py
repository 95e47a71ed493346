"""What this process itself has taken in the last interval: what others must hear when Redis has lost it. Pure."""

from __future__ import annotations

from collections.abc import Callable

from hub.limits.window import SLOTS

__all__ = ("Ledger",)


class Ledger:
    """Tokens and requests by the time they were taken; at most some 200 entries.

    Args:
        interval: Seconds for which an entry counts.
        clock: Gives seconds that never go back.
    """

    __slots__ = ("_clock", "_entries", "_interval", "_slot_interval")

    def __init__(self, interval: float, clock: Callable[[], float]) -> None:
        self._interval = interval
        self._slot_interval = interval / SLOTS
        self._clock = clock
        self._entries: list[list[float]] = []  # beginning of the slot, tokens, requests

    def add(self, tokens: float, requests: float) -> None:
        """So much was taken now; below zero, so much less than was thought."""
        now = self._clock()
        self._forget(now)
        if not self._entries or now - self._entries[-1][0] >= self._slot_interval:
            self._entries.append([now, 0.0, 0.0])
        last = self._entries[-1]
        last[1] += tokens
        last[2] += requests

    def taken(self) -> list[tuple[float, float, float]]:
        """Age in seconds, tokens and requests of each entry, the oldest first; none is below zero."""
        now = self._clock()
        self._forget(now)
        return [
            (max(0.0, now - began_at - self._slot_interval), max(0.0, tokens), max(0.0, requests))
            for began_at, tokens, requests in self._entries
        ]

    def clear(self) -> None:
        """Nothing was taken."""
        self._entries.clear()

    def _forget(self, now: float) -> None:
        oldest = now - self._interval - self._slot_interval
        count = 0
        while count < len(self._entries) and self._entries[count][0] < oldest:
            count += 1
        if count:
            del self._entries[:count]
