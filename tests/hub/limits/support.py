"""A clock that tests move, limiters that run by it, and requests that wait at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from heapq import heappop, heappush
from typing import Any, TypeVar
from uuid import uuid4

from redis.asyncio import Redis

from hub.limits import Limiter, RateLimiter
from hub.limits.redis import RedisLimiter
from hub.models.profile import RateLimits

T = TypeVar("T")

BEGAN_AT = 1_800_000_000.0


class ManualTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualClock:
    """Seconds that a test moves; `settle` lets everything happen that is due."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers_set = 0
        self.is_busy: Callable[[], bool] = lambda: False
        self._timers: list[tuple[float, int, ManualTimer]] = []

    def time(self) -> float:
        return self.now

    def unix_time(self) -> float:
        return BEGAN_AT + self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> ManualTimer:
        timer = ManualTimer(callback)
        self.timers_set += 1
        heappush(self._timers, (self.now + delay, self.timers_set, timer))
        return timer

    @property
    def pending(self) -> int:
        return sum(not timer.is_cancelled for _, _, timer in self._timers)

    async def settle(self) -> None:
        """Every task has come as far as it can without the time moving on."""
        quiet = 0
        while quiet < 50:
            await asyncio.sleep(0)
            quiet = 0 if self.is_busy() else quiet + 1

    async def advance(self, seconds: float) -> None:
        """So much later, with every timer on the way called at its time."""
        until = self.now + seconds
        await self.settle()
        while self._timers and self._timers[0][0] <= until:
            at, _, timer = heappop(self._timers)
            if not timer.is_cancelled:
                self.now = max(self.now, at)
                timer.callback()
                await self.settle()
        self.now = until
        await self.settle()


class CountingRedis(Redis):
    """A client that knows whether a command is under way, so that a test can wait for it."""

    under_way = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        self.under_way += 1
        try:
            return await super().execute_command(*args, **options)
        finally:
            self.under_way -= 1


OpenLimiter = Callable[..., RateLimiter]


@asynccontextmanager
async def in_memory(clock: ManualClock) -> AsyncIterator[OpenLimiter]:
    """Limiters of one process."""

    def open_limiter(tokens: int | None = None, requests: int | None = None, **options: Any) -> RateLimiter:
        return Limiter(RateLimits(tkn_per_min=tokens, req_per_min=requests), clock=clock, **options)

    yield open_limiter


@asynccontextmanager
async def over_redis(clock: ManualClock, url: str) -> AsyncIterator[OpenLimiter]:
    """Limiters that share what a real server keeps under one key."""
    key = uuid4().hex
    async with AsyncExitStack() as stack:
        clients: list[CountingRedis] = []
        clock.is_busy = lambda: any(client.under_way for client in clients)

        def open_limiter(tokens: int | None = None, requests: int | None = None, **options: Any) -> RateLimiter:
            client = CountingRedis.from_url(url)
            stack.push_async_callback(client.aclose)
            clients.append(client)
            limits = RateLimits(tkn_per_min=tokens, req_per_min=requests)
            return RedisLimiter(client, key, limits, clock=clock, server_clock=clock.unix_time, **options)

        yield open_limiter


class Requests:
    """Requests at limiters, and the order in which they got through."""

    def __init__(self, clock: ManualClock) -> None:
        self.through: list[tuple[str, float]] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._clock = clock

    async def add(self, name: str, limiter: RateLimiter, tokens: float, requests: float = 1, **options: Any) -> None:
        """One more request; it leaves its block at once."""

        async def make() -> None:
            async with limiter.limit(tokens, requests, **options):
                self.through.append((name, round(self._clock.now, 1)))

        self.tasks[name] = asyncio.create_task(make())
        await self._clock.settle()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.through]

    async def end(self) -> None:
        """Cancel those that still wait."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def within(awaitable: Awaitable[T], seconds: float = 10.0) -> T:
    """The result, which comes soon or the test fails."""
    async with asyncio.timeout(seconds):
        return await awaitable
