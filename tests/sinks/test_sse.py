"""The sink whose other side is the body of an SSE response."""

from __future__ import annotations

import asyncio

import pytest

from hub.errors import ClosedError, SinkError
from hub.formats import sse
from hub.sink import pump
from sinks.sse import MAX_CHUNK_BYTES, SSESink

from ..contracts.samples import a_stream, in_standing_time, meta, now, source, text, turns, words

STREAM = a_stream("Hello", " world")


async def read(sink: SSESink) -> bytes:
    return b"".join([piece async for piece in sink])


@in_standing_time
async def test_what_is_sent_comes_out_as_frames_and_ends() -> None:
    sink = SSESink()
    reading = asyncio.create_task(read(sink))
    await pump(source(STREAM), sink)
    await sink.aclose()
    assert await reading == sse.frames(STREAM)


@in_standing_time
async def test_what_was_sent_before_the_reader_came_is_there() -> None:
    sink = SSESink()
    await pump(source(STREAM), sink)
    await sink.aclose()
    assert await read(sink) == sse.frames(STREAM)


@in_standing_time
async def test_an_event_comes_out_at_once_and_neighbours_in_one_piece() -> None:
    sink = SSESink()
    reader = aiter(sink)
    await sink.send(STREAM[0])
    assert await anext(reader) == sse.frame(STREAM[0])
    waiting = asyncio.ensure_future(anext(reader))
    await turns()
    await sink.send(STREAM[1])
    assert await waiting == sse.frame(STREAM[1])
    for event in STREAM[2:]:
        await sink.send(event)
    assert await anext(reader) == sse.frames(STREAM[2:])
    await reader.aclose()


@in_standing_time
async def test_a_piece_is_bounded_unless_one_frame_is_larger() -> None:
    sink = SSESink()
    events = [text(seq, "x" * 30_000) for seq in range(5)] + [text(5, "x" * 100_000), text(6)]
    for event in events:
        await sink.send(event)
    await sink.aclose()
    pieces = [piece async for piece in sink]
    assert b"".join(pieces) == sse.frames(events)
    assert [len(piece) > MAX_CHUNK_BYTES for piece in pieces] == [False, False, False, True, False]


@in_standing_time
async def test_a_reader_that_stops_reading_holds_the_producer_back() -> None:
    sink = SSESink(max_queue=3)
    for event in words(3):
        await sink.send(event)
    sending = asyncio.ensure_future(sink.send(text(4)))
    await turns()
    assert not sending.done()
    reader = aiter(sink)
    assert await anext(reader) == sse.frames(words(3))
    await sending
    await reader.aclose()


@in_standing_time
async def test_a_reader_that_takes_nothing_for_too_long_fails_the_send() -> None:
    sink = SSESink(max_queue=1, stuck_timeout=30)
    await sink.send(meta(0))
    began = now()
    with pytest.raises(SinkError, match="nothing for 30 s"):
        await sink.send(text(1))
    assert now() - began == pytest.approx(30)


@in_standing_time
async def test_once_the_reader_has_left_send_raises_also_one_that_waits() -> None:
    sink = SSESink(max_queue=1)
    reader = aiter(sink)
    await sink.send(meta(0))
    await anext(reader)
    await sink.send(text(1))
    sending = asyncio.ensure_future(sink.send(text(2)))
    await turns()
    await reader.aclose()
    for sent in (sending, sink.send(text(3))):
        with pytest.raises(SinkError, match="left"):
            await sent


@in_standing_time
async def test_a_cancelled_reader_has_left() -> None:
    sink = SSESink()
    reading = asyncio.create_task(read(sink))
    await turns()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(SinkError, match="left"):
        await sink.send(meta(0))


@in_standing_time
async def test_a_send_that_waits_ends_when_the_sink_is_closed() -> None:
    sink = SSESink(max_queue=1)
    await sink.send(meta(0))
    sending = asyncio.ensure_future(sink.send(text(1)))
    await turns()
    await sink.aclose()
    with pytest.raises(ClosedError):
        await sending
    assert await read(sink) == sse.frame(meta(0))


async def test_it_is_read_once() -> None:
    sink = SSESink()
    await sink.aclose()
    assert await read(sink) == b""
    with pytest.raises(ClosedError, match="once"):
        aiter(sink)
