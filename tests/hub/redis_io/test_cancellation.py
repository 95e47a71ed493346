"""A cancellation that the driver loses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from hub.redis_io import connect, keeping_cancellation
from tests.hub.redis_io.support import STEPS, ScriptedRedis, hang, heeds_cancellation


async def gives_a_result() -> str:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return "result"


async def raises_an_error() -> str:
    await gives_a_result()
    raise ConnectionError("lost")


Losing = Callable[[], Awaitable[str]]
LOSING = pytest.mark.parametrize("losing", [gives_a_result, raises_an_error])


@LOSING
async def test_a_cancellation_that_was_lost_within_comes_at_the_end(losing: Losing) -> None:
    async def work() -> None:
        with keeping_cancellation():
            await losing()

    assert await heeds_cancellation(1, work())


@LOSING
async def test_a_time_out_around_it_stays_a_time_out(losing: Losing) -> None:
    async def work() -> None:
        async with asyncio.timeout(0):
            with keeping_cancellation():
                await losing()

    with pytest.raises(TimeoutError):
        await work()


async def test_what_was_cancelled_before_may_clean_up_within() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with keeping_cancellation():
                await asyncio.sleep(0)
            cleaned.append("up")

    assert await heeds_cancellation(1, work())
    assert cleaned == ["up"]


async def test_errors_and_results_of_what_was_not_cancelled_pass() -> None:
    with keeping_cancellation():
        assert await asyncio.sleep(0, "result") == "result"
    with pytest.raises(ConnectionError, match="lost"), keeping_cancellation():
        raise ConnectionError("lost")


async def test_a_command_cancelled_at_any_moment_is_cancelled_though_the_server_hangs() -> None:
    async with ScriptedRedis(hang) as server, connect(server.url, timeout=0.2) as client:

        async def work() -> None:
            with keeping_cancellation():
                await client.get("key")

        for step in STEPS:
            await client.ping()
            assert await heeds_cancellation(step, work()), step
