"""Sinks and their readers over a cluster whose slots move, and behind sentinels that replace the master."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from redis.crc import key_slot

from hub.completion import fold
from hub.events import LLMEvent
from hub.sink import pump
from sinks.redis import RedisConnections, RedisSink, Replay, subscribe
from tests.contracts.samples import a_stream, source
from tests.real.cache_support import needs
from tests.real.redis_cluster import ClusterServer
from tests.real.redis_sentinel import SentinelServers
from tests.real.redis_server import redis_binaries
from tests.real.test_redis_topologies import move

BINARIES = redis_binaries()

pytestmark = needs(BINARIES, "a server of the Redis protocol")


@pytest.fixture(scope="module", params=BINARIES.values(), ids=BINARIES)
def cluster(request: pytest.FixtureRequest) -> Iterator[ClusterServer]:
    with ClusterServer(request.param) as running:
        yield running


@pytest.fixture
def empty(cluster: ClusterServer) -> ClusterServer:
    for client in cluster.clients():
        client.flushall()
    return cluster


def streams_of(count: int, *, sharded: bool) -> dict[str, list[LLMEvent]]:
    """A stream for each of eight channels, others for either kind: a slot moves once only."""
    return {
        f"chat:{sharded}:{n}": a_stream(*(f" {n}.{k}" for k in range(count)), stream_id=f"str_{n}") for n in range(8)
    }


async def publish(sink: RedisSink, events: list[LLMEvent], *, pace: float = 0.0) -> None:
    async with sink:
        for event in events:
            await sink.send(event)
            await asyncio.sleep(pace)


@pytest.mark.parametrize("sharded", [False, True], ids=["plain", "sharded"])
async def test_channels_of_a_cluster_lie_on_all_of_its_nodes(empty: ClusterServer, sharded: bool) -> None:
    streams = streams_of(100, sharded=sharded)
    async with RedisConnections(empty.url) as connections, AsyncExitStack() as stack:
        options = {"connections": connections, "sharded": sharded}
        readers = {
            channel: await stack.enter_async_context(subscribe(channel, until_done=True, **options))
            for channel in streams
        }
        for channel, events in streams.items():
            async with RedisSink(channel, replay=Replay(), **options) as sink:
                assert await pump(source(events), sink) == fold(events)
        for channel, events in streams.items():
            assert [event async for event in readers[channel]] == events
            late = subscribe(channel, stream_id=events[0].stream_id, **options)
            assert [event async for event in late] == events


@pytest.mark.parametrize("sharded", [False, True], ids=["plain", "sharded"])
async def test_slots_move_while_their_channels_are_written_and_read(empty: ClusterServer, sharded: bool) -> None:
    streams = streams_of(200, sharded=sharded)

    async def read(channel: str) -> list[LLMEvent]:
        reader = subscribe(channel, until_done=True, **options)
        return [event async for event in reader]

    async with (
        RedisConnections(empty.url) as connections,
        asyncio.timeout(30),
        asyncio.TaskGroup() as tasks,
    ):
        options = {"connections": connections, "sharded": sharded}
        reading = {channel: tasks.create_task(read(channel)) for channel in streams}
        for channel, events in streams.items():
            sink = RedisSink(channel, replay=Replay(), **options)
            tasks.create_task(publish(sink, events, pace=0.01))
        await asyncio.sleep(0.3)
        for channel in list(streams)[:4]:
            await asyncio.to_thread(move, empty, key_slot(channel.encode()))
    for channel, events in streams.items():
        assert await reading[channel] == events


async def test_the_master_is_lost_and_a_replica_takes_its_place() -> None:
    events = a_stream(*(f" {n}" for n in range(300)))
    with SentinelServers(next(iter(BINARIES.values()))) as servers:
        async with (
            subscribe("chat", url=servers.url, until_done=True, timeout=0.5) as reader,
            RedisSink("chat", url=servers.url, replay=Replay(), timeout=0.5) as sink,
            asyncio.timeout(60),
        ):
            heard: list[LLMEvent] = []
            for event in events[:100]:
                await sink.send(event)
            async for event in reader:
                heard.append(event)
                if len(heard) == 100:
                    break
            await asyncio.to_thread(servers.fail_over)
            publishing = asyncio.create_task(publish_rest(sink, events[100:]))
            heard += [event async for event in reader]
            await publishing
    assert heard == events


async def publish_rest(sink: RedisSink, events: list[LLMEvent]) -> None:
    for event in events:
        await sink.send(event)
        await asyncio.sleep(0.01)
