"""RedisSinks over a real server, with and without a log, and over a cluster; their connection can be held still."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis, RedisCluster

from hub.events import LLMEvent, Meta, encode_event
from sinks.redis import RedisSink, Replay, subscribe
from tests.faults.proxy import FaultProxy
from tests.hub.redis_io.support import HANG_UP, Answer, ScriptedRedis, hang
from tests.real.redis_cluster import ClusterServer
from tests.real.redis_server import RedisServer, redis_binaries

from .sink_sides import Side

IS_REAL = True
BOUND = 20
END = Meta(stream_id="the end", seq=0)


@cache
def server() -> RedisServer:
    """One server for the whole run."""
    started = RedisServer(next(iter(redis_binaries().values()))).__enter__()
    atexit.register(started.stop)
    return started


@cache
def cluster() -> ClusterServer:
    started = ClusterServer(next(iter(redis_binaries().values()))).__enter__()
    atexit.register(started.__exit__, None, None, None)
    return started


@asynccontextmanager
async def heard(channel: str, url: str, *, sharded: bool) -> AsyncIterator[list[LLMEvent]]:
    """What is published, as a reader without a log gets it; leaving it waits for all of it."""
    received: list[LLMEvent] = []

    async def read() -> None:
        async for event in reader:
            if event.stream_id == END.stream_id:
                return
            received.append(event)

    async with subscribe(channel, url=url, sharded=sharded, replay=False) as reader:
        reading = asyncio.create_task(read())
        yield received
        client: Any = RedisCluster.from_url(url.replace("+cluster", "")) if "+cluster" in url else Redis.from_url(url)
        async with client, asyncio.timeout(10):
            await client.execute_command("SPUBLISH" if sharded else "PUBLISH", channel, encode_event(END))
            await reading


@asynccontextmanager
async def over_one_server(**options: Any) -> AsyncIterator[Side]:
    """A sink whose connection goes through a proxy."""
    channel = f"chat:{uuid4()}"
    async with FaultProxy(server().port) as proxy, heard(channel, server().url, sharded=False) as received:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with RedisSink(channel, url=url, max_buffer=BOUND, **options) as sink:
            yield Side(sink, lambda: received, lambda held: proxy.hold() if held else proxy.heal(), bound=BOUND)
            proxy.heal()


@asynccontextmanager
async def redis() -> AsyncIterator[Side]:
    async with over_one_server() as side:
        yield side


@asynccontextmanager
async def redis_with_log() -> AsyncIterator[Side]:
    async with over_one_server(replay=Replay()) as side:
        yield side


@asynccontextmanager
async def redis_merging() -> AsyncIterator[Side]:
    async with over_one_server(merge=True) as side:
        yield side


@asynccontextmanager
async def redis_cluster() -> AsyncIterator[Side]:
    """A sink on a sharded channel of a cluster, whose nodes can be held still."""
    channel, url = f"chat:{uuid4()}", cluster().url
    with ExitStack() as held_still:

        def hold(held: bool) -> None:
            held_still.close()
            for node in cluster().nodes if held else ():
                held_still.enter_context(node.held_still())

        async with (
            heard(channel, url, sharded=True) as received,
            RedisSink(channel, url=url, sharded=True, replay=Replay(), max_buffer=BOUND) as sink,
        ):
            yield Side(sink, lambda: received, hold, bound=BOUND)
            hold(False)


@asynccontextmanager
async def failing_with(answer: Answer) -> AsyncIterator[Any]:
    async with ScriptedRedis(answer) as peer:
        sink = await RedisSink("chat", url=peer.url, timeout=0.1, outage_timeout=0.1).__aenter__()
        yield sink
        await sink.aclose()


@asynccontextmanager
async def redis_that_refuses() -> AsyncIterator[Any]:
    async def refuse(command: list[bytes]) -> bytes:
        return b"-NOPERM no permissions to access the channel\r\n"

    async with failing_with(refuse) as sink:
        yield sink


@asynccontextmanager
async def redis_that_hangs_up() -> AsyncIterator[Any]:
    async def hang_up(command: list[bytes]) -> bytes:
        return HANG_UP

    async with failing_with(hang_up) as sink:
        yield sink


@asynccontextmanager
async def redis_that_hangs() -> AsyncIterator[Any]:
    async with failing_with(hang) as sink:
        yield sink


@asynccontextmanager
async def redis_that_is_none() -> AsyncIterator[Any]:
    async def nonsense(command: list[bytes]) -> bytes:
        return b"HTTP/1.1 400 Bad Request\r\n\r\n"

    async with failing_with(nonsense) as sink:
        yield sink


def unentered_redis() -> RedisSink:
    return RedisSink("chat", url="redis://127.0.0.1:1")


has_server = bool(redis_binaries()) or bool(os.environ.get("CI"))  # where it has to be
SIDES = (redis, redis_with_log, redis_merging, redis_cluster) if has_server else ()
FAILING = (redis_that_refuses, redis_that_hangs_up, redis_that_hangs, redis_that_is_none)
UNENTERED = (unentered_redis,)
