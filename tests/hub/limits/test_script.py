"""The script's round trips, and a server that misbehaves; what the script does is in the contract of limiters."""

from __future__ import annotations

import asyncio
import logging

import pytest

from hub.limits.redis import RedisLimiter
from hub.limits.script import BudgetScript
from hub.models.profile import RateLimits
from hub.redis_io import connect
from tests.hub.redis_io.support import STEPS, ScriptedRedis, heeds_cancellation

LIMITS = RateLimits(tkn_per_min=1_000)

# status, delay, slot, processes, epoch, tokens, max_tokens, requests, max_requests
GRANTED = b"*9\r\n:1\r\n:0\r\n:0\r\n:1\r\n$1\r\ne\r\n:9\r\n:1000\r\n:-1\r\n:-1\r\n"


async def grants(command: list[bytes]) -> bytes:
    return GRANTED


async def test_an_operation_that_is_cancelled_at_any_moment_is_cancelled() -> None:
    async with ScriptedRedis(grants) as server, connect(server.url) as client:
        script = BudgetScript(client, "key", LIMITS, interval=60, process="p", timeout=5)
        for step in STEPS:
            assert await heeds_cancellation(step, script.adjust(0, 1, 0, known="", proposed="e")), step
            await client.get("key")  # the next one finds a connection made


async def test_a_burst_of_more_calls_than_connections_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptedRedis(grants) as server:
        limiter = RedisLimiter(server.url, "key", LIMITS, redis_timeout=10)
        inside, leave = 0, asyncio.Event()

        async def call() -> None:
            nonlocal inside
            async with limiter.limit(1) as permit:
                inside += 1
                if inside == 300:
                    leave.set()
                await leave.wait()
                permit.cancel()

        with caplog.at_level(logging.WARNING, "hub.limits"):
            await asyncio.gather(*(call() for _ in range(300)))
        assert caplog.messages == []
        await limiter.aclose()
