"""What a process does while Redis is away: it keeps to its share, by itself, and tries again now and then."""

from __future__ import annotations

import logging

from redis.exceptions import ResponseError

from hub.limits.budgets import LocalBudgets
from hub.limits.clock import Clock
from hub.limits.ledger import Ledger
from hub.models.profile import RateLimits

__all__ = ("Outage",)

log = logging.getLogger(__name__)

MAX_RETRY_INTERVAL = 5.0

MAX_WORDS = 300
"""Characters of what a server says that are logged."""


class Outage:
    """The time without Redis, from the first command that failed to the first one that didn't.

    Args:
        limits: The budgets of all processes a minute.
        interval: Seconds of which each gets its share of them.
        clock: The time.
        share: Of the budgets, for this process, until the number of processes is known.
        retry_interval: Seconds after which Redis is tried again; it doubles up to 5 s.
    """

    def __init__(
        self, limits: RateLimits, *, interval: float, clock: Clock, share: float, retry_interval: float
    ) -> None:
        self.share = share
        self.budgets: LocalBudgets | None = None
        self._limits = limits
        self._interval = interval
        self._clock = clock
        self._first_retry_interval = self._retry_interval = retry_interval
        self._retry_at = float("-inf")

    @property
    def is_on(self) -> bool:
        """Redis is away, as far as is known."""
        return self.budgets is not None

    @property
    def retry_delay(self) -> float:
        """Seconds until Redis is to be tried again; 0.0 where it may be now."""
        return 0.0 if self.budgets is None else max(0.0, self._retry_at - self._clock.time())

    def begin(self, exc: Exception, ledger: Ledger) -> LocalBudgets:
        """A command failed: these budgets hold for now. They know what this process took before."""
        self._retry_at = self._clock.time() + self._retry_interval
        if self.budgets is not None:
            self._retry_interval = min(MAX_RETRY_INTERVAL, self._retry_interval * 2)
            return self.budgets
        log.warning(
            "%s (%s): this process keeps to %.3g of the rate limit by itself until it is back.",
            "Redis refuses the rate limit's commands" if isinstance(exc, ResponseError) else "Redis is away",
            _words(exc),
            self.share,
        )
        self.budgets = LocalBudgets(self._own_limits(), interval=self._interval, clock=self._clock, overdraws=True)
        for age, tokens, requests in ledger.taken():
            self.budgets.add(tokens, requests, age=age)
        return self.budgets

    def end(self) -> None:
        """A command was carried out."""
        if self.budgets is not None:
            log.info("Redis is back: the rate limit is shared with the other processes again.")
            self.budgets = None
            self._retry_interval = self._first_retry_interval
            self._retry_at = float("-inf")

    def _own_limits(self) -> RateLimits:
        tokens, requests = self._limits.tkn_per_min, self._limits.req_per_min
        return RateLimits(
            tkn_per_min=None if tokens is None else max(1, int(tokens * self.share)),
            req_per_min=None if requests is None else max(1, int(requests * self.share)),
        )


def _words(exc: Exception) -> str:
    """The kind of the error and what the server said, on one line; neither the server nor the driver names a key."""
    words = " ".join(str(exc).split())[:MAX_WORDS]
    return f"{type(exc).__name__}: {words}" if words else type(exc).__name__
