"""The sink whose other side reads a WebSocket."""

from __future__ import annotations

import asyncio

import pytest

from hub.errors import ClosedError, ConfigurationError, MalformedEventError, SinkError, SinkUnavailableError
from hub.events import encode_event
from hub.sink import FanOut, pump
from sinks.memory import MemorySink
from sinks.websocket import WebSocketSink

from ..contracts.samples import a_stream, in_standing_time, meta, now, source, text, turns
from ..contracts.sink_sides_websocket import Peer

STREAM = a_stream("Hello", " world")


@in_standing_time
async def test_each_event_is_one_text_message_of_its_json() -> None:
    peer = Peer()
    async with WebSocketSink(peer.websocket) as sink:
        await pump(source(STREAM), sink)
    accept, *messages, close = peer.told
    assert accept["type"] == "websocket.accept"
    assert messages == [{"type": "websocket.send", "text": encode_event(event).decode()} for event in STREAM]
    assert close == {"type": "websocket.close", "code": 1000, "reason": ""}


@in_standing_time
async def test_a_websocket_that_was_accepted_is_not_accepted_again() -> None:
    peer = Peer()
    await peer.websocket.accept()
    async with WebSocketSink(peer.websocket) as sink:
        await sink.send(STREAM[0])
    assert [message["type"] for message in peer.told] == ["websocket.accept", "websocket.send", "websocket.close"]


@pytest.mark.parametrize("count", [0, 1, len(STREAM) - 1])
@in_standing_time
async def test_a_reader_knows_by_the_code_that_the_answer_is_not_whole(count: int) -> None:
    peer = Peer()
    async with WebSocketSink(peer.websocket) as sink:
        for event in STREAM[:count]:
            await sink.send(event)
    assert peer.code == 1011


@in_standing_time
async def test_a_block_that_fails_closes_with_1011_and_its_own_error_goes_on() -> None:
    peer = Peer()
    with pytest.raises(ZeroDivisionError):
        async with WebSocketSink(peer.websocket):
            raise ZeroDivisionError
    assert peer.code == 1011


@in_standing_time
async def test_several_streams_go_over_one_websocket_that_is_kept_open() -> None:
    peer = Peer()
    for _ in range(2):
        async with WebSocketSink(peer.websocket, keep_open=True) as sink:
            await pump(source(STREAM), sink)
    assert peer.events() == STREAM * 2
    assert peer.code is None


@in_standing_time
async def test_a_reader_that_takes_nothing_is_given_up_after_a_while() -> None:
    peer = Peer()
    async with WebSocketSink(peer.websocket, stuck_timeout=7.0, keep_open=True) as sink:
        await sink.send(STREAM[0])
        peer.hold(True)
        began_at = now()
        with pytest.raises(SinkUnavailableError, match="took nothing for 7 s"):
            await sink.send(STREAM[1])
        assert now() - began_at == pytest.approx(7.0)
        peer.hold(False)
        with pytest.raises(SinkUnavailableError):
            await sink.send(STREAM[1])
    assert peer.code == 1011
    assert peer.events() == STREAM[:1]


@in_standing_time
async def test_closing_before_a_stuck_reader_takes_a_second_at_most_once_it_failed() -> None:
    peer = Peer()
    sink = await WebSocketSink(peer.websocket, stuck_timeout=7.0).__aenter__()
    peer.hold(True)
    with pytest.raises(SinkUnavailableError):
        await sink.send(STREAM[0])
    began_at = now()
    await sink.aclose()
    assert now() - began_at == pytest.approx(1.0)


@in_standing_time
async def test_closing_waits_no_longer_for_the_reader_than_a_send_does() -> None:
    peer = Peer()
    sink = await WebSocketSink(peer.websocket, stuck_timeout=7.0).__aenter__()
    await sink.send(STREAM[0])
    peer.hold(True)
    began_at = now()
    await sink.aclose()
    assert now() - began_at == pytest.approx(7.0)


@in_standing_time
async def test_a_reader_that_left_fails_the_next_send_and_closing_is_quiet() -> None:
    peer = Peer()
    async with WebSocketSink(peer.websocket) as sink:
        await sink.send(STREAM[0])
        peer.leave()
        with pytest.raises(SinkError, match="has left") as caught:
            await sink.send(STREAM[1])
        assert not caught.value.retryable
    assert peer.events() == STREAM[:1]


@in_standing_time
async def test_a_reader_that_left_once_it_had_everything_is_no_error() -> None:
    peer = Peer()
    async with WebSocketSink(peer.websocket) as sink:
        await pump(source(STREAM), sink)
        peer.leave()


@in_standing_time
async def test_a_reader_that_left_before_it_was_accepted_fails_the_entering() -> None:
    peer = Peer()
    peer.leave()
    with pytest.raises(SinkError, match="before it was accepted"):
        await WebSocketSink(peer.websocket).__aenter__()


@in_standing_time
async def test_a_websocket_that_somebody_else_closed_fails_the_next_send() -> None:
    peer = Peer()
    async with WebSocketSink(peer.websocket) as sink:
        await peer.websocket.close()
        with pytest.raises(SinkError):
            await sink.send(STREAM[0])
    assert [message["type"] for message in peer.told] == ["websocket.accept", "websocket.close"]


@in_standing_time
async def test_an_event_without_json_is_refused_and_others_are_taken() -> None:
    peer = Peer()
    async with WebSocketSink(peer.websocket) as sink:
        await sink.send(meta(0))
        with pytest.raises(MalformedEventError):
            await sink.send(text(1, "\ud800"))
        await sink.send(text(1, "a"))
    assert peer.events() == [meta(0), text(1, "a")]


@in_standing_time
async def test_a_sink_is_entered_once() -> None:
    sink = WebSocketSink(Peer().websocket)
    async with sink:
        with pytest.raises(ClosedError):
            await sink.__aenter__()
    with pytest.raises(ClosedError):
        await sink.__aenter__()


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_that_makes_no_sense_is_refused(timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="stuck_timeout"):
        WebSocketSink(None, stuck_timeout=timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_gone", [True, False])
@in_standing_time
async def test_a_fan_out_goes_on_without_a_reader_that_is_stuck_or_gone(is_gone: bool) -> None:
    peer, kept = Peer(), MemorySink()
    events = a_stream(*(f" {n}" for n in range(50)))
    async with WebSocketSink(peer.websocket, stuck_timeout=2.0) as sink, FanOut(sink, kept) as both:
        await both.send(events[0])
        await turns()
        peer.leave() if is_gone else peer.hold(True)
        for event in events[1:]:
            await both.send(event)
            await asyncio.sleep(0.1)
        assert [failed for failed, _ in both.failures] == [sink]
    assert kept.events == events


@in_standing_time
async def test_a_reader_away_for_five_seconds_loses_nothing() -> None:
    peer = Peer()
    async with WebSocketSink(peer.websocket) as sink, FanOut(sink) as both:
        await both.send(STREAM[0])
        await turns()
        peer.hold(True)
        asyncio.get_running_loop().call_later(5.0, peer.hold, False)
        for event in STREAM[1:]:
            await both.send(event)
        await asyncio.sleep(6.0)
    assert peer.events() == STREAM
    assert peer.code == 1000
