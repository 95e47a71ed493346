"""Sinks and their readers while connections break, servers hang, crash and stay away."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from hub.completion import fold
from hub.errors import SinkUnavailableError
from hub.events import LLMEvent
from hub.sink import FanOut, pump
from sinks.memory import MemorySink
from sinks.redis import RedisSink, Replay, Undelivered, subscribe
from tests.real.cache_support import needs
from tests.real.redis_server import RedisServer, redis_binaries
from tests.real.redis_sink_support import (
    CHANNEL,
    at,
    client_of,
    read_some,
    send_all,
    through_proxies,
    words_of,
)

pytestmark = needs(redis_binaries(), "a server of the Redis protocol")

BINARIES = redis_binaries()
ROUNDS = int(os.environ.get("HUB_CHAOS_ROUNDS", "4"))


@pytest.fixture(scope="module", params=BINARIES.values(), ids=BINARIES)
def running(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
async def server(running: RedisServer) -> RedisServer:
    """One that is empty."""
    async with client_of(running.url) as redis:
        await redis.flushall()
    return running


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_every_event_comes_once_and_in_order_whatever_happens_to_the_connections(
    server: RedisServer, seed: int
) -> None:
    rand, over = random.Random(seed), asyncio.Event()
    streams = [words_of(400, f"str_{n}") for n in range(3)]

    async def write(events: list[LLMEvent]) -> None:
        async with RedisSink(CHANNEL, url=at(writing), replay=Replay(), timeout=0.5) as sink:
            for event in events:
                await sink.send(event)
                await asyncio.sleep(0.002)

    async def disturb() -> None:
        while not over.is_set():  # the driver loses a cancellation now and then
            await asyncio.sleep(rand.uniform(0.02, 0.2))
            match rand.choice(("reset", "hold", "cut", "kill")):
                case "reset":
                    rand.choice((writing, reading)).reset()
                case "hold":
                    proxy = rand.choice((writing, reading))
                    proxy.hold(rand.choice(("up", "down")))
                    await asyncio.sleep(rand.uniform(0.0, 0.2))
                    proxy.heal()
                case "cut":
                    reading.cut()
                    await asyncio.sleep(rand.uniform(0.0, 0.2))
                    reading.heal()
                case _:
                    async with client_of(server.url) as redis:
                        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    async with (
        through_proxies(server) as (writing, reading),
        subscribe(CHANNEL, url=at(reading), timeout=0.5) as reader,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(disturb())
        for events in streams:
            tasks.create_task(write(events))
        heard = await read_some(reader, sum(map(len, streams)))
        over.set()
    for events in streams:
        assert [event for event in heard if event.stream_id == events[0].stream_id] == events


async def test_a_server_that_stands_still_for_a_time_is_waited_for(server: RedisServer) -> None:
    events = words_of(1_000)
    async with subscribe(CHANNEL, url=server.url, until_done=True) as reader:
        reading = asyncio.create_task(read_some(reader, len(events)))
        async with RedisSink(CHANNEL, url=server.url, timeout=0.2) as sink:
            for event in events[:500]:
                await sink.send(event)
            with server.held_still():
                sending = asyncio.create_task(send_all(sink, events[500:]))
                await asyncio.sleep(1.0)
                assert not sending.done()
            await sending
        assert await reading == events


@pytest.mark.parametrize("binary", BINARIES.values(), ids=BINARIES)
async def test_a_server_that_crashes_and_comes_back_costs_nothing_that_was_not_sent(binary: str) -> None:
    events = words_of(1_000)
    with RedisServer(binary) as server:
        async with (
            subscribe(CHANNEL, url=server.url, until_done=True) as reader,
            RedisSink(CHANNEL, url=server.url, replay=Replay(), max_buffer=50) as sink,
        ):
            await send_all(sink, events[:500])
            heard = await read_some(reader, 500)
            await asyncio.to_thread(server.crash)
            sending = asyncio.create_task(send_all(sink, events[500:]))
            await asyncio.sleep(0.5)
            assert not sending.done()
            await asyncio.to_thread(server.start)
            heard += await read_some(reader, len(events) - 500)
            await sending
    assert heard == events


@pytest.mark.parametrize("binary", BINARIES.values(), ids=BINARIES)
async def test_a_server_that_is_gone_for_good_fails_its_sink_and_no_other(binary: str) -> None:
    events, kept = words_of(100), MemorySink()

    async def crashing() -> AsyncIterator[LLMEvent]:
        for event in events:
            if event.seq == 50:
                await asyncio.sleep(0.1)
                await asyncio.to_thread(server.crash)
            yield event
            await asyncio.sleep(0.005)

    with RedisServer(binary) as server:
        dead = RedisSink(CHANNEL, url=server.url, timeout=0.2, outage_timeout=0.2)
        async with dead, FanOut(dead, kept) as sink:
            assert await pump(crashing(), sink) == fold(events)
    ((failed, error),) = sink.failures
    assert failed is dead
    assert isinstance(error, SinkUnavailableError)
    assert kept.events == events
    ((lost),) = dead.lost
    assert (lost.stream_id, lost.first_seq) == ("str_1", 50)
    assert dead.lost == (Undelivered("str_1", 50, lost.last_seq),)
