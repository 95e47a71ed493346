"""What a RedisSink sends to a server that answers what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.crc import key_slot

from hub.errors import (
    ClosedError,
    ConfigurationError,
    MalformedEventError,
    SinkError,
    SinkRejectedError,
    SinkUnavailableError,
)
from hub.events import LLMEvent, decode_event, encode_event
from hub.sink import FanOut
from hub.testing import Gate
from sinks.memory import MemorySink
from sinks.redis import RedisConnections, RedisSink, Replay, Undelivered
from sinks.redis.replay import log_key
from tests.contracts.samples import a_stream, done, meta, text, turns, words
from tests.hub.redis_io.support import HANG_UP, Answer, ScriptedRedis, hang


async def one(command: list[bytes]) -> bytes:
    return b":1\r\n"


def after(gate: Gate) -> Answer:
    """An answer that waits for a gate."""

    async def answer(command: list[bytes]) -> bytes:
        await gate.pass_through()
        return b":1\r\n"

    return answer


def answering(*given: bytes) -> Answer:
    """These answers in turn, and then `:1`."""
    waiting = list(given)

    async def answer(command: list[bytes]) -> bytes:
        return waiting.pop(0) if waiting else b":1\r\n"

    return answer


@asynccontextmanager
async def sink_to(answer: Answer, **options: Any) -> AsyncIterator[tuple[RedisSink, ScriptedRedis]]:
    options = {"timeout": 2.0, "outage_timeout": 5.0, **options}
    async with (
        ScriptedRedis(answer) as server,
        asyncio.timeout(20),
        RedisSink("chat:42", url=server.url, **options) as sink,
    ):
        yield sink, server


def messages(server: ScriptedRedis) -> list[LLMEvent]:
    """What was published, be it by a command or by a script."""
    return [decode_event(line) for command in server.commands for line in lines_of(command)]


def lines_of(command: list[bytes]) -> list[bytes]:
    if command[0] in (b"PUBLISH", b"SPUBLISH"):
        return [command[2]]
    keys = int(command[2])
    return command[4 + keys].split(b"\n")


async def test_an_event_alone_is_published_as_its_json() -> None:
    async with sink_to(one) as (sink, server):
        await sink.send(done(0))
        assert server.commands == [[b"PUBLISH", b"chat:42", encode_event(done(0))]]


async def test_what_gathers_while_a_call_is_under_way_leaves_together_with_the_next() -> None:
    gate = Gate()
    async with sink_to(after(gate)) as (sink, server):
        await sink.send(meta(0))
        await gate.reached()
        for event in words(100):
            await sink.send(event)
        gate.open()
        await sink.send(done(101))
    assert len(server.commands) == 2
    assert messages(server) == [meta(0), *words(100), done(101)]


async def test_neighbours_of_one_call_are_merged_where_that_is_wanted() -> None:
    gate = Gate()
    async with sink_to(after(gate), merge=True) as (sink, server):
        await sink.send(meta(0))
        await gate.reached()
        for event in words(3):
            await sink.send(event)
        gate.open()
        await sink.send(done(4))
    assert messages(server) == [meta(0), text(3, " 1 2 3", span=3), done(4)]


async def test_a_sharded_channel_is_published_to_as_such() -> None:
    gate = Gate()
    async with sink_to(after(gate), sharded=True) as (sink, server):
        await sink.send(meta(0))
        await gate.reached()
        await sink.send(text(1))
        gate.open()
        await sink.send(done(2))
    assert server.commands[0][0] == b"SPUBLISH"
    assert server.commands[1][4] == b"SPUBLISH"


async def test_a_log_gets_each_event_with_its_positions_in_the_call_that_publishes_it() -> None:
    async with sink_to(one, replay=Replay(max_events=7, ttl=1.5)) as (sink, server):
        await sink.send(text(4, "abc", span=3))
    (command,) = server.commands
    assert command[2:] == [
        *(b"2", b"chat:42", b"{chat:42}:replay", b"PUBLISH"),
        *(encode_event(text(4, "abc", span=3)), b'2 4 "str_1"', b"7", b"1500"),
    ]


@pytest.mark.parametrize(
    ("channel", "key"),
    [("chat", "{chat}:replay"), ("a:{b}", "a:{b}:replay"), ("a{b", "{a{b}:replay"), ("{}", None), ("a}b", None)],
)
async def test_the_log_lies_in_the_slot_of_the_channel(channel: str, key: str | None) -> None:
    if key is None:
        with pytest.raises(ConfigurationError, match="replay log"):
            log_key(channel)
    else:
        assert log_key(channel) == key.encode()
        assert key_slot(log_key(channel)) == key_slot(channel.encode())


async def test_a_done_is_published_once_send_returns() -> None:
    gate = Gate()
    async with sink_to(after(gate)) as (sink, _):
        sending = asyncio.create_task(sink.send(done(0)))
        await gate.reached()
        await turns()
        assert not sending.done()
        gate.open()
        await sending


async def test_a_full_buffer_holds_the_producer_back_until_redis_has_taken_something() -> None:
    gate = Gate()
    async with sink_to(after(gate), max_buffer=3) as (sink, server):
        for event in words(3):
            await sink.send(event)
        sending = asyncio.create_task(sink.send(text(4)))
        await gate.reached()
        await turns()
        assert not sending.done()
        gate.open()
        await sending
    assert [event.seq for event in messages(server)] == [1, 2, 3, 4]


async def test_the_buffer_is_full_by_bytes_too_but_takes_any_single_event() -> None:
    gate = Gate()
    async with sink_to(after(gate), max_buffer_bytes=1000) as (sink, server):
        await sink.send(text(1, "x" * 5000))
        sending = asyncio.create_task(sink.send(text(2)))
        await gate.reached()
        await turns()
        assert not sending.done()
        gate.open()
        await sending
    assert [event.seq for event in messages(server)] == [1, 2]


async def test_the_bytes_of_what_was_published_count_no_more() -> None:
    gate = Gate()

    async def answer(command: list[bytes]) -> bytes:
        if b"x" * 900 not in command[-1]:
            await gate.pass_through()
        return b":1\r\n"

    async with sink_to(answer, max_buffer_bytes=1000) as (sink, _):
        await sink.send(done(0, raw_finish_reason="x" * 900))
        await sink.send(text(1))
        await gate.reached()
        async with asyncio.timeout(1):
            await sink.send(text(2))
        gate.open()


async def test_a_send_that_was_cancelled_while_it_waited_may_come_again() -> None:
    gate = Gate()
    async with sink_to(after(gate), max_buffer=1) as (sink, server):
        await sink.send(meta(0))
        await gate.reached()
        sending = asyncio.create_task(sink.send(text(1)))
        await turns()
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        gate.open()
        await sink.send(text(1))
        await sink.send(text(1))
        await sink.send(done(2))
    assert [event.seq for event in messages(server)] == [0, 1, 2]


async def test_a_cancelled_done_that_comes_again_waits_for_the_first_one() -> None:
    gate = Gate()
    async with sink_to(after(gate)) as (sink, server):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await sink.send(done(0))
        sending = asyncio.create_task(sink.send(done(0)))
        await turns()
        assert not sending.done()
        gate.open()
        await sending
    assert messages(server) == [done(0)]


async def test_a_call_whose_reply_was_lost_is_sent_again_as_it_was() -> None:
    async with sink_to(answering(HANG_UP, HANG_UP)) as (sink, server):
        await sink.send(text(1, "a"))
        await sink.send(done(2))
    assert server.connections == 3
    assert server.commands[0] == server.commands[1] == server.commands[2]
    assert messages(server) == [text(1, "a"), done(2)] * 3


async def test_a_script_that_the_server_does_not_know_is_loaded() -> None:
    async with sink_to(answering(b"-NOSCRIPT No matching script.\r\n"), replay=Replay()) as (sink, server):
        await sink.send(done(0))
    assert [command[0] for command in server.commands] == [b"EVALSHA", b"SCRIPT", b"EVALSHA"]


async def test_a_server_that_stays_away_fails_the_sink_which_says_what_is_lost() -> None:
    async with sink_to(hang, timeout=0.05, outage_timeout=0.05) as (sink, _):
        await sink.send(text(7, "a", span=3))
        await sink.send(text(8, "b"))
        with pytest.raises(
            SinkUnavailableError, match=r"Events 5 to 9 of stream 'str_1' may not have reached"
        ) as raised:
            await sink.send(done(9))
        assert sink.lost == (Undelivered("str_1", 5, 9),)
        assert raised.value.retryable
        for event in (text(10), done(11)):
            with pytest.raises(SinkUnavailableError):
                await sink.send(event)
        await sink.aclose()  # it was said


async def test_who_waits_for_room_is_told_that_the_sink_has_failed() -> None:
    async with sink_to(hang, timeout=0.05, outage_timeout=0.05, max_buffer=1) as (sink, _):
        await sink.send(text(1))
        with pytest.raises(SinkUnavailableError, match="Events 1 to 1"):
            await sink.send(text(2))


async def test_closing_raises_what_nobody_was_told() -> None:
    async with sink_to(hang, timeout=0.05, outage_timeout=0.05) as (sink, _):
        await sink.send(text(1))
        with pytest.raises(SinkUnavailableError):
            await sink.aclose()
        await sink.aclose()
    assert sink.lost == (Undelivered("str_1", 1, 1),)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"-NOPERM No permissions to access a channel\r\n", "refuses what it was asked for"),
        (b"-NOAUTH Authentication required.\r\n", "asks for a password, and its URL has none"),
        (b"-WRONGPASS invalid username-password pair\r\n", "refuses the user or the password"),
        (b"-WRONGTYPE Operation against a key\r\n", "refuses what it was asked for"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "refuses what it was asked for"),
        (b"+OK\r\n", "is none"),
    ],
)
async def test_what_will_not_pass_by_itself_is_told_at_once(answer: bytes, said: str) -> None:
    async with sink_to(answering(*[answer] * 5), outage_timeout=60.0) as (sink, _):
        with pytest.raises(SinkRejectedError, match=said) as raised:
            await sink.send(done(0))
        assert not raised.value.retryable
        assert sink.lost == (Undelivered("str_1", 0, 0),)


async def test_half_a_character_is_refused_and_the_sink_goes_on() -> None:
    async with sink_to(one) as (sink, server):
        with pytest.raises(MalformedEventError):
            await sink.send(text(0, "\ud83d"))
        await sink.send(text(0, "?"))
    assert messages(server) == [text(0, "?")]


async def test_several_streams_may_go_on_one_channel() -> None:
    streams = [a_stream("a", "b", stream_id=f"str_{n}") for n in range(3)]
    async with sink_to(one) as (sink, server):
        for events in zip(*streams, strict=True):
            for event in events:
                await sink.send(event)
    for events in streams:
        assert [event for event in messages(server) if event.stream_id == events[0].stream_id] == events


async def test_a_block_that_raises_waits_for_a_second_at_most_and_keeps_its_own_error() -> None:
    async def break_off() -> None:
        async with sink:
            await sink.send(text(1))
            raise ZeroDivisionError

    async with asyncio.timeout(3), ScriptedRedis(hang) as server:
        sink = RedisSink("chat", url=server.url, timeout=30.0)
        with pytest.raises(ZeroDivisionError):
            await break_off()
    assert sink.lost == (Undelivered("str_1", 1, 1),)


@pytest.mark.parametrize("event", [done(1), text(1)])
@pytest.mark.parametrize("way", ["cancelled", "raised"])
async def test_who_waits_in_send_is_told_that_the_sink_was_closed_in_haste(event: LLMEvent, way: str) -> None:
    async with asyncio.timeout(5), ScriptedRedis(hang) as server:
        sink = await RedisSink("chat", url=server.url, timeout=30.0, max_buffer=1).__aenter__()
        await sink.send(text(0))
        waiting = asyncio.ensure_future(sink.send(event))
        await asyncio.sleep(0)
        if way == "raised":
            await sink.__aexit__(ZeroDivisionError)
        else:
            closing = asyncio.ensure_future(sink.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
        with pytest.raises(SinkError, match="closed in haste: Events 0 to 0 of stream 'str_1' may not have reached"):
            await waiting


async def test_a_done_that_waits_is_told_that_the_sink_was_closed_in_haste() -> None:
    async with asyncio.timeout(5), ScriptedRedis(hang) as server:
        sink = await RedisSink("chat", url=server.url, timeout=30.0).__aenter__()
        waiting = asyncio.ensure_future(sink.send(done(0)))
        await asyncio.sleep(0)
        await sink.__aexit__(ZeroDivisionError)
        with pytest.raises(SinkError, match="closed in haste"):
            await waiting


async def test_a_sink_is_entered_once_and_takes_nothing_outside() -> None:
    async with ScriptedRedis(one) as server:
        sink = RedisSink("chat", url=server.url)
        with pytest.raises(ClosedError):
            await sink.send(meta(0))
        async with sink:
            with pytest.raises(ClosedError):
                await sink.__aenter__()
        with pytest.raises(ClosedError):
            await sink.send(meta(0))
        with pytest.raises(ClosedError):
            await sink.__aenter__()
    assert server.commands == []


async def test_sinks_share_connections_and_leave_them_open() -> None:
    gate = Gate()
    async with ScriptedRedis(after(gate)) as server, RedisConnections(server.url) as connections:

        async def use(channel: str) -> None:
            async with RedisSink(channel, connections=connections) as sink:
                await sink.send(done(0))

        using = asyncio.gather(*(use(f"chat:{n}") for n in range(10)))
        await gate.reached()
        gate.open()
        await using
    assert server.connections == 1
    assert sorted(command[1] for command in server.commands) == [b"chat:%d" % n for n in range(10)]


async def test_connections_that_are_closed_under_a_sink_fail_it() -> None:
    async with ScriptedRedis(hang) as server:
        connections = RedisConnections(server.url)
        async with RedisSink("chat", connections=connections) as sink:
            await sink.send(text(1))
            await turns()
            await connections.aclose()
            with pytest.raises(Exception, match="closed"):
                await sink.send(done(2))


async def test_a_dead_server_harms_no_other_sink_of_a_fan_out() -> None:
    kept = MemorySink()
    events = a_stream("a", "b")
    async with ScriptedRedis(hang) as server:
        dead = RedisSink("chat", url=server.url, timeout=0.05, outage_timeout=0.05)
        async with dead, FanOut(dead, kept) as sink:
            for event in events:
                await sink.send(event)
    assert kept.events == events
    assert [failed for failed, _ in sink.failures] == [dead]


def test_the_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://somewhere:1234/0")
    assert RedisConnections().address == "somewhere:1234"
    monkeypatch.delenv("REDIS_URL")
    with pytest.raises(ConfigurationError, match="Set the environment variable REDIS_URL "):
        RedisSink("chat")


@pytest.mark.parametrize("url", ["http://u:secret@host", "redis://u:secret@host/0?no_such_option=1", "secret"])
def test_a_url_that_makes_no_sense_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        RedisSink("chat", url=url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("channel", "options"),
    [
        ("", {}),
        ("\ud83d", {}),
        ("a", {"max_buffer": 0}),
        ("a}b", {"replay": Replay()}),
        ("a", {"timeout": 0.0}),
        ("a", {"outage_timeout": -1.0}),
        ("a", {"connections": RedisConnections("redis://127.0.0.1:1")}),
    ],
)
def test_arguments_that_make_no_sense_are_refused(channel: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisSink(channel, url="redis://127.0.0.1:1", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_events": 0},
        {"max_events": 10**23},
        {"ttl": 0.0},
        {"ttl": -1.0},
        {"ttl": float("nan")},
        {"ttl": float("inf")},
        {"ttl": 1e300},
    ],
)
def test_a_log_of_nothing_or_without_an_end_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Replay(**options)


@pytest.mark.parametrize("channel", [5, None, b"chat", ""])
def test_a_channel_that_is_no_text_is_refused(channel: Any) -> None:
    with pytest.raises(ConfigurationError, match="A channel of Redis needs a name"):
        RedisSink(channel, url="redis://localhost")


def test_a_replay_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="such as replay=Replay\\(\\)"):
        RedisSink("chat", url="redis://localhost", replay=True)  # type: ignore[arg-type]


async def test_a_fan_out_that_waits_in_vain_says_what_redis_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with sink_to(answering(*[b"-LOADING Redis is loading\r\n"] * 1_000), outage_timeout=60.0) as (sink, _):
        assert sink.trouble is None
        async with FanOut(sink, MemorySink(), drain_timeout=0.1) as fan_out:
            await fan_out.send(done(0))
        ((failed, error),) = fan_out.failures
    assert failed is sink
    assert "no end within 0.1 s; the last try failed: Redis at" in str(error)
    assert "loading" in str(error)


async def test_what_has_passed_is_no_trouble() -> None:
    async with sink_to(answering(b"-LOADING Redis is loading\r\n"), outage_timeout=60.0) as (sink, _):
        await sink.send(done(0))
        assert sink.trouble is None


async def test_a_block_that_is_left_early_says_what_redis_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> None:
        async with sink_to(answering(*[b"-LOADING Redis is loading\r\n"] * 1_000), outage_timeout=60.0) as (sink, _):
            await sink.send(text(1))
            raise LookupError

    with pytest.raises(ExceptionGroup):  # of the scripted server, which is left with it
        await leave()
    (said,) = [record.getMessage() for record in caplog.records if record.name == "sinks.redis.sink"]
    assert said.startswith("Events 1 to 1 of stream 'str_1' may not have reached channel")
    assert "there was no more time; the last try failed: Redis at" in said
