"""Streams in real servers: what readers, writers and those who stop them may rely on while nothing fails."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from hub.errors import ConfigurationError, StaleWriterError, StoreError, StreamNotFoundError
from hub.events import Snapshot, decode_event, encode_event
from hub.streams.redis import RedisStreamStore
from hub.streams.redis.scripts import Keys
from hub.testing import collect
from tests.contracts.samples import a_stream, meta, positions, text
from tests.real.redis_server import RedisServer, redis_binaries
from tests.real.redis_streams_support import OpenStore, long_stream, opening, read, the_server, within, write

pytestmark = pytest.mark.skipif(not redis_binaries(), reason="no server of the Redis protocol is installed")


@pytest.fixture(scope="module", params=redis_binaries())
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(redis_binaries()[request.param]) as running:
        yield running


@pytest.fixture
async def open_store(server: RedisServer) -> AsyncIterator[OpenStore]:
    async with the_server(server.url) as redis:
        await redis.flushall()
    async with opening(server.url) as open_it:
        yield open_it


@pytest.mark.timeout(180)
async def test_200_streams_of_200_events_are_read_by_three_followers_each_once(open_store: OpenStore) -> None:
    writer, *followers = (open_store() for _ in range(4))
    streams = {f"str_{n}": long_stream(f"str_{n}", 197) for n in range(200)}
    for stream_id in streams:
        await writer.create(stream_id)
    async with asyncio.timeout(150), asyncio.TaskGroup() as tasks:
        reading = {
            (stream_id, n): tasks.create_task(read(follower, stream_id))
            for stream_id in streams
            for n, follower in enumerate(followers)
        }
        for number, (stream_id, events) in enumerate(streams.items()):
            tasks.create_task(write(writer, stream_id, events, seed=number))
    for (stream_id, _), task in reading.items():
        assert task.result() == streams[stream_id]


async def test_a_process_has_three_connections_whatever_it_follows_and_none_after_its_end(
    open_store: OpenStore, server: RedisServer
) -> None:
    writer, follower = open_store(), open_store()
    async with the_server(server.url) as redis:
        before = int((await redis.info("clients"))["connected_clients"])
        logs = []
        for n in range(50):
            await writer.create(f"str_{n}")
            await writer.append(f"str_{n}", [msgspec.structs.replace(meta(0), stream_id=f"str_{n}")], epoch=1)
            logs.append(await follower.open(f"str_{n}"))
        # The writer hears nothing here, as it watches nothing; the follower appends nothing.
        assert int((await redis.info("clients"))["connected_clients"]) == before + 4
        await writer.aclose()
        await follower.aclose()
        await follower.aclose()

        async def all_gone() -> bool:
            return int((await redis.info("clients"))["connected_clients"]) == before

        await within(5, all_gone)


async def test_a_copy_that_nobody_holds_is_let_go(open_store: OpenStore, server: RedisServer) -> None:
    writer, follower = open_store(), open_store(linger=0.0)
    await writer.create("str_1")
    log = await follower.open("str_1")
    async with the_server(server.url) as redis:
        assert await redis.pubsub_numsub("hub:{str_1}:batches") == [("hub:{str_1}:batches", 1)]
        await asyncio.sleep(1.2)
        assert await follower.open("str_1") is log
        del log
        gc.collect()

        async def unsubscribed() -> bool:
            return bool(await redis.pubsub_numsub("hub:{str_1}:batches") == [("hub:{str_1}:batches", 0)])

        await within(5, unsubscribed)


async def test_readers_of_one_process_share_a_copy_and_the_writer_s_process_reads_its_own(
    open_store: OpenStore,
) -> None:
    writer, follower = open_store(), open_store()
    await writer.create("str_1")
    one, other = await asyncio.gather(follower.open("str_1"), follower.open("str_1"))
    assert one is other
    own = await writer.open("str_1")
    await write(writer, "str_1", long_stream("str_1", 20))
    assert own.events == long_stream("str_1", 20) == await collect(one.read())


async def test_any_consumer_reads_plain_events_and_the_log_has_them_by_position(
    open_store: OpenStore, server: RedisServer
) -> None:
    store = open_store()
    events = a_stream("a", "b")
    async with the_server(server.url) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe("hub:{str_1}:events")
        assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
        await store.create("str_1")
        await store.append("str_1", events, epoch=1)
        messages = [await pubsub.get_message(timeout=5) for _ in events]
        assert [decode_event(message["data"]) for message in messages] == events
        entries = await redis.xrange("hub:{str_1}:log")
        assert entries == [(f"{e.seq + 1}-0", {"event": encode_event(e).decode()}) for e in events]


async def test_a_batch_too_large_to_be_published_is_read_by_those_who_follow(open_store: OpenStore) -> None:
    writer, follower = open_store(), open_store()
    await writer.create("str_1")
    reading = asyncio.create_task(read(follower, "str_1"))
    events = a_stream("x" * 200_000, "y", "z" * 3_000_000)
    for event in events:
        await writer.append("str_1", [event], epoch=1)
    async with asyncio.timeout(10):
        assert await reading == events


async def test_a_log_of_many_pages_is_read_whole(open_store: OpenStore) -> None:
    writer, follower = open_store(), open_store()
    events = long_stream("str_1", 5_000)
    await writer.create("str_1")
    await writer.append("str_1", events, epoch=1)
    assert await read(follower, "str_1") == events


async def test_keys_expire_by_their_retention_and_running_ones_in_the_end_too(
    open_store: OpenStore, server: RedisServer
) -> None:
    store = open_store(retention_ttl=60.0, running_ttl=1000.0)
    await store.create("str_1")
    await store.append("str_1", [meta(0)], epoch=1)
    async with the_server(server.url) as redis:
        keys = ["hub:{str_1}:log", "hub:{str_1}:state"]
        assert all([990_000 < await redis.pttl(key) <= 1_000_000 for key in keys])
        await store.append("str_1", a_stream("a")[1:], epoch=1)
        assert all([59_000 < await redis.pttl(key) <= 60_000 for key in keys])
        assert sorted(await redis.keys("*")) == ["hub:streams", *keys]


async def test_an_ended_stream_is_gone_after_its_retention_in_every_process(open_store: OpenStore) -> None:
    writer, follower = open_store(retention_ttl=0.3), open_store()
    await writer.create("str_1")
    await writer.append("str_1", a_stream("a"), epoch=1)
    log = await follower.open("str_1")
    await asyncio.sleep(0.4)
    for store in (writer, follower):
        with pytest.raises(StreamNotFoundError):
            await store.open("str_1")
        assert await store.list() == []
    assert await collect(log.read()) == a_stream("a")
    assert await writer.create("str_1") == 1


async def test_a_stop_from_another_process_arrives_at_once(open_store: OpenStore) -> None:
    writer, other = open_store(), open_store()
    await writer.create("str_1")
    stopped = asyncio.Event()
    await writer.watch_cancel("str_1", stopped.set)
    await other.list()  # connected
    began_at = time.perf_counter()
    await other.cancel("str_1")
    await stopped.wait()
    assert time.perf_counter() - began_at < 0.3


async def test_a_stop_whose_message_was_lost_arrives_within_a_second(
    open_store: OpenStore, server: RedisServer
) -> None:
    writer = open_store()
    await writer.create("str_1")
    stopped = asyncio.Event()
    await writer.watch_cancel("str_1", stopped.set)
    async with the_server(server.url) as redis:
        await redis.hset("hub:{str_1}:state", "cancel", 1)
    async with asyncio.timeout(1.0):
        await stopped.wait()


async def test_of_two_writers_the_one_that_took_over_writes_and_the_other_s_readers_read_it(
    open_store: OpenStore,
) -> None:
    one, two = open_store(), open_store()
    events = long_stream("str_1", 40)
    await one.create("str_1")
    log = await one.open("str_1")
    reading = asyncio.create_task(collect(log.read()))
    await write(one, "str_1", events[:20])
    epoch = await two.take_over("str_1")
    assert (await two.open("str_1")).events == events[:20]
    with pytest.raises(StaleWriterError):
        await one.append("str_1", events[20:21], epoch=1)
    await write(two, "str_1", events[20:], epoch=epoch)
    async with asyncio.timeout(10):
        assert await reading == events


async def test_a_writer_replaced_while_it_was_silent_becomes_a_reader(open_store: OpenStore) -> None:
    one, two = open_store(), open_store()
    events = long_stream("str_1", 10)
    await one.create("str_1")
    reading = asyncio.create_task(read(one, "str_1"))
    await write(one, "str_1", events[:5])
    await write(two, "str_1", events[5:], epoch=await two.take_over("str_1"))
    async with asyncio.timeout(5):
        assert await reading == events


async def test_a_log_trimmed_in_front_is_told_by_a_gap_snapshot(open_store: OpenStore, server: RedisServer) -> None:
    events = long_stream("str_1", 20)
    writer = open_store()
    await writer.create("str_1")
    await writer.append("str_1", events, epoch=1)
    async with the_server(server.url) as redis:
        await redis.execute_command("XTRIM", "hub:{str_1}:log", "MINID", "11-0")
    received = await read(open_store(), "str_1")
    assert isinstance(received[0], Snapshot)
    assert (received[0].reason, received[1:]) == ("gap", events[10:])
    assert positions(received) == list(range(len(events)))


async def test_a_log_that_is_gone_is_told_by_a_gap_and_ends_as_the_stream_did(
    open_store: OpenStore, server: RedisServer
) -> None:
    events = long_stream("str_1", 5)
    writer = open_store()
    await writer.create("str_1")
    await writer.append("str_1", events, epoch=1)
    async with the_server(server.url) as redis:
        await redis.delete("hub:{str_1}:log")
    first, last = await read(open_store(), "str_1")
    assert isinstance(first, Snapshot)
    assert (first.reason, last.type, positions([first, last])) == ("gap", "done", list(range(len(events))))


async def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(next(iter(redis_binaries().values())), "--unixsocket", str(path)):
        async with opening(f"unix://{path}") as open_it:
            store = open_it()
            await store.start()
            await store.create("str_1")
            await store.append("str_1", a_stream("a"), epoch=1)
            assert await read(open_it(), "str_1") == a_stream("a")


async def test_a_wrong_password_is_refused_at_once_and_not_repeated() -> None:
    with RedisServer(next(iter(redis_binaries().values())), "--requirepass", "right") as server:
        store = RedisStreamStore.from_url(server.url.replace("redis://", "redis://:s3cr3t@"))
        with pytest.raises(StoreError) as caught:
            await store.start()
        await store.aclose()
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://:s3cr3t@host",
        "redis+sentinel://:s3cr3t@host:port/main",
        "redis+sentinel://:s3cr3t@/main",
        "redis+sentinel://:s3cr3t@host/main/x",
        "redis+sentinel://:s3cr3t@host/main?sentinel_nonsense=1",
        "redis+cluster://:s3cr3t@host:port",
        "http://:s3cr3t@host",
    ],
)
def test_a_url_that_makes_no_sense_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisStreamStore.from_url(url)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_a_text_that_is_no_event_is_never_taken_for_one(open_store: OpenStore, server: RedisServer) -> None:
    writer, follower = open_store(), open_store()
    await writer.create("str_1")
    reading = asyncio.create_task(read(follower, "str_1"))
    events = a_stream("a")
    await writer.append("str_1", events[:2], epoch=1)
    log = await follower.open("str_1")
    await log.wait(1)
    async with the_server(server.url) as redis:
        for message in ("", "x", "99", "99\n", "99\nx", '5\n{"type":"text_delta"}'):
            await redis.publish("hub:{str_1}:batches", message)
    await writer.append("str_1", events[2:], epoch=1)
    async with asyncio.timeout(5):
        assert await reading == events


async def test_a_position_that_never_was_is_not_waited_for_long(open_store: OpenStore) -> None:
    writer, follower = open_store(), open_store()
    await writer.create("str_1")
    await writer.append("str_1", [meta(0), text(1)], epoch=1)
    began_at = time.perf_counter()
    assert (await follower.open("str_1", at_least=10**9)).last_seq == 1
    assert (await writer.open("str_1", at_least=10**9)).last_seq == 1
    assert time.perf_counter() - began_at < 1
    waiting = asyncio.create_task(follower.open("str_1", at_least=2))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await writer.append("str_1", [text(2)], epoch=1)
    assert (await waiting).last_seq == 2


async def test_a_log_opened_while_it_is_made_is_the_one_that_goes_on(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    await store.list()  # connected
    events = a_stream("a", "b")
    for n in range(10):
        stream_id = f"str_{n}"
        _, log = await asyncio.gather(store.create(stream_id), store.open(stream_id))
        assert log is await store.open(stream_id)
        epoch = await other.take_over(stream_id)
        await other.append(stream_id, a_stream("a", "b", stream_id=stream_id), epoch=epoch)
        async with asyncio.timeout(5):
            assert len(await collect(log.read())) == len(events)


async def test_who_hands_a_stream_over_hears_its_writer_and_writes_no_more(
    open_store: OpenStore, server: RedisServer
) -> None:
    maker, other = open_store(), open_store()
    epoch = await maker.create("str_1")
    log = await maker.open("str_1")
    await maker.hand_over("str_1")
    async with the_server(server.url) as redis, asyncio.timeout(10):
        while [count for _, count in await redis.pubsub_numsub(Keys("str_1").batches)] != [1]:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    events = a_stream("a", "b")
    await other.append("str_1", events, epoch=await other.take_over("str_1"))
    async with asyncio.timeout(10):
        assert await collect(log.read()) == events
    with pytest.raises(StaleWriterError):
        await maker.append("str_1", [meta(0)], epoch=epoch)
    await maker.hand_over("str_1")  # a second time, nothing
    assert await maker.open("str_1") is log


async def test_who_reads_a_stream_that_a_fail_over_lost_at_once_reads_the_one_that_is_made_again(
    open_store: OpenStore, server: RedisServer
) -> None:
    maker, other, worker = open_store(clock=lambda: 1.0), open_store(clock=lambda: 2.0), open_store()
    await maker.create("str_1")
    log = await worker.open("str_1")
    async with the_server(server.url) as redis:
        await redis.delete(Keys("str_1").state)
    events = a_stream("a", "b")
    await other.append("str_1", events, epoch=await other.create("str_1"))
    async with asyncio.timeout(10):
        assert await collect(log.read()) == events
    assert log.created_at == 2.0
