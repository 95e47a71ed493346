"""Streams in a server that is killed, paused and emptied, over connections that are cut: each event exactly once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.completion import fold
from hub.errors import StoreError, StreamNotFoundError
from hub.events import LLMEvent, Snapshot
from hub.streams.redis import RedisStreamStore
from hub.streams.takeover import takeover
from hub.testing import collect
from tests.contracts.samples import a_stream, meta, positions, text
from tests.real.redis_server import RedisServer, redis_binaries
from tests.real.redis_streams_support import (
    STREAMS,
    OpenStore,
    exactly_once,
    long_stream,
    opening,
    read,
    the_server,
    write,
)

pytestmark = pytest.mark.skipif(not redis_binaries(), reason="no server of the Redis protocol is installed")


@pytest.fixture(params=redis_binaries())
def binary(request: pytest.FixtureRequest) -> str:
    return redis_binaries()[request.param]


@pytest.fixture
def server(binary: str) -> Iterator[RedisServer]:
    with RedisServer(binary) as running:
        yield running


@pytest.fixture
async def open_store(server: RedisServer) -> AsyncIterator[OpenStore]:
    async with opening(server.url) as open_it:
        yield open_it


async def test_pub_sub_connections_are_killed(open_store: OpenStore, server: RedisServer) -> None:
    async def disturb() -> None:
        async with the_server(server.url) as redis:
            for _ in range(10):
                await asyncio.sleep(random.uniform(0.0, 0.1))
                await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    await exactly_once(open_store, disturb)


async def test_every_connection_is_killed_again_and_again(open_store: OpenStore, server: RedisServer) -> None:
    async def disturb() -> None:
        async with the_server(server.url) as redis:
            for _ in range(20):
                await asyncio.sleep(random.uniform(0.0, 0.05))
                for kind in ("pubsub", "normal"):
                    await redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    await exactly_once(open_store, disturb)


async def test_scripts_are_forgotten(open_store: OpenStore, server: RedisServer) -> None:
    async def disturb() -> None:
        async with the_server(server.url) as redis:
            for _ in range(5):
                await redis.script_flush()
                await asyncio.sleep(0.05)

    await exactly_once(open_store, disturb)


async def test_the_server_is_killed_and_comes_back_empty(open_store: OpenStore, server: RedisServer) -> None:
    async def disturb() -> None:
        for _ in range(2):
            await asyncio.to_thread(server.crash)
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.start)
            await asyncio.sleep(0.3)

    await exactly_once(open_store, disturb)


async def test_the_server_is_emptied(open_store: OpenStore, server: RedisServer) -> None:
    async def disturb() -> None:
        async with the_server(server.url) as redis:
            await redis.flushall()

    await exactly_once(open_store, disturb)


async def test_the_server_hangs_for_three_seconds(open_store: OpenStore, server: RedisServer) -> None:
    async def disturb() -> None:
        with server.held_still():
            await asyncio.sleep(3)

    await exactly_once(open_store, disturb)


async def test_the_server_sleeps(open_store: OpenStore, server: RedisServer) -> None:
    async def disturb() -> None:
        async with the_server(server.url) as redis:
            await redis.execute_command("CLIENT", "PAUSE", "1500", "ALL")

    await exactly_once(open_store, disturb)


async def test_the_server_is_killed_and_comes_back_with_its_file(binary: str, tmp_path: Path) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "everysec", "--dir", str(tmp_path))
    with RedisServer(binary, *options) as server:

        async def disturb() -> None:
            await asyncio.to_thread(server.crash)
            await asyncio.to_thread(server.start)

        async with opening(server.url) as open_store:
            await exactly_once(open_store, disturb)


async def test_the_log_s_tail_is_lost_as_by_a_fail_over(open_store: OpenStore, server: RedisServer) -> None:
    async def disturb() -> None:
        async with the_server(server.url) as redis:
            for n in range(STREAMS):
                await lose_tail(redis, f"str_{n}", 10)

    await exactly_once(open_store, disturb)


async def test_the_log_or_the_state_is_evicted(open_store: OpenStore, server: RedisServer) -> None:
    async def disturb() -> None:
        async with the_server(server.url) as redis:
            for n in range(STREAMS):
                await redis.delete(f"hub:{{str_{n}}}:{('log', 'state')[n % 2]}")

    await exactly_once_here(open_store, disturb)


async def exactly_once_here(open_store: OpenStore, disturb: Callable[[], Awaitable[Any]]) -> None:
    """As `exactly_once`, for those who read in the writer's process, and for those who come later."""
    writer = open_store()
    streams = {f"str_{n}": long_stream(f"str_{n}", 100) for n in range(STREAMS)}
    for stream_id, events in streams.items():
        await writer.create(stream_id)
        await writer.append(stream_id, events[:50], epoch=1)
    await disturb()
    for stream_id, events in streams.items():
        await writer.append(stream_id, events[50:], epoch=1)
        assert await read(writer, stream_id) == events
        assert await read(open_store(), stream_id) == events


async def lose_tail(redis: Any, stream_id: str, count: int) -> None:
    """As if the last events had not reached the replica that is the master now."""
    log, state = f"hub:{{{stream_id}}}:log", f"hub:{{{stream_id}}}:state"
    script = """
        local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])
        local all = redis.call('XRANGE', KEYS[1], '-', '+')
        redis.call('DEL', KEYS[1])
        for n = 1, #all - #last do
          redis.call('XADD', KEYS[1], all[n][1], unpack(all[n][2]))
        end
        redis.call('HSET', KEYS[2], 'next', redis.call('HGET', KEYS[2], 'next') - #last)
        redis.call('HDEL', KEYS[2], 'closed')
    """
    await redis.eval(script, 2, log, state, count)


async def test_a_take_over_covers_positions_that_readers_saw_and_a_fail_over_lost(
    open_store: OpenStore, server: RedisServer
) -> None:
    writer, next_writer, follower = open_store(), open_store(), open_store()
    events = long_stream("str_1", 50)
    await writer.create("str_1")
    log = await follower.open("str_1")
    reading = asyncio.create_task(collect(log.read()))
    await write(writer, "str_1", events[:30])
    await log.wait(29)
    await writer.aclose()
    async with the_server(server.url) as redis:
        await lose_tail(redis, "str_1", 10)
    epoch = await next_writer.take_over("str_1")
    stream = await next_writer.open("str_1")
    snapshot = takeover(stream)
    assert snapshot is not None
    assert (stream.last_seq, snapshot.seq) == (19, 19 + 65_537)
    rest: list[LLMEvent] = [text(snapshot.seq + 1), *a_stream("", stream_id="str_1")[-1:]]
    rest[1] = type(rest[1])(stream_id="str_1", seq=snapshot.seq + 2, status="completed")  # type: ignore[call-arg]
    await next_writer.append("str_1", [snapshot, *rest], epoch=epoch)
    async with asyncio.timeout(5):
        received = await reading
    assert received[:30] == events[:30]
    covering = received[30]
    assert isinstance(covering, Snapshot)
    assert (covering.seq, covering.result) == (snapshot.seq, snapshot.result)
    assert positions(received) == list(range(rest[1].seq + 1))


async def test_a_writer_that_has_ended_writes_again_what_a_fail_over_took_back(
    open_store: OpenStore, server: RedisServer
) -> None:
    writer = open_store()
    events = long_stream("str_1", 20)
    await writer.create("str_1")
    await writer.append("str_1", events, epoch=1)
    async with the_server(server.url) as redis:
        await lose_tail(redis, "str_1", 5)
    async with asyncio.timeout(5):
        assert await read(open_store(), "str_1") == events


async def test_of_two_writers_that_got_one_epoch_from_a_server_that_forgot_the_first_only_one_writes(
    open_store: OpenStore, server: RedisServer
) -> None:
    first, second, third = open_store(), open_store(), open_store()
    await first.create("str_1")
    await first.append("str_1", [meta(0)], epoch=1)
    assert await second.take_over("str_1") == 2
    async with the_server(server.url) as redis:  # the take-over has not reached the new master
        token = first._writers["str_1"].token
        await redis.hset("hub:{str_1}:state", mapping={"epoch": 1, "token": token})
    assert await third.take_over("str_1") == 2
    await third.append("str_1", [text(1)], epoch=2)
    with pytest.raises(StoreError, match="Epoch 2"):
        await second.append("str_1", [text(1, "b")], epoch=2)
    assert (await open_store().open("str_1")).events == [meta(0), text(1)]


async def test_a_take_over_that_a_fail_over_lost_stands_all_the_same(
    open_store: OpenStore, server: RedisServer
) -> None:
    first, second = open_store(), open_store()
    await first.create("str_1")
    await first.append("str_1", [meta(0)], epoch=1)
    epoch = await second.take_over("str_1")
    async with the_server(server.url) as redis:
        token = first._writers["str_1"].token
        await redis.hset("hub:{str_1}:state", mapping={"epoch": 1, "token": token})
    await second.append("str_1", [text(1)], epoch=epoch)
    with pytest.raises(StoreError, match="Epoch 1"):
        await first.append("str_1", [text(1, "b")], epoch=1)


async def test_what_a_replaced_writer_added_to_a_server_that_forgot_its_replacement_does_not_stand(
    open_store: OpenStore, server: RedisServer
) -> None:
    first, second, follower = open_store(), open_store(), open_store()
    await first.create("str_1")
    await first.append("str_1", [meta(0)], epoch=1)
    reading = asyncio.create_task(read(follower, "str_1"))
    await follower.open("str_1")
    epoch = await second.take_over("str_1")
    async with the_server(server.url) as redis:
        await redis.flushall()
    await first.append("str_1", [text(1, "stale")], epoch=1)
    snapshot = takeover(await second.open("str_1"))
    assert snapshot is not None
    end = msgspec.structs.replace(a_stream("")[-1], seq=snapshot.seq + 1)
    await second.append("str_1", [snapshot, end], epoch=epoch)
    async with asyncio.timeout(5):
        events = await reading
    assert positions(events) == list(range(end.seq + 1))
    assert fold(events).text == ""
    assert (await read(open_store(), "str_1")) == [meta(0), snapshot, end]


async def test_a_position_seen_before_a_fail_over_is_waited_for(open_store: OpenStore, server: RedisServer) -> None:
    writer = open_store()
    events = long_stream("str_1", 20)
    await writer.create("str_1")
    await writer.append("str_1", events[:10], epoch=1)
    async with the_server(server.url) as redis:
        await lose_tail(redis, "str_1", 5)
    opening_it = asyncio.create_task(open_store().open("str_1", at_least=9))
    async with asyncio.timeout(5):
        assert (await opening_it).last_seq >= 9


async def test_a_server_that_stays_away_is_told_after_the_time_out_and_all_goes_on_when_it_is_back(
    open_store: OpenStore, server: RedisServer
) -> None:
    store = open_store(outage_timeout=0.5)
    await store.create("str_1")
    await store.append("str_1", [meta(0)], epoch=1)
    await asyncio.to_thread(server.crash)
    began_at = time.perf_counter()
    for call in (store.append("str_1", [text(1)], epoch=1), store.list(), store.create("str_2")):
        with pytest.raises(StoreError):
            await call
    assert 0.6 < time.perf_counter() - began_at < 4
    assert (await store.open("str_1")).events == [meta(0)]
    await asyncio.to_thread(server.start)
    await store.append("str_1", [text(1)], epoch=1)
    assert (await open_store().open("str_1")).events == [meta(0), text(1)]
    assert [info.stream_id for info in await store.list()] == ["str_1"]


async def test_a_stream_whose_writer_and_data_are_gone_ends_for_those_who_read_it(
    open_store: OpenStore, server: RedisServer
) -> None:
    writer, follower = open_store(), open_store(outage_timeout=1.0)
    await writer.create("str_1")
    await writer.append("str_1", [meta(0)], epoch=1)
    reading = asyncio.create_task(read(follower, "str_1"))
    await follower.open("str_1")
    await writer.aclose()
    async with the_server(server.url) as redis:
        await redis.flushall()
    async with asyncio.timeout(10):
        events = await reading
    assert (events[1].type, events[-1].type) == ("error", "done")
    with pytest.raises(StreamNotFoundError):
        await open_store().open("str_1")


async def test_a_server_without_room_is_waited_for(open_store: OpenStore, server: RedisServer) -> None:
    store = open_store()
    await store.create("str_1")
    async with the_server(server.url) as redis:
        await redis.config_set("maxmemory", "1mb")
        await redis.config_set("maxmemory-policy", "noeviction")
        appending = asyncio.create_task(store.append("str_1", a_stream("a"), epoch=1))
        await asyncio.sleep(0.3)
        assert not appending.done()
        assert await redis.exists("hub:{str_1}:log") == 0
        await redis.config_set("maxmemory", "0")
    async with asyncio.timeout(5):
        await appending


async def test_an_append_cancelled_at_any_moment_leaves_nothing_half_done(
    open_store: OpenStore, server: RedisServer
) -> None:
    writer, follower = open_store(), open_store()
    events = long_stream("str_1", 100)
    await writer.create("str_1")
    reading = asyncio.create_task(read(follower, "str_1"))
    rand = random.Random(1)
    index = 0
    while index < len(events):
        appending = asyncio.create_task(writer.append("str_1", events[index : index + 3], epoch=1))
        for _ in range(rand.randrange(8)):
            await asyncio.sleep(0)
        appending.cancel()
        await asyncio.wait([appending])
        await writer.append("str_1", events[index : index + 4], epoch=1)  # the same, and one more
        index += 4
    async with asyncio.timeout(5):
        assert await reading == events


async def test_the_end_of_a_store_ends_what_waits(open_store: OpenStore, server: RedisServer) -> None:
    store = open_store()
    await store.create("str_1")
    with server.held_still():
        appending = asyncio.create_task(store.append("str_1", [meta(0)], epoch=1))
        await asyncio.sleep(0.1)
        await asyncio.wait_for(store.aclose(), 5)
        with pytest.raises(RuntimeError):
            await appending


def test_nothing_is_done_before_the_first_call() -> None:
    RedisStreamStore.from_url("redis://127.0.0.1:1")
    RedisStreamStore.from_url("redis+cluster://127.0.0.1:1")
    RedisStreamStore.from_url("redis+sentinel://127.0.0.1:1/main")
