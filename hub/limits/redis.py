"""The limiter that many processes share, through Redis or Valkey; needs the extra `redis`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from hub.errors import InvalidRequestError
from hub.limits.clock import Clock, LoopClock
from hub.limits.limiter import BudgetLimiter, check_limits
from hub.limits.outage import Outage
from hub.limits.script import BudgetScript
from hub.limits.shared import SharedBudgets
from hub.models.profile import RateLimits
from hub.redis_io import UNREACHABLE, RedisClient, connect

__all__ = ("RedisLimiter",)


class RedisLimiter(BudgetLimiter):
    """Keeps the calls of many processes together within an endpoint's budgets.

    What `Limiter` promises of one process holds for all that have the same key, by the Redis server's clock. In a
    process the first in line asks; among processes it goes in the order in which they asked, so each gets its turn.

    Where Redis is away, at the start or later, nobody is kept waiting for it: each process keeps to its share of the
    budgets, one n-th where n processes asked in the last interval, tries Redis again after `retry_interval`, and tells
    it then what was taken meanwhile. A request larger than the share goes when all of the share is there, and is paid
    off afterwards. Redis that has lost its memory learns from the processes what they took.

    Connections to Redis belong to an event loop, so it serves one at a time: a `RuntimeError` tells a second one that
    runs meanwhile. Limiters of one key, one for each thread, share the budgets as processes do.

    Args:
        redis: The server's URL, as in `REDIS_URL`, or a client of redis-py, which stays its owner's to close. A client
            for a cluster will do: all keys of a limiter lie on one node.
        key: What the budgets are of, such as endpoint, account and model.
        limits: The budgets a minute, the same in every process.
        interval, max_waiting, max_wait: As `Limiter` has them; the waiting is counted in each process.
        share: Of the budgets, for this process, where Redis was away from the start.
        redis_timeout: Seconds that Redis may take for one answer; then it counts as away.
        retry_interval: Seconds after which one that is away is tried again; doubled each time, up to 5.
        clock: The time of this process, for waiting and while Redis is away.
        server_clock: Unix seconds in the place of the server's, for tests.

    Raises:
        InvalidRequestError: Arguments that make no sense.
        ConfigurationError: The URL makes no sense.
    """

    def __init__(
        self,
        redis: str | RedisClient,
        key: str,
        limits: RateLimits,
        *,
        interval: float = 60.0,
        max_waiting: int = 10_000,
        max_wait: float | None = 300.0,
        share: float = 0.125,
        redis_timeout: float = 1.0,
        retry_interval: float = 1.0,
        clock: Clock | None = None,
        server_clock: Callable[[], float] | None = None,
    ) -> None:
        check_limits(limits, interval)
        if not 0 < share <= 1 or not redis_timeout > 0 or not retry_interval > 0:
            raise InvalidRequestError("share must be above 0 and at most 1, redis_timeout and retry_interval above 0.")
        clock = clock or LoopClock()
        client = connect(redis, timeout=redis_timeout) if isinstance(redis, str) else redis
        self._owned = client if client is not redis else None
        script = BudgetScript(
            client,
            key,
            limits,
            interval=interval,
            process=uuid4().hex,
            timeout=redis_timeout,
            now=server_clock,
        )
        outage = Outage(limits, interval=interval, clock=clock, share=share, retry_interval=retry_interval)
        self._budgets = SharedBudgets(script, outage, interval=interval, clock=clock)
        super().__init__(self._budgets, clock=clock, max_waiting=max_waiting, max_wait=max_wait)

    async def aclose(self) -> None:
        """Close the connections, where the limiter was given a URL. A second call does nothing.

        Waits, for `redis_timeout` at most, until those who gave up waiting are out of the queue.
        """
        await self._budgets.aclose()
        if self._owned is not None:
            with suppress(*UNREACHABLE):  # a connection that was lost can't be closed in order
                await self._owned.aclose()
