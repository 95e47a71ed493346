"""What a reader makes of what a server says that has no log, or none that is of use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub.errors import (
    ClosedError,
    ConfigurationError,
    InvalidRequestError,
    SequenceGapError,
    SinkError,
    SinkRejectedError,
    SinkUnavailableError,
)
from hub.events import LLMEvent, encode_event
from sinks.redis import RedisConnections, RedisSubscription, subscribe
from tests.contracts.samples import a_stream, done, meta, text, turns
from tests.hub.redis_io.support import HANG_UP, Answer, ScriptedRedis, hang
from tests.hub.redis_io.test_channels import confirmation, message
from tests.real.redis_streams_support import within

CHANNEL = b"chat"


def saying(*said: LLMEvent | bytes) -> Answer:
    """A server that publishes this once somebody has subscribed."""
    messages = [each if isinstance(each, bytes) else encode_event(each) for each in said]

    async def answer(command: list[bytes]) -> bytes:
        if command[0] in (b"SUBSCRIBE", b"SSUBSCRIBE"):
            kind = b"message" if command[0] == b"SUBSCRIBE" else b"smessage"
            told = [message(kind, command[1], each) for each in messages]
            return confirmation(command[1], command[0].lower()) + b"".join(told)
        return b"+PONG\r\n"

    return answer


@asynccontextmanager
async def reading(answer: Answer, **options: Any) -> AsyncIterator[tuple[RedisSubscription, ScriptedRedis]]:
    options = {"replay": False, "timeout": 2.0, "outage_timeout": 5.0, **options}
    async with (
        ScriptedRedis(answer) as server,
        asyncio.timeout(20),
        subscribe(CHANNEL.decode(), url=server.url, **options) as reader,
    ):
        yield reader, server


async def taken(reader: RedisSubscription, count: int) -> list[LLMEvent]:
    events: list[LLMEvent] = []
    async for event in reader:
        events.append(event)
        if len(events) == count:
            break
    return events


async def test_events_come_typed_and_in_order() -> None:
    async with reading(saying(*a_stream("a", "b"))) as (reader, _):
        assert await taken(reader, 5) == a_stream("a", "b")


async def test_the_subscription_is_confirmed_once_it_is_entered() -> None:
    allowed = asyncio.Event()

    async def answer(command: list[bytes]) -> bytes:
        await allowed.wait()
        return confirmation(command[1])

    async with ScriptedRedis(answer) as server:
        reader = subscribe("chat", url=server.url, replay=False)
        entering = asyncio.create_task(reader.__aenter__())
        await asyncio.sleep(0.02)
        assert not entering.done()
        allowed.set()
        await entering
        await reader.aclose()


async def test_a_sharded_channel_is_subscribed_to_as_such() -> None:
    async with reading(saying(*a_stream("a")), sharded=True) as (reader, server):
        assert await taken(reader, 4) == a_stream("a")
    assert server.commands[0] == [b"SSUBSCRIBE", CHANNEL]


async def test_repeats_are_passed_over() -> None:
    first, second, *rest = a_stream("a", "b")
    async with reading(saying(first, second, first, second, *rest)) as (reader, _):
        assert await taken(reader, 5) == a_stream("a", "b")


async def test_messages_that_are_no_events_are_passed_over_with_a_word_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, *rest = a_stream("a")
    nonsense = (b"", b"hello", b'{"type":"unknown"}', b"\xff\x00", b"[]", b'{"type":"meta"')
    async with reading(saying(b"hello", first, *nonsense, *rest)) as (reader, _):
        assert await taken(reader, 4) == a_stream("a")
    assert len([each for each in caplog.messages if "no event" in each]) == 7


async def test_a_gap_raises_and_the_next_iteration_goes_on_behind_it() -> None:
    async with reading(saying(meta(0), text(1), text(7, span=2), done(8))) as (reader, _):
        assert await taken(reader, 2) == [meta(0), text(1)]
        with pytest.raises(SequenceGapError) as raised:
            await taken(reader, 1)
        assert (raised.value.expected, raised.value.got) == (2, 6)
        assert await taken(reader, 2) == [text(7, span=2), done(8)]


async def test_a_gap_may_be_passed(caplog: pytest.LogCaptureFixture) -> None:
    async with reading(saying(text(3), text(7)), on_gap="pass") as (reader, _):
        assert await taken(reader, 2) == [text(3), text(7)]
    assert [each for each in caplog.messages if "Event 4 was due, 7 arrived" in each]


async def test_an_event_that_merges_what_was_read_with_what_was_not_is_a_gap() -> None:
    async with reading(saying(meta(0), text(1), text(3, span=3), done(4)), on_gap="raise") as (reader, _):
        assert await taken(reader, 2) == [meta(0), text(1)]
        words = "Event 2 was due, and one arrived that merges it .* from 1 on"
        with pytest.raises(SequenceGapError, match=words) as raised:
            await taken(reader, 1)
        assert (raised.value.expected, raised.value.got) == (2, 1)
        assert await taken(reader, 1) == [done(4)]


async def test_no_position_is_read_twice_where_a_gap_is_passed(caplog: pytest.LogCaptureFixture) -> None:
    said = saying(meta(0), text(1), text(2), text(3), text(5, span=4), text(6), done(7))
    async with reading(said, on_gap="pass") as (reader, _):
        assert await taken(reader, 6) == [meta(0), text(1), text(2), text(3), text(6), done(7)]
    assert [each for each in caplog.messages if "Event 4 was due, and one arrived that merges it" in each]


async def test_an_event_that_begins_before_its_stream_is_a_gap() -> None:
    async with reading(saying(text(3, span=99), done(4))) as (reader, _):
        with pytest.raises(SequenceGapError, match="from 0 on"):
            await taken(reader, 1)
        assert await taken(reader, 1) == [done(4)]


async def test_one_stream_may_be_read_and_ends_with_its_done() -> None:
    one, other = a_stream("a", "b", stream_id="str_1"), a_stream("c", "d", stream_id="str_2")
    mixed = [event for pair in zip(one, other, strict=True) for event in pair]
    for options in ({"stream_id": "str_1"}, {"until_done": True}):
        async with reading(saying(*mixed), **options) as (reader, _):
            assert [event async for event in reader] == one
            assert [event async for event in reader] == []
            assert reader.stream_id == "str_1"
    async with reading(saying(*mixed), stream_id="str_2", after=2) as (reader, _):
        assert [event async for event in reader] == other[3:]


async def test_a_subscription_that_was_not_entered_is_while_it_is_iterated() -> None:
    async with ScriptedRedis(saying(*a_stream("a"))) as server:
        reader = subscribe("chat", url=server.url, replay=False, until_done=True)
        assert [event async for event in reader] == a_stream("a")
        assert [event async for event in reader] == []
    assert server.connections == 1


async def test_a_subscription_that_was_closed_before_its_end_is_not_iterated() -> None:
    async with reading(saying(meta(0), text(1))) as (reader, _):
        assert await taken(reader, 1) == [meta(0)]
    with pytest.raises(ClosedError):
        aiter(reader)


async def test_who_waits_comes_to_the_end_when_the_subscription_is_closed() -> None:
    async with reading(saying()) as (reader, _):
        waiting = asyncio.create_task(taken(reader, 1))
        await turns()
        await reader.aclose()
        await reader.aclose()
        assert await waiting == []
        with pytest.raises(ClosedError):
            await reader.__aenter__()


async def test_a_subscription_is_entered_once() -> None:
    async with reading(saying()) as (reader, _):
        with pytest.raises(ClosedError):
            await reader.__aenter__()


async def test_a_slow_reader_without_a_log_is_told_that_it_was_too_slow() -> None:
    async with reading(saying(*a_stream(*"abcdef")), max_queue=3) as (reader, _):
        assert await taken(reader, 3) == a_stream(*"abcdef")[:3]
        with pytest.raises(SinkError, match="too slow"):
            await taken(reader, 1)


async def test_a_server_that_goes_away_for_good_is_told_after_the_time_out() -> None:
    up = True

    async def answer(command: list[bytes]) -> bytes:
        nonlocal up
        if not up:
            return HANG_UP
        up = False
        return confirmation(command[1]) + message(b"message", CHANNEL, encode_event(meta(0))) + b"*1\r\n$oops\r\n"

    async with reading(answer, outage_timeout=0.1) as (reader, _):
        assert await taken(reader, 1) == [meta(0)]
        for _ in range(2):
            with pytest.raises(SinkUnavailableError, match=r"could not be reached for 0\.1 s"):
                await taken(reader, 1)


async def test_a_server_that_is_away_from_the_start_is_told_after_the_time_out() -> None:
    async with ScriptedRedis(hang) as server:
        reader = subscribe("chat", url=server.url, replay=False, outage_timeout=0.1)
        with pytest.raises(SinkUnavailableError, match="The channel can't be heard"):
            await reader.__aenter__()


async def test_a_log_that_may_not_be_read_is_told_at_once() -> None:
    said = saying(*a_stream("a"))

    async def answer(command: list[bytes]) -> bytes:
        if command[0] in (b"EVALSHA", b"SCRIPT"):
            return b"-NOPERM this user has no permissions to run the 'evalsha' command\r\n"
        return await said(command)

    async with ScriptedRedis(answer) as server:
        with pytest.raises(SinkRejectedError, match="replay=False"):
            await subscribe("chat", url=server.url, outage_timeout=60.0).__aenter__()


async def test_subscriptions_share_a_connection_and_a_channel_is_left_with_its_last_reader() -> None:
    async with ScriptedRedis(saying()) as server, RedisConnections(server.url) as connections:
        first, second = (subscribe("chat", connections=connections, replay=False) for _ in range(2))
        other = subscribe("other", connections=connections, replay=False)
        for reader in (first, second, other):
            await reader.__aenter__()
        await first.aclose()
        await first.aclose()
        await turns()
        assert [command for command in server.commands if command[0] == b"UNSUBSCRIBE"] == []
        await second.aclose()

        async def has_heard() -> bool:
            return len(server.commands) == 3

        await within(5, has_heard)
        assert server.commands == [[b"SUBSCRIBE", b"chat"], [b"SUBSCRIBE", b"other"], [b"UNSUBSCRIBE", b"chat"]]
        await other.aclose()
    assert server.connections == 1


async def test_connections_that_are_closed_end_who_listens_over_them() -> None:
    async with (
        ScriptedRedis(saying()) as server,
        RedisConnections(server.url) as connections,
        subscribe("chat", connections=connections, replay=False) as reader,
        asyncio.timeout(5),
    ):
        waiting = asyncio.create_task(taken(reader, 1))
        await turns()
        await connections.aclose()
        assert await waiting == []


async def test_closed_connections_take_no_subscription() -> None:
    connections = RedisConnections("redis://127.0.0.1:1")
    await connections.aclose()
    with pytest.raises(ClosedError):
        await subscribe("chat", connections=connections).__aenter__()


@pytest.mark.parametrize(
    "options",
    [
        {"after": 3},
        {"stream_id": "s", "after": -2},
        {"history": True, "until_done": True},
        {"history": True, "stream_id": "s"},
        {"on_gap": "weep"},
        {"max_queue": 0},
    ],
)
def test_arguments_that_make_no_sense_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        subscribe("chat", url="redis://127.0.0.1:1", **options)


def test_a_channel_that_can_t_have_a_log_is_read_without() -> None:
    with pytest.raises(ConfigurationError):
        subscribe("a}b", url="redis://127.0.0.1:1")
    subscribe("a}b", url="redis://127.0.0.1:1", replay=False)


async def test_what_came_between_a_look_at_the_log_and_the_subscription_is_read_from_the_log() -> None:
    events = a_stream("a")
    lines = b"\n".join(map(encode_event, events))
    said = saying()

    async def answer(command: list[bytes]) -> bytes:
        if command[0] != b"EVALSHA":
            return await said(command)
        if len(command) == 9:  # nothing is found
            return b"*2\r\n:0\r\n$0\r\n\r\n"
        return b"*3\r\n$3\r\n4-0\r\n:0\r\n$%d\r\n%b\r\n" % (len(lines), lines)

    async with reading(answer, replay=True, until_done=True) as (reader, _):
        assert [event async for event in reader] == events


async def test_a_password_that_is_wrong_is_told_at_once() -> None:
    async def refuse(command: list[bytes]) -> bytes:
        return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"

    async with ScriptedRedis(refuse) as server:
        url = server.url.replace("//", "//user:secret@")
        for replay in (False, True):
            with pytest.raises(SinkRejectedError, match="refuses the user or the password") as raised:
                await subscribe("chat", url=url, replay=replay, outage_timeout=60.0).__aenter__()
            assert "secret" not in str(raised.value)


async def test_a_channel_that_is_refused_is_told_at_once_and_others_are_heard() -> None:
    async def answer(command: list[bytes]) -> bytes:
        if command[1:] == [b"secret"]:
            return b"-NOPERM No permissions to access a channel\x1b[2J\r\n"
        return confirmation(command[1])

    async with (
        ScriptedRedis(answer) as server,
        asyncio.timeout(20),
        RedisConnections(server.url, outage_timeout=60.0) as connections,
    ):
        readers = [subscribe(each, connections=connections, replay=False) for each in ("one", "secret", "two")]
        heard = await asyncio.gather(*(reader.__aenter__() for reader in readers), return_exceptions=True)
        assert [heard[0], heard[2]] == [readers[0], readers[2]]
        assert isinstance(heard[1], SinkRejectedError)
        assert "No permissions to access a channel?[2J" in str(heard[1])
        with pytest.raises(SinkRejectedError):
            await subscribe("secret", connections=connections, replay=False).__aenter__()
        await readers[0].aclose()
        await readers[2].aclose()


async def test_what_a_message_that_is_no_event_says_obeys_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    async with reading(saying(b'{"type":"\\u001b[2J"}', *a_stream("a"))) as (reader, _):
        assert await taken(reader, 4) == a_stream("a")
    assert [each for each in caplog.messages if "no event" in each]
    assert all(message.isprintable() for message in caplog.messages)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"-NOAUTH Authentication required.\r\n", "asks for a password"),
        (b"-WRONGPASS invalid username-password pair\r\n", "refuses the user or the password"),
        (b"-LOADING Redis is loading\r\n", "can't be used now"),
    ],
)
async def test_leaving_the_log_out_is_advised_only_where_that_helps(answer: bytes, words: str) -> None:
    async def refuse(command: list[bytes]) -> bytes:
        return answer

    async with ScriptedRedis(refuse) as server:
        reader = subscribe("chat", url=server.url, outage_timeout=0.1)
        with pytest.raises(SinkError, match=words) as caught:
            await reader.__aenter__()
    assert "replay=False" not in str(caught.value)
