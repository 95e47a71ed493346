"""The four clocks of a call, and the watchdog that interrupts whatever is awaited when one runs out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar

__all__ = ("Clock", "InterruptedByWatchdog", "Interruption", "Timeouts", "Watchdog")

T = TypeVar("T")

INFINITY = float("inf")

LATE = 0.1
"""Seconds by which a timer fires late only where the event loop was held up; what came meanwhile is still unread."""

GRACE = 0.05
"""Seconds to read it."""

Clock: TypeAlias = Literal["first_token_timeout", "stall_timeout", "total_timeout"]
Interruption: TypeAlias = Clock | Literal["cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for an endpoint, in seconds; None waits for ever. Only waiting counts: a slow reader costs none.

    Attributes:
        connect_timeout: Name lookup, TCP and TLS.
        first_token_timeout: From sending the request to the first content.
        stall_timeout: Between two pieces of content; comments and metadata don't reset it.
        total_timeout: The whole call, retries and the waits between them included.
    """

    connect_timeout: float | None = 5.0
    first_token_timeout: float | None = 120.0
    stall_timeout: float | None = 60.0
    total_timeout: float | None = 600.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            seconds = getattr(self, name)
            if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < INFINITY):
                raise ValueError(f"{name} must be above 0 seconds, or None for no limit; it is {seconds!r}")


class InterruptedByWatchdog(Exception):  # noqa: N818 - not an error of its own: `Watchdog.interruption` says what it is
    """What was awaited was given up, because a clock ran out or the stream was stopped."""


class Watchdog:
    """One lazy timer a stream: it interrupts what `guard` awaits when a clock runs out, or at `stop`.

    The timer is looked at only when it fires, so an await costs two readings of the clock, not a timer of its own.

    Attributes:
        interruption: Which clock ran out, or `cancelled`; None while all is well.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self.interruption: Interruption | None = None
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._total_left = timeouts.total_timeout
        self._busy_since = self._loop.time()
        self._clock: Clock = "first_token_timeout"
        self._clock_left = timeouts.first_token_timeout
        self._task: asyncio.Task[Any] | None = None
        self._was_interrupted = False
        self._deadline = INFINITY
        self._deadline_clock: Clock = "total_timeout"
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = INFINITY

    def expect_first_token(self) -> None:
        """A new attempt begins: its own first-token clock starts."""
        self._clock, self._clock_left = "first_token_timeout", self._timeouts.first_token_timeout

    def go_on(self) -> None:
        """Another try follows one whose own clock ran out; the total clock and a stop stand."""
        if self.interruption in ("first_token_timeout", "stall_timeout"):
            self.interruption = None

    def expect_content(self) -> None:
        """Content came: the gap clock starts anew."""
        self._clock, self._clock_left = "stall_timeout", self._timeouts.stall_timeout

    def expect_end(self, within: float) -> None:
        """The answer is whole; only what comes after it is awaited, for a while."""
        self._clock, self._clock_left = "stall_timeout", within

    def expect_nothing(self) -> None:
        """What is awaited is our own: only the total clock counts."""
        self._clock_left = None

    def resume(self) -> None:
        """What lay since the last guard was the reader's time, and costs nothing."""
        self._busy_since = self._loop.time()

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call and await it under the clocks. What it took is taken off them.

        The total clock also counts what lies between two guards, up to which `resume` says that it was the reader's:
        an endpoint that never lets us wait could otherwise go on for ever.

        Raises:
            InterruptedByWatchdog: A clock ran out, or the stream was stopped.
        """
        if self.interruption is not None:
            raise InterruptedByWatchdog
        task = asyncio.current_task(self._loop)
        assert task is not None
        cancelling = task.cancelling()
        began_at = self._arm(task)
        try:
            return await call()
        finally:
            self._task = None
            self._busy_since = self._loop.time()
            waited = self._busy_since - began_at
            if self._total_left is not None:
                self._total_left = max(0.0, self._total_left - waited)
            if self._clock_left is not None:
                self._clock_left = max(0.0, self._clock_left - waited)
            if self._was_interrupted:
                self._give_up(task, cancelling)

    def stop(self) -> None:
        """Give up the await under way, or the next one, as `cancelled`."""
        if self.interruption is None:
            self.interruption = "cancelled"
            self._interrupt()

    def close(self) -> None:
        """No further interruption comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self, task: asyncio.Task[Any], cancelling: int) -> NoReturn:
        """Whatever the await ended with, it was interrupted; a cancellation from outside goes before."""
        # As asyncio.timeout does: take our own cancellation back, let one from outside go on.
        self._was_interrupted = False
        if task.uncancel() > cancelling:
            raise asyncio.CancelledError from None
        raise InterruptedByWatchdog from None

    def _arm(self, task: asyncio.Task[Any]) -> float:
        now = self._loop.time()
        if self._total_left is not None:
            self._total_left -= now - self._busy_since
            if self._total_left <= 0.0:
                self.interruption = "total_timeout"
                raise InterruptedByWatchdog
        self._task = task
        self._was_interrupted = False
        deadline = INFINITY
        if self._clock_left is not None:
            deadline, self._deadline_clock = now + self._clock_left, self._clock
        if self._total_left is not None and now + self._total_left <= deadline:
            deadline, self._deadline_clock = now + self._total_left, "total_timeout"
        self._deadline = deadline
        if deadline < self._timer_at:
            self._set_timer(deadline)
        return now

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._fire)
        self._timer_at = when

    def _fire(self) -> None:
        due_at, self._timer, self._timer_at = self._timer_at, None, INFINITY
        if self._task is None:
            return  # nothing is awaited; the next guard sets a timer again
        now = self._loop.time()
        # A loop's clock may be coarser than the timer: what is due within a millisecond is due.
        if now + 0.001 < self._deadline:
            self._set_timer(self._deadline)
        elif now - due_at > LATE:
            self._set_timer(now + GRACE)
        else:
            self.interruption = self.interruption or self._deadline_clock
            self._interrupt()

    def _interrupt(self) -> None:
        """Cancel the await under way, once: a second cancellation would pass for one from outside."""
        if self._task is not None and not self._was_interrupted:
            self._was_interrupted = True
            self._task.cancel()
