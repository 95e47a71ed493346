"""A PusherSink before a strict server: messages, pace, batches, bounds, and one connection for all of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import ClosedError, MalformedEventError
from hub.events import LLMEvent, ToolCallDelta, decode_event, encode_event
from hub.sink import pump
from sinks.pusher import PusherSink

from ..contracts.samples import STREAM, a_stream, done, meta, now, positions, source, text, turns, usage
from .leaping_time import in_leaping_time
from .strict_pusher import StrictPusher

ANSWER = a_stream("Hel", "lo", " world")


def sink_of(server: StrictPusher, channel: Any = "chat", **arguments: Any) -> PusherSink:
    return PusherSink(channel, app=server.app, **arguments)


def names(server: StrictPusher) -> list[str]:
    return [sent.name for sent in server.sent]


async def send_all(sink: PusherSink, events: list[LLMEvent], *, interval: float = 0.0) -> None:
    for event in events:
        await sink.send(event)
        if interval:
            await asyncio.sleep(interval)


@in_leaping_time
async def test_a_message_is_an_event_s_json_under_the_name_of_its_type() -> None:
    async with StrictPusher() as server, sink_of(server) as sink:
        await send_all(sink, ANSWER, interval=1)
    assert [sent.data for sent in server.sent] == [encode_event(event).decode() for event in ANSWER]
    assert names(server) == [event.type for event in ANSWER]
    assert {sent.channel for sent in server.sent} == {"chat"}
    assert server.refused == []


@in_leaping_time
async def test_every_message_bears_the_name_that_was_chosen() -> None:
    events = [meta(0), text(1, "x" * 30_000), done(2)]
    async with StrictPusher() as server:
        async with sink_of(server, event_name="llm") as sink:
            await send_all(sink, events)
        assert set(names(server)) == {"llm"}
        assert server.events("chat") == events


@in_leaping_time
async def test_the_first_delta_does_not_wait() -> None:
    async with StrictPusher() as server, sink_of(server, max_messages_per_second=1) as sink:
        await send_all(sink, ANSWER[:2])
        await server.has(2)
        assert now() < 0.1
        await sink.send(ANSWER[2])
        await asyncio.sleep(0.5)
        assert len(server.sent) == 2
        await sink.aclose()
    assert fold(server.events("chat")) == fold(ANSWER[:3])


@in_leaping_time
async def test_the_first_delta_of_each_answer_does_not_wait() -> None:
    second = a_stream("Good", "bye", stream_id="str_2")
    async with StrictPusher() as server:
        async with sink_of(server, max_messages_per_second=1) as sink:
            await send_all(sink, ANSWER)
            await server.has(4)
            await send_all(sink, second[:2])
            await server.has(6)
            assert now() < 0.1
            await send_all(sink, second[2:])
        got = server.events("chat")
    assert fold([event for event in got if event.stream_id == "str_2"]) == fold(second)


@in_leaping_time
async def test_neighbouring_deltas_go_as_one_message_a_tenth_of_a_second() -> None:
    answer = a_stream(*(f" {number}" for number in range(200)))
    async with StrictPusher() as server:
        async with sink_of(server) as sink:
            await send_all(sink, answer, interval=0.01)
            took = now()
        got = server.events("chat")
    assert fold(got) == fold(answer)
    assert took == pytest.approx(2.02, abs=0.05)
    deltas = [sent.at for sent in server.sent if sent.name == "text_delta"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(deltas[1:-1])]
    assert max(gaps) < 0.13
    assert min(gaps) > 0.09
    assert 18 <= len(deltas) <= 23


@in_leaping_time
async def test_what_is_no_delta_goes_at_once_with_what_is_held_before_it() -> None:
    async with StrictPusher() as server:
        async with sink_of(server, max_messages_per_second=1) as sink:
            await send_all(sink, ANSWER[:2])
            await server.has(2)
            await send_all(sink, ANSWER[2:])
            await server.has(5)
            assert now() < 0.1
        assert [asked.path for asked in server.asked] == ["/apps/1234/batch_events"] * 2
        assert [asked.messages for asked in server.asked] == [2, 3]


@in_leaping_time
async def test_in_the_long_run_no_more_messages_go_than_may_whatever_is_sent() -> None:
    # Deltas of two choices in turn can't be merged: one message each.
    events: list[LLMEvent] = [meta(0), *(text(seq, "a", choice=seq % 2) for seq in range(1, 100))]
    async with StrictPusher() as server:
        async with sink_of(server, max_messages_per_second=20) as sink:
            await send_all(sink, events)
        at = server.paces()
        assert server.events("chat") == events
    for start, end in itertools.combinations(range(len(at)), 2):
        assert end - start + 1 <= 10 + 20 * (at[end] - at[start]) + 1e-6
    assert now() == pytest.approx((100 - 10) / 20, abs=0.2)


@in_leaping_time
async def test_a_batch_has_ten_messages_at_most() -> None:
    events: list[LLMEvent] = [meta(0), *(text(seq, "a", choice=seq % 2) for seq in range(1, 100))]
    async with StrictPusher() as server:
        async with sink_of(server, max_messages_per_second=math.inf) as sink:
            await send_all(sink, events)
        assert max(asked.messages for asked in server.asked) == 10
        assert server.refused == []
        assert server.events("chat") == events


@in_leaping_time
async def test_what_gathers_while_pusher_is_slow_is_merged_as_far_as_one_message_holds() -> None:
    pieces = a_stream(*("x" * 500 for _ in range(200)))
    async with StrictPusher() as server:
        async with sink_of(server) as sink:
            await send_all(sink, pieces[:2])
            await server.has(2)
            server.hold(True)
            await send_all(sink, pieces[2:])
            await turns()
            server.hold(False)
        assert "chunk" not in names(server)
        assert max(len(sent.data.encode()) for sent in server.sent) <= 10_000
        # 100 KB of text in some 12 messages of up to 10 KB; their JSON counts before the merging, so no fuller.
        assert len(server.sent) < 25
        assert fold(server.events("chat")) == fold(pieces)


@pytest.mark.parametrize("piece", ["x", "😀", '"\\', "\x00", "שלום"])
@in_leaping_time
async def test_an_event_above_ten_kilobytes_goes_in_parts_that_the_server_takes(piece: str) -> None:
    events = [meta(0), text(1, piece * (200_000 // len(piece))), usage(2), done(3)]
    async with StrictPusher() as server:
        async with sink_of(server, max_messages_per_second=math.inf, max_event_bytes=10_240) as sink:
            await send_all(sink, events)
        assert server.refused == []
        assert server.events("chat") == events
        assert fold(server.events("chat")) == fold(events)


@in_leaping_time
async def test_a_server_of_one_s_own_may_take_larger_messages() -> None:
    async with StrictPusher(max_event_bytes=1_000_000) as server:
        async with sink_of(server, max_event_bytes=900_000) as sink:
            await send_all(sink, [meta(0), text(1, "x" * 800_000), done(2)])
        assert names(server) == ["meta", "text_delta", "done"]
        # Each is large enough for a request of its own: signing ten of them at once would hold up the loop.
        assert max(len(asked.body) for asked in server.asked) < 1_000_000


@in_leaping_time
async def test_several_channels_get_the_same_in_order() -> None:
    channels = [f"room-{number}" for number in range(100)]
    async with StrictPusher() as server:
        async with sink_of(server, channels) as sink:
            await pump(source(ANSWER), sink)
        assert {asked.path for asked in server.asked} == {"/apps/1234/events"}
        for channel in (channels[0], channels[-1]):
            assert fold(server.events(channel)) == fold(ANSWER)
        assert server.refused == []


@in_leaping_time
async def test_one_connection_serves_and_one_request_is_under_way_at_a_time() -> None:
    answer = a_stream(*(f" {number}" for number in range(100)))
    async with StrictPusher() as server:
        async with sink_of(server, max_messages_per_second=math.inf) as sink:
            await send_all(sink, answer, interval=0.001)
        assert len(server.asked) > 20
        assert len({asked.connection for asked in server.asked}) == 1
        assert server.most_under_way == 1


@in_leaping_time
async def test_a_full_queue_makes_send_wait_and_room_lets_it_go_on() -> None:
    events: list[LLMEvent] = [meta(0), *(text(seq, "a", choice=seq % 2) for seq in range(1, 40))]
    async with StrictPusher() as server:
        server.hold(True)
        async with sink_of(server, max_messages_per_second=math.inf, max_queue=10) as sink:
            sending = asyncio.create_task(send_all(sink, events))
            await asyncio.sleep(1)
            assert not sending.done()
            server.hold(False)
            await sending
        assert server.events("chat") == events


@in_leaping_time
async def test_deltas_that_merge_do_not_fill_the_queue_but_their_bytes_do() -> None:
    answer = a_stream(*("x" * 100 for _ in range(200)))
    async with StrictPusher() as server:
        server.hold(True)
        async with sink_of(server, max_queue=3, max_queue_bytes=20_000) as sink:
            sending = asyncio.create_task(send_all(sink, answer))
            await asyncio.sleep(1)
            assert not sending.done()
            server.hold(False)
            await sending
        assert positions(server.events("chat")) == positions(answer)


@in_leaping_time
async def test_a_cancelled_send_that_waited_for_room_put_nothing_in() -> None:
    events: list[LLMEvent] = [meta(0), *(text(seq, "a", choice=seq % 2) for seq in range(1, 60))]
    async with StrictPusher() as server:
        server.hold(True)
        async with sink_of(server, max_messages_per_second=math.inf, max_queue=10) as sink:
            for event in events:
                try:
                    async with asyncio.timeout(0.1):
                        await sink.send(event)
                except TimeoutError:
                    server.hold(False)
                    await sink.send(event)
        assert server.events("chat") == events
        assert len(server.sent) == len(events)


@in_leaping_time
async def test_a_repeat_is_not_sent_again() -> None:
    async with StrictPusher() as server:
        async with sink_of(server) as sink:
            await send_all(sink, [*ANSWER[:2], *ANSWER[:2], *ANSWER[2:]])
        got = [decode_event(sent.data) for sent in server.sent]
    assert positions(got) == positions(ANSWER)


@in_leaping_time
async def test_an_event_without_json_is_refused_and_others_may_follow() -> None:
    async with StrictPusher() as server:
        async with sink_of(server) as sink:
            await sink.send(meta(0))
            with pytest.raises(MalformedEventError):
                await sink.send(text(1, "\ud800"))
            await sink.send(text(1, "a"))
        assert server.events("chat") == [meta(0), text(1, "a")]


@in_leaping_time
async def test_text_of_any_script_is_sent_as_utf_8() -> None:
    event = text(0, "שלום 😀 \x00 漢字 \u2028")
    async with StrictPusher() as server:
        async with sink_of(server) as sink:
            await sink.send(event)
        (asked,) = server.asked
    assert "שלום 😀".encode() in asked.body
    assert json.loads(asked.body)["data"] == encode_event(event).decode()
    assert {name.lower(): value for name, value in asked.headers.items()}["content-type"] == "application/json"


@in_leaping_time
async def test_a_tool_call_keeps_its_parts_together() -> None:
    call: list[LLMEvent] = [
        meta(0),
        ToolCallDelta(stream_id=STREAM, seq=1, index=0, id="c", name="f", arguments="{"),
        *(ToolCallDelta(stream_id=STREAM, seq=seq, index=0, arguments="1") for seq in range(2, 50)),
        usage(50),
        done(51),
    ]
    async with StrictPusher() as server:
        async with sink_of(server) as sink:
            await send_all(sink, call)
        assert fold(server.events("chat")) == fold(call)
        assert len(server.sent) < 8


@in_leaping_time
async def test_leaving_by_an_exception_sends_what_is_held_for_a_second_at_most() -> None:
    async def fail(server: StrictPusher) -> None:
        async with sink_of(server) as sink:
            await send_all(sink, ANSWER[:3])
            raise ZeroDivisionError

    async with StrictPusher() as server:
        with pytest.raises(ZeroDivisionError):
            await fail(server)
        assert fold(server.events("chat")) == fold(ANSWER[:3])
        server.hold(True)
        began = now()
        with pytest.raises(ZeroDivisionError):
            await fail(server)
        assert now() - began == pytest.approx(1.0, abs=0.1)


@in_leaping_time
async def test_closing_may_be_cancelled_and_leaves_nothing_behind() -> None:
    async with StrictPusher() as server:
        server.hold(True)
        sink = await sink_of(server).__aenter__()
        await send_all(sink, ANSWER)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await sink.aclose()
        await sink.aclose()


@in_leaping_time
async def test_a_send_that_waits_for_room_hears_that_the_sink_was_closed() -> None:
    async with StrictPusher() as server:
        server.hold(True)
        sink = await sink_of(server, max_queue=1).__aenter__()
        sending = asyncio.create_task(send_all(sink, [*ANSWER[:1], *(text(n, choice=n % 2) for n in range(1, 20))]))
        await asyncio.sleep(0.5)
        closing = asyncio.create_task(sink.aclose())
        with pytest.raises(ClosedError):
            await sending
        server.hold(False)
        await closing


@in_leaping_time
async def test_a_sink_is_entered_once() -> None:
    async with StrictPusher() as server, sink_of(server) as sink:
        with pytest.raises(ClosedError):
            await sink.__aenter__()
