"""The budgets of one process: tokens and requests, each as the endpoint's bucket and as our own promise."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock

from hub.errors import RequestTooLargeError
from hub.limits.base import Claim, Correction
from hub.limits.clock import Clock
from hub.limits.token_bucket import TokenBucket
from hub.limits.window import Window
from hub.models.profile import RateLimits

__all__ = ("Budget", "LocalBudgets")


class Budget:
    """One budget: `limit` in any `interval`, and never more than the endpoint has left.

    Args:
        limit: Tokens or requests an interval.
        interval: Seconds.
        clock: The time.
        overdraws: What is larger than the limit may go when all of it is there, and is paid off afterwards.
    """

    __slots__ = ("_bucket", "_interval", "_overdraws", "_window", "name")

    def __init__(
        self, name: str, limit: float, interval: float, clock: Callable[[], float], *, overdraws: bool = False
    ) -> None:
        self.name = name
        self._interval = interval
        self._overdraws = overdraws
        self._bucket = TokenBucket(limit, limit / interval, clock)
        self._window = Window(limit, interval, clock)

    @property
    def limit(self) -> float:
        """As much as any interval has."""
        return self._window.capacity

    def wait_time(self, amount: float) -> float:
        """Seconds until there is room for `amount`; 0.0 where there is.

        Raises:
            RequestTooLargeError: There never is.
        """
        if amount > self.limit:
            if not self._overdraws:
                raise RequestTooLargeError(self.name, amount, self.limit)
            amount = self.limit
        return max(self._bucket.wait_time(amount), self._window.wait_time(amount))

    def take(self, amount: float, *, age: float = 0.0) -> int:
        """Take `amount`, whether there is room or not, as of `age` seconds ago; returns the slot to give it back to."""
        self._bucket.charge(max(0.0, amount * (1.0 - age / self._interval)))
        return self._window.add(amount, age=age)

    def adjust(self, amount: float, slot: int) -> None:
        """Take so much more; below zero, so much less than was taken in `slot`."""
        if amount > 0:
            self.take(amount)
        elif amount < 0:
            self._bucket.give_back(self._window.take_back(-amount, slot))

    def correct(self, limit: float | None, remaining: float | None) -> None:
        """Have another limit, and no more than what remains."""
        if limit is not None:
            self._bucket.resize(limit, limit / self._interval)
            self._window.resize(limit)
        if remaining is not None:
            self._bucket.lower_to(remaining)


class LocalBudgets:
    """The budgets of one process, in memory. Event loops in several threads may share them.

    Args:
        limits: A minute's; None for one that is not known, which limits nothing until the endpoint tells it.
        interval: Seconds in which a minute's share may be used.
        clock: The time.
        overdraws: As `Budget` has it.
    """

    def __init__(self, limits: RateLimits, *, interval: float, clock: Clock, overdraws: bool = False) -> None:
        self._interval = interval
        self._clock = clock
        self._now = clock.time()
        self._overdraws = overdraws
        self._tokens = self._budget("tokens", limits.tkn_per_min)
        self._requests = self._budget("requests", limits.req_per_min)
        self._paused_until = float("-inf")
        # Held over no await. Reentrant: the garbage collector may end a block, which adjusts, at any allocation.
        self._lock = RLock()

    async def take(self, claim: Claim) -> float:
        """As `Budgets` says; never waits."""
        with self._lock:
            delay = self._paused_until - self._tick()
            for budget, amount in ((self._tokens, claim.tokens), (self._requests, claim.requests)):
                if budget is not None:
                    delay = max(delay, budget.wait_time(amount))
            if delay > 0:
                claim.wait = delay
                return delay
            claim.is_local = True
            claim.slot = self._add(claim.tokens, claim.requests, 0.0)
            return 0.0

    async def leave(self, claim: Claim) -> None:
        """Nothing: who waits holds nothing here."""

    async def adjust(self, claim: Claim, tokens: float, requests: float) -> None:
        """As `Budgets` says; never waits."""
        with self._lock:
            self._tick()
            if self._tokens is not None:
                self._tokens.adjust(tokens, claim.slot)
            if self._requests is not None:
                self._requests.adjust(requests, claim.slot)

    async def correct(self, correction: Correction) -> None:
        """As `Budgets` says; never waits."""
        with self._lock:
            self._tick()
            share = self._interval / 60.0
            if self._tokens is None:
                self._tokens = self._budget("tokens", correction.limit_tokens)
            if self._requests is None:
                self._requests = self._budget("requests", correction.limit_requests)
            if self._tokens is not None:
                self._tokens.correct(_times(correction.limit_tokens, share), correction.remaining_tokens)
            if self._requests is not None:
                self._requests.correct(_times(correction.limit_requests, share), correction.remaining_requests)
            if correction.pause is not None:
                self.pause(correction.pause)

    def pause(self, seconds: float) -> None:
        """Give nothing for so many seconds; where a pause is on that ends later, it stands."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._tick() + seconds)

    def add(self, tokens: float, requests: float, *, age: float = 0.0) -> int:
        """Count so much as taken `age` seconds ago; returns the slot."""
        with self._lock:
            self._tick()
            return self._add(tokens, requests, age)

    def _add(self, tokens: float, requests: float, age: float) -> int:
        slot = 0
        if self._tokens is not None:
            slot = self._tokens.take(tokens, age=age)
        if self._requests is not None:
            slot = self._requests.take(requests, age=age)
        return slot

    def _tick(self) -> float:
        """Read the clock, once for both budgets: they see the same instant, and a reading costs."""
        self._now = self._clock.time()
        return self._now

    def _budget(self, name: str, per_minute: float | None) -> Budget | None:
        if per_minute is None:
            return None
        limit = per_minute * self._interval / 60.0
        return Budget(name, limit, self._interval, lambda: self._now, overdraws=self._overdraws)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
