"""When to try again, and how long to wait before. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from hub.errors import EndpointError

__all__ = ("RetryPolicy", "spread")

_RETRIED_CODES = frozenset(("rate_limited", "endpoint_error", "connection_failed", "connect_timeout", "truncated"))
"""Time-outs while waiting for a token are not here: trying again would multiply a wait that was long already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter, and the endpoint's own wish where it has one.

    Attributes:
        attempts: Tries in all, at least 1.
        backoff: Seconds before the second try; doubles with each further one.
        max_backoff: Seconds between two tries, at most, where the endpoint has no wish.
        max_retry_after: Seconds of `Retry-After` that are waited for; a longer wish ends the call at once.
    """

    attempts: int = 3
    backoff: float = 0.5
    max_backoff: float = 8.0
    max_retry_after: float = 60.0

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise ValueError(f"attempts must be a whole number, at least 1; it is {self.attempts!r}")
        for name in ("backoff", "max_backoff", "max_retry_after"):
            seconds = getattr(self, name)
            if not (isfinite(seconds) and seconds >= 0):
                raise ValueError(f"{name} must be a number of seconds, at least 0; it is {seconds!r}")

    def delay(self, error: EndpointError, attempt: int, random: float) -> float | None:
        """Seconds to wait after try number `attempt` (from 1) failed; None where there is none further.

        Args:
            error: Why it failed.
            attempt: The try that failed.
            random: Between 0 and 1, spreads clients that failed together.
        """
        if attempt >= self.attempts or not error.retryable or error.code not in _RETRIED_CODES:
            return None
        if error.retry_after is not None:
            if error.retry_after > self.max_retry_after:
                return None
            # A little later than asked, each client by its own amount.
            return error.retry_after + random * spread(error.retry_after)
        ceiling: float = min(self.max_backoff, self.backoff * 2.0 ** min(attempt - 1, 64))
        return ceiling * (0.5 + 0.5 * random)


def spread(retry_after: float) -> float:
    """By how many seconds a try may come later than the endpoint asked for."""
    return 0.1 * min(retry_after, 10.0)
