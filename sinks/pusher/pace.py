"""How many messages may go now. Pure: the clock is an argument."""

from __future__ import annotations

import math

from hub.errors import InvalidRequestError

__all__ = ("Pace",)


class Pace:
    """A token bucket, full at first.

    Args:
        rate: Messages a second, in the long run; may be infinite.
        burst: Messages that may go at once after a pause.

    Raises:
        InvalidRequestError: The rate is not above 0.
    """

    def __init__(self, rate: float, burst: int) -> None:
        if not rate > 0:
            raise InvalidRequestError(f"max_messages_per_second is above 0; it is {rate:g}.")
        self._rate = rate
        self._burst = burst
        self._level = float(burst)
        self._at = -math.inf

    def room(self, now: float) -> int:
        """How many messages may go at this instant, on a clock in seconds that never goes back."""
        if math.isinf(self._rate):
            return self._burst
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        # A wait for one message must not end a rounding error too early.
        return int(self._level + 1e-6)

    def take(self, messages: int) -> None:
        """So many have gone."""
        self._level -= messages

    def wait(self, now: float) -> float:
        """Seconds until one message may go; 0 where it may now."""
        if self.room(now) >= 1:
            return 0.0
        return (1.0 - self._level) / self._rate
