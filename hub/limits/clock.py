"""The clock of a limiter: what the time is, and a call when it is later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ("Clock", "LoopClock", "Timer")


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """It isn't made. A second time, or after it was made, this does nothing."""


class Clock(Protocol):
    """Tells the time and calls back; tests have one that they move by hand."""

    def time(self) -> float:
        """Seconds that never go back; their zero means nothing.

        They are no wall clock's: set back by an hour, a limiter gives nothing back for that hour, and its line stands.
        """

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, `delay` seconds from now, in the event loop that runs."""


class LoopClock:
    """The real time, with the timers of the event loop that runs."""

    __slots__ = ()

    def time(self) -> float:
        """Seconds of the system's monotonic clock."""
        return time.monotonic()

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """A timer of the running loop."""
        return asyncio.get_running_loop().call_later(delay, callback)
