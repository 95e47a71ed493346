"""Sinks and their readers over real servers: what is published, and what readers get."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from importlib.resources import files

import pytest
from redis.exceptions import ResponseError

from hub.completion import fold
from hub.errors import SequenceGapError, SinkRejectedError
from hub.events import LLMEvent, decode_event, encode_event
from sinks.redis import RedisConnections, RedisSink, RedisSubscription, Replay, subscribe
from sinks.redis.replay import ReplayLog, mark
from tests.contracts.samples import a_stream
from tests.real.cache_support import needs
from tests.real.redis_server import RedisServer, redis_binaries
from tests.real.redis_sink_support import (
    CHANNEL,
    at,
    client_of,
    publish,
    read,
    read_some,
    through_proxies,
    words_of,
)

pytestmark = needs(redis_binaries(), "a server of the Redis protocol")

BINARIES = redis_binaries()


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


# Publishing


async def test_any_client_of_pub_sub_reads_plain_events(server: RedisServer) -> None:
    events = words_of(50)
    async with client_of(server.url) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe(CHANNEL)
        await publish(server.url, events, replay=Replay())
        heard: list[LLMEvent] = []
        async with asyncio.timeout(10):
            while len(heard) < len(events):
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
                heard += [] if message is None else [decode_event(message["data"])]
    assert heard == events


async def test_the_log_is_bounded_and_expires(server: RedisServer) -> None:
    await publish(server.url, words_of(2_000), replay=Replay(max_events=300, ttl=100.0))
    async with client_of(server.url) as redis:
        assert 300 <= await redis.xlen("{chat:42}:replay") <= 450
        assert 95_000 < await redis.pttl("{chat:42}:replay") <= 100_000


@pytest.mark.parametrize(("max_events", "ttl"), [("10", str(10**19)), ("10", "nan"), ("1e9", "1000"), ("10", "0")])
async def test_bounds_that_redis_would_refuse_are_refused_before_anything_is_written(
    server: RedisServer, max_events: str, ttl: str
) -> None:
    event = words_of(1)[0]
    async with client_of(server.url) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe(CHANNEL)
        script = (files("sinks.redis") / "append.lua").read_text()
        keys = (CHANNEL, "{chat:42}:replay")
        with pytest.raises(ResponseError, match="bounds of the replay log"):
            await redis.eval(script, 2, *keys, "PUBLISH", encode_event(event), mark(event), max_events, ttl)
        assert await redis.dbsize() == 0
        assert await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.05) is None


async def test_a_user_who_may_not_hear_the_channel_is_told_at_once(server: RedisServer) -> None:
    async with client_of(server.url) as redis:
        await redis.execute_command("ACL", "SETUSER", "deaf", "on", ">secret", "~*", "+@all", "resetchannels")
    url = server.url.replace("//", "//deaf:secret@")
    for replay in (False, True):
        async with asyncio.timeout(10):
            with pytest.raises(SinkRejectedError, match="channel") as raised:
                await subscribe(CHANNEL, url=url, replay=replay, outage_timeout=60.0).__aenter__()
            assert "secret" not in str(raised.value)


async def test_a_flood_to_a_slow_server_arrives_whole_in_few_calls(server: RedisServer) -> None:
    events = words_of(10_000)
    async with through_proxies(server) as (writing, _), client_of(server.url) as redis:
        writing.delay = 0.01
        await redis.config_resetstat()
        async with subscribe(CHANNEL, url=server.url, until_done=True) as reader:
            publishing = asyncio.create_task(publish(at(writing), events, replay=Replay(max_events=20_000)))
            assert await read_some(reader, len(events)) == events
            await publishing
        calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls < 100


# Reading


async def test_who_joins_late_gets_the_running_stream_from_its_start_and_no_ended_one(server: RedisServer) -> None:
    ended, running = words_of(20, "str_0"), words_of(200)
    await publish(server.url, ended, replay=Replay())
    async with RedisSink(CHANNEL, url=server.url, replay=Replay()) as sink:
        for event in running[:100]:
            await sink.send(event)
        readers = [asyncio.create_task(read(server.url, until_done=True)) for _ in range(5)]
        await asyncio.sleep(0.05)
        for event in running[100:]:
            await sink.send(event)
    for reader in readers:
        assert await reader == running


async def test_a_stream_is_read_by_its_id_from_a_position_also_when_it_is_over(server: RedisServer) -> None:
    streams = {f"str_{n}": words_of(700, f"str_{n}") for n in range(3)}
    async with RedisConnections(server.url) as connections, asyncio.TaskGroup() as tasks:

        async def write(events: list[LLMEvent]) -> None:
            async with RedisSink(CHANNEL, connections=connections, replay=Replay()) as sink:
                for event in events:
                    await sink.send(event)
                    await asyncio.sleep(0)

        for events in streams.values():
            tasks.create_task(write(events))
    for stream_id, events in streams.items():
        assert await read(server.url, stream_id=stream_id) == events
        assert await read(server.url, stream_id=stream_id, after=600) == events[601:]
    async with subscribe(CHANNEL, url=server.url, history=True) as reader:
        everything = await read_some(reader, 3 * 703)
    for stream_id, events in streams.items():
        assert [event for event in everything if event.stream_id == stream_id] == events


async def test_streams_that_follow_each_other_or_mix_come_whole(server: RedisServer) -> None:
    streams = [words_of(100, f"str_{n}") for n in range(4)]
    async with subscribe(CHANNEL, url=server.url) as reader:
        await publish(server.url, streams[0])
        mixed = [event for group in zip(*streams[1:], strict=True) for event in group]
        await publish(server.url, mixed)
        heard = await read_some(reader, 4 * 103)
    for events in streams:
        assert [event for event in heard if event.stream_id == events[0].stream_id] == events


async def test_a_silent_stream_is_read_from_its_start_at_its_next_event(server: RedisServer) -> None:
    silent, last = words_of(50, "silent"), words_of(3, "last")
    async with RedisSink(CHANNEL, url=server.url, replay=Replay()) as sink:
        for event in (*silent[:20], *last):
            await sink.send(event)
        async with subscribe(CHANNEL, url=server.url) as reader:
            for event in silent[20:]:
                await sink.send(event)
            assert await read_some(reader, len(silent)) == silent


async def test_a_position_inside_a_merged_event_is_a_declared_gap(server: RedisServer) -> None:
    events = words_of(100)
    async with through_proxies(server) as (writing, _):
        async with RedisSink(CHANNEL, url=at(writing), replay=Replay(), merge=True) as sink:
            await sink.send(events[0])
            await asyncio.sleep(0.05)
            writing.hold()
            for event in events[1:]:
                await sink.send(event) if event.type != "done" else writing.heal()
            await sink.send(events[-1])
        whole = await read(server.url, stream_id="str_1")
        assert len(whole) < len(events)
        assert fold(whole) == fold(events)
        with pytest.raises(SequenceGapError):
            await read(server.url, stream_id="str_1", after=50)


async def test_a_log_that_was_trimmed_is_a_declared_gap_and_the_rest_follows(server: RedisServer) -> None:
    events = words_of(1_000)
    async with RedisSink(CHANNEL, url=server.url, replay=Replay(max_events=200)) as sink:
        for event in events[:-1]:
            await sink.send(event)
        async with subscribe(CHANNEL, url=server.url, until_done=True) as reader:
            await sink.send(events[-1])
            with pytest.raises(SequenceGapError) as raised:
                await read_some(reader, 1)
            assert raised.value.expected == 0
            rest = [event async for event in reader]
            assert rest == events[raised.value.got :]


async def test_a_key_that_is_no_log_is_told(server: RedisServer) -> None:
    async with client_of(server.url) as redis:
        await redis.set("{chat:42}:replay", "something else")
    with pytest.raises(SinkRejectedError, match="refuses"):
        await publish(server.url, words_of(1), replay=Replay())
    with pytest.raises(SinkRejectedError, match="log can't be read"):
        await read(server.url)


async def test_a_password_that_is_wrong_is_told_at_once(server: RedisServer) -> None:
    with pytest.raises(SinkRejectedError, match="refuses the user or the password") as raised:
        await publish(server.url.replace("//", "//nobody:guessed@"), words_of(1))
    assert "guessed" not in str(raised.value)


async def test_many_subscriptions_of_a_process_take_one_connection(server: RedisServer) -> None:
    events = words_of(50)
    async with RedisConnections(server.url) as connections, AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(subscribe(CHANNEL, connections=connections, until_done=True))
            for _ in range(20)
        ]
        async with client_of(server.url) as redis:
            assert len(await redis.client_list(_type="pubsub")) == 1
        await publish(server.url, events)
        for reader in readers:
            assert [event async for event in reader] == events


async def test_a_slow_reader_gets_from_the_log_what_it_had_no_room_for(server: RedisServer) -> None:
    events = words_of(2_000)
    async with subscribe(CHANNEL, url=server.url, until_done=True, max_queue=10) as reader:
        await publish(server.url, events, replay=Replay())
        heard = await read_some(reader, len(events))
    assert heard == events


async def test_a_reader_that_was_cancelled_at_any_time_misses_nothing(server: RedisServer) -> None:
    events, heard = words_of(500), list[LLMEvent]()
    rand = random.Random(1)

    async def go_on(reader: RedisSubscription) -> None:
        async for event in reader:
            heard.append(event)

    async with subscribe(CHANNEL, url=server.url, until_done=True, max_queue=20) as reader:
        publishing = asyncio.create_task(publish(server.url, events, replay=Replay()))
        while len(heard) < len(events):
            going = asyncio.create_task(go_on(reader))
            for _ in range(rand.randrange(1, 60)):
                await asyncio.sleep(0)
            going.cancel()
            await asyncio.wait([going])
        await publishing
    assert heard == events


async def test_a_call_that_was_carried_out_twice_is_read_once(server: RedisServer) -> None:
    events = words_of(300)
    async with through_proxies(server) as (writing, _):
        async with (
            subscribe(CHANNEL, url=server.url, until_done=True) as live,
            RedisSink(CHANNEL, url=at(writing), replay=Replay()) as sink,
        ):
            for event in events[:100]:
                await sink.send(event)
            await asyncio.sleep(0.05)
            writing.hold("down")
            for event in events[100:200]:
                await sink.send(event)
            await asyncio.sleep(0.05)
            writing.reset()
            writing.heal()
            for event in events[200:]:
                await sink.send(event)
            assert [event async for event in live] == events
        async with client_of(server.url) as redis:
            assert await redis.xlen("{chat:42}:replay") > len(events)
        assert await read(server.url, stream_id="str_1") == events


async def test_a_log_of_large_events_is_read_whole(server: RedisServer) -> None:
    events = a_stream(*(f"{n}" * 300_000 for n in range(8)), "x" * 2_000_000, "😀\x00" * 1000, "")
    await publish(server.url, events, replay=Replay())
    assert await read(server.url, stream_id="str_1") == events
    async with subscribe(CHANNEL, url=server.url, history=True) as reader:
        assert await read_some(reader, len(events)) == events


@pytest.mark.parametrize("others", [0, 1_500])
async def test_where_a_call_was_carried_out_twice_the_log_is_read_from_the_first_time(
    server: RedisServer, others: int
) -> None:
    twice = [*words_of(5), *words_of(2, "between"), *words_of(5)]
    async with client_of(server.url) as redis, redis.pipeline() as pipeline:
        for event in (*twice, *words_of(others, "others")):
            pipeline.xadd("{chat:42}:replay", {"event": encode_event(event), "at": mark(event)})
        ids = await pipeline.execute()
    async with RedisConnections(server.url) as connections:
        log = ReplayLog(CHANNEL, connections.reading, connections.address)
        assert await log.find("str_1", 3) == ids[3]
        assert await log.find("str_1", 100) == ids[len(twice) - 1]
        assert await log.find("str_1", 3, down_to=ids[7]) == ids[twice.index(twice[3], 4)]
        assert await log.find("nobody's", 3) is None
        assert await log.find("str_1", -1) is None
        assert (await log.newest())[0] == ids[-1]
