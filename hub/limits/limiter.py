"""The limiter of one process.

limiter = Limiter(RateLimits(tkn_per_min=200_000, req_per_min=500))
async with limiter.limit(tokens=1_200) as permit:
    answer = await ask_the_endpoint()
    permit.settle(answer.usage)
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from hub.errors import InvalidRequestError
from hub.limits.base import Budgets, Claim, Correction, Permit
from hub.limits.budgets import LocalBudgets
from hub.limits.clock import Clock, LoopClock
from hub.limits.headers import parse_rate_limits
from hub.limits.line import Entry, Line
from hub.models.profile import RateLimits

__all__ = ("MAX_PRIORITY", "BudgetLimiter", "Limiter")

MAX_PRIORITY = 1_000


class BudgetLimiter:
    """A `RateLimiter` over budgets of any kind. It may be used by as many event loops at a time as its budgets may.

    Args:
        budgets: What keeps the budgets.
        clock: The time.
        max_waiting: As many may wait at once; a further one is refused.
        max_wait: Seconds that a request waits unless it says otherwise; None for as long as it takes.
    """

    def __init__(self, budgets: Budgets, *, clock: Clock, max_waiting: int, max_wait: float | None) -> None:
        if max_waiting < 1 or (max_wait is not None and not max_wait >= 0):
            raise InvalidRequestError("max_waiting must be at least 1, and max_wait at least 0 seconds.")
        self._line = Line(budgets, clock=clock, max_waiting=max_waiting, max_wait=max_wait)

    @property
    def waiting(self) -> int:
        """As many requests wait in this process now."""
        return self._line.waiting

    def limit(
        self, tokens: float, requests: float = 1, *, priority: int = 0, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Permit]:
        """As `RateLimiter.limit`."""
        if not 0 <= tokens < float("inf") or not 0 <= requests < float("inf"):
            raise InvalidRequestError(f"tokens and requests must be at least 0, not {tokens!r} and {requests!r}.")
        if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
            raise InvalidRequestError(f"priority must be from -{MAX_PRIORITY} to {MAX_PRIORITY}, not {priority!r}.")
        if timeout is not None and not timeout >= 0:
            raise InvalidRequestError(f"timeout must be at least 0 seconds, not {timeout!r}.")
        return Entry(self._line, Claim(tokens, requests, priority), timeout)

    async def pause(self, seconds: float) -> None:
        """As `RateLimiter.pause`."""
        if not 0 <= seconds < float("inf"):
            raise InvalidRequestError(f"A pause has at least 0 seconds, not {seconds!r}.")
        await self._line.budgets.correct(Correction(pause=seconds))

    async def correct(self, headers: Mapping[str, str]) -> None:
        """As `RateLimiter.correct`."""
        correction = parse_rate_limits(headers)
        if correction is not None:
            await self._line.budgets.correct(correction)
            self._line.wake()

    async def aclose(self) -> None:
        """As `RateLimiter.aclose`."""


class Limiter(BudgetLimiter):
    """Keeps the calls of one process within an endpoint's budgets.

    No minute, wherever it begins, sees more than a minute's budget, and a budget that was not used for a while may be
    used at once. What is used up comes back a minute after it was taken. Event loops in several threads may share it.

    Args:
        limits: The budgets a minute, to begin with; the endpoint's headers correct them. What is None is not limited
            until the endpoint tells its limit.
        interval: Seconds of which each gets its share of a minute's budget, at most 60: with 10, no ten seconds see
            more than a sixth, and no request may be larger than that. For endpoints that look at less than a minute.
        max_waiting: As many requests may wait at once; a further one gets a `LimiterBusyError`.
        max_wait: Seconds that a request waits unless it says otherwise; then it gets a `LimitTimeoutError`. None for
            as long as it takes.
        clock: The time; the system's by default.

    Raises:
        InvalidRequestError: Arguments that make no sense.
    """

    def __init__(
        self,
        limits: RateLimits,
        *,
        interval: float = 60.0,
        max_waiting: int = 10_000,
        max_wait: float | None = 300.0,
        clock: Clock | None = None,
    ) -> None:
        check_limits(limits, interval)
        clock = clock or LoopClock()
        budgets = LocalBudgets(limits, interval=interval, clock=clock)
        super().__init__(budgets, clock=clock, max_waiting=max_waiting, max_wait=max_wait)


def check_limits(limits: RateLimits, interval: float) -> None:
    """Raise an `InvalidRequestError` for limits and intervals that make no sense."""
    if not 0 < interval <= 60:
        raise InvalidRequestError(f"interval must be above 0 and at most 60 seconds, not {interval!r}.")
    for name, limit in (("tkn_per_min", limits.tkn_per_min), ("req_per_min", limits.req_per_min)):
        if limit is not None and not limit > 0:
            raise InvalidRequestError(f"{name} must be above 0, or None for no limit; it is {limit!r}.")
