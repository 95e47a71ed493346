"""Leaving the queue of a server that doesn't answer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from hub.limits import RateLimiter
from hub.limits.departures import MAX_DEPARTURES, Departures
from hub.limits.redis import RedisLimiter
from hub.models.profile import RateLimits
from tests.hub.limits.support import within

LONG = 60.0
"""Seconds for which a silent server would be waited for."""


class Silent(asyncio.Protocol):
    """Takes connections and what comes over them, and says nothing."""

    def __init__(self) -> None:
        self.was_asked = asyncio.Event()
        self.url = ""
        self.transports: list[asyncio.BaseTransport] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        self.was_asked.set()


@asynccontextmanager
async def silent_server() -> AsyncIterator[Silent]:
    silent = Silent()
    server = await asyncio.get_running_loop().create_server(lambda: silent, "127.0.0.1", 0)
    silent.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield silent
    finally:
        server.close()
        for transport in silent.transports:
            transport.close()


async def wait_at(limiter: RateLimiter) -> None:
    async with limiter.limit(1):
        pass


async def test_who_is_cancelled_is_let_go_at_once_though_the_server_hangs() -> None:
    async with silent_server() as server:
        limiter = RedisLimiter(server.url, "key", RateLimits(tkn_per_min=1), redis_timeout=LONG)
        waiting = asyncio.create_task(wait_at(limiter))
        await within(server.was_asked.wait())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(waiting)
    await within(limiter.aclose())


async def test_closing_the_limiter_waits_for_a_hung_server_no_longer_than_for_one_answer() -> None:
    async with silent_server() as server:
        limiter = RedisLimiter(server.url, "key", RateLimits(tkn_per_min=1), redis_timeout=0.1)
        waiting = asyncio.create_task(wait_at(limiter))
        await within(server.was_asked.wait())
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await within(limiter.aclose())
        assert len(asyncio.all_tasks()) <= 2  # the test's own, and the server's connection


def test_nothing_outlives_an_event_loop_that_ends_while_requests_wait(caplog: pytest.LogCaptureFixture) -> None:
    async def end_while_it_waits() -> None:
        server = await stack.enter_async_context(silent_server())
        limiter = RedisLimiter(server.url, "key", RateLimits(tkn_per_min=1), redis_timeout=LONG)
        waiting.append(asyncio.create_task(wait_at(limiter)))
        await within(server.was_asked.wait())

    waiting: list[asyncio.Task[None]] = []
    stack = AsyncExitStack()  # the server hangs to the very end
    asyncio.run(end_while_it_waits())
    assert waiting.pop().cancelled()
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def wait_for(answer: asyncio.Event) -> None:
    await answer.wait()


async def test_closing_waits_for_departures_under_way() -> None:
    departures, answer = Departures(), asyncio.Event()
    await departures.tell(wait_for(answer))
    closing = asyncio.create_task(departures.aclose())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    answer.set()
    await within(closing)


async def test_closing_that_is_cancelled_leaves_no_departure_behind() -> None:
    departures = Departures()
    await departures.tell(wait_for(asyncio.Event()))
    closing = asyncio.create_task(departures.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await within(departures.aclose())


async def test_departures_have_a_bound() -> None:
    departures, answer = Departures(), asyncio.Event()
    assert not departures.is_full
    await asyncio.gather(*(departures.tell(wait_for(answer)) for _ in range(MAX_DEPARTURES)))
    assert departures.is_full
    answer.set()
    await within(departures.aclose())
    assert not departures.is_full
