"""What an endpoint lets one account do with one model, as calls keep to it: leave to ask, and what it is told after."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager

from hub.errors import (
    EndpointError,
    LimiterBusyError,
    LimitError,
    LimitTimeoutError,
    RequestTooLargeError,
    endpoint_error,
)
from hub.limits import Permit, RateLimiter
from hub.limits.headers import parse_rate_limits
from hub.upstream.failures import was_dropped
from hub.upstream.retry import spread

__all__ = ("MAX_PAUSE", "Admission", "Quota", "held_back")

log = logging.getLogger(__name__)

INFINITY = float("inf")

MAX_PAUSE = 60.0
"""Seconds of `Retry-After` for which everybody waits. One who is to wait longer, for a day's budget as it may be, had
better hear so from the endpoint than wait in line."""

NOTICEABLE = 1.0
"""Seconds after which a request that waits is told of in the log."""

TOLD_INTERVAL = 10.0
"""Seconds for which one such word, of one limiter, will do for all that wait."""

_NEVER_SENT = ("connect_timeout", "connection_failed", "invalid_request")
"""Failures without a status by which the endpoint knows nothing of the request."""


class Quota:
    """Asks a limiter for leave. Whatever else the limiter raises, calls go on, and it is logged once.

    Args:
        limiter: Keeps the budgets.
        name: Whose they are, for the log.
        assumed_tokens: As many a minute are only assumed: no request is too large before the endpoint has said so,
            and one that is larger takes this much. None where the limiter's limits are known.
    """

    __slots__ = ("_has_failed", "_most", "_name", "_told_at", "limiter")

    def __init__(
        self, limiter: RateLimiter, *, name: str = "of an endpoint", assumed_tokens: float | None = None
    ) -> None:
        self.limiter = limiter
        self._name = name
        self._told_at = -INFINITY
        self._most = INFINITY if assumed_tokens is None else assumed_tokens
        self._has_failed = False

    async def admit(self, tokens: float, *, priority: int = 0, timeout: float | None = None) -> Admission:
        """Wait for leave to send a request of so many tokens.

        Args:
            tokens: Of its input; those of the answer are taken off when it is settled.
            priority: Of a higher one goes first.
            timeout: Seconds to wait; None for as long as the limiter allows.

        Raises:
            LimitError: There is none: the request is larger than a minute's budget, too many wait, or it has waited
                too long. Callers hear of it as `held_back` says.
        """
        try:
            block = self.limiter.limit(min(tokens, self._most), priority=priority, timeout=timeout)
            with self._telling_of_a_wait():
                permit = await block.__aenter__()
            if permit.waited >= NOTICEABLE:
                log.debug("a request waited %.1f s for its rate limit (%s)", permit.waited, self._name)
        except LimitError:
            raise
        except Exception as exc:
            self.failed(exc)
            return Admission(self)
        return Admission(self, block, permit)

    async def heed(self, headers: Mapping[str, str]) -> None:
        """Believe what the headers of a response say of the budgets."""
        try:
            await self.limiter.correct(headers)
            if self._most != INFINITY and (told := parse_rate_limits(headers)) and told.limit_tokens is not None:
                self._most = INFINITY  # from now on it is the endpoint that says what is too large
        except Exception as exc:
            self.failed(exc)

    @contextmanager
    def _telling_of_a_wait(self) -> Iterator[None]:
        """Where the block takes noticeably long, it is said while it does."""
        timer = asyncio.get_running_loop().call_later(NOTICEABLE, self._tell_of_a_wait)
        try:
            yield
        finally:
            timer.cancel()

    def _tell_of_a_wait(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._told_at + TOLD_INTERVAL:
            self._told_at = now
            log.info("requests wait for their rate limit (%s) and are not sent yet", self._name)

    def failed(self, exc: Exception) -> None:
        """The limiter raised what no limiter should."""
        if not self._has_failed:
            self._has_failed = True
            log.warning("a rate limiter failed; calls go on, and it is not told again", exc_info=exc)


class Admission:
    """Leave to send one request, until it is settled or given back.

    Args:
        quota: Gave it.
        block: Is left when it is over; None where the limiter is broken, and the request goes without.
        permit: What was taken.
    """

    __slots__ = ("_block", "_permit", "_quota")

    def __init__(
        self, quota: Quota, block: AbstractAsyncContextManager[Permit] | None = None, permit: Permit | None = None
    ) -> None:
        self._quota = quota
        self._block = block
        self._permit = permit

    async def heed(self, headers: Mapping[str, str]) -> None:
        """Believe what the headers of a response say of the budgets."""
        await self._quota.heed(headers)

    async def settle(self, used_tokens: float | None, failure: EndpointError | None) -> None:
        """The request is over.

        Args:
            used_tokens: What it used, input and output; None where that isn't known.
            failure: Why it gave nothing; where the endpoint asks to wait, everybody does.
        """
        try:
            if self._permit is not None:
                _account(self._permit, used_tokens, failure)
            if failure is not None and (seconds := _asked_to_wait(failure)) is not None:
                # Whoever was sent back stands in line again by then, before those who came later.
                await self._quota.limiter.pause(seconds + spread(seconds))
        except Exception as exc:
            self._quota.failed(exc)
        finally:
            await self._leave()

    async def give_back(self) -> None:
        """The request was not sent: it takes nothing."""
        if self._permit is not None:
            self._permit.cancel()
        await self._leave()

    async def _leave(self) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        try:
            await block.__aexit__(None, None, None)
        except Exception as exc:
            self._quota.failed(exc)


def held_back(reason: LimitError) -> EndpointError:
    """Why a request was not sent, in the words for an endpoint's failures: `invalid_request` or `rate_limited`."""
    if isinstance(reason, RequestTooLargeError):
        return endpoint_error(str(reason), code="invalid_request")
    retry_after = reason.retry_after if isinstance(reason, LimiterBusyError | LimitTimeoutError) else None
    return endpoint_error(str(reason), code="rate_limited", retryable=True, retry_after=retry_after)


def _account(permit: Permit, used_tokens: float | None, failure: EndpointError | None) -> None:
    """Say what was used; without a word the estimate stands."""
    if used_tokens is not None:
        permit.settle(used_tokens)
    elif failure is not None and failure.status is not None:
        permit.settle(0)  # the endpoint refused it
    elif failure is not None and failure.code in _NEVER_SENT and not was_dropped(failure):
        permit.cancel()


def _asked_to_wait(failure: EndpointError) -> float | None:
    """Seconds for which the endpoint asks for patience; None where it doesn't, or for longer than all are to wait."""
    seconds = failure.retry_after if failure.code == "rate_limited" else None
    return seconds if seconds is not None and 0 <= seconds <= MAX_PAUSE else None
