"""What the tests of Redis sinks share: streams, who sends them, who reads them, and what stands between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis, RedisCluster

from hub.events import LLMEvent
from sinks.redis import RedisSink, subscribe
from tests.contracts.samples import a_stream
from tests.faults.proxy import FaultProxy
from tests.real.redis_server import RedisServer

CHANNEL = "chat:42"


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Any]:
    client: Any = RedisCluster.from_url(url.replace("+cluster", "")) if "+cluster" in url else Redis.from_url(url)
    async with client:
        yield client


@asynccontextmanager
async def through_proxies(server: RedisServer) -> AsyncIterator[tuple[FaultProxy, FaultProxy]]:
    """What stands between the server and the sink, and between it and the reader."""
    async with FaultProxy(server.port) as writing, FaultProxy(server.port) as reading:
        yield writing, reading


def at(proxy: FaultProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


def words_of(count: int, stream_id: str = "str_1") -> list[LLMEvent]:
    return a_stream(*(f" {n}" for n in range(count)), stream_id=stream_id)


async def publish(url: str, events: list[LLMEvent], **options: Any) -> None:
    async with RedisSink(CHANNEL, url=url, **options) as sink:
        for event in events:
            await sink.send(event)


async def read(url: str, **options: Any) -> list[LLMEvent]:
    async with asyncio.timeout(20):
        return [event async for event in subscribe(CHANNEL, url=url, **options)]


async def read_some(reader: Any, count: int) -> list[LLMEvent]:
    events: list[LLMEvent] = []
    async with asyncio.timeout(20):
        async for event in reader:
            events.append(event)
            if len(events) == count:
                break
    return events


async def send_all(sink: RedisSink, events: list[LLMEvent]) -> None:
    for event in events:
        await sink.send(event)
