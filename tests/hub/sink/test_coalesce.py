"""Merging deltas by time and size, losing and doubling nothing."""

from __future__ import annotations

import asyncio

import pytest

from hub.completion import fold
from hub.events import LLMEvent
from hub.sink import Coalesce
from sinks.memory import MemorySink

from ...contracts.samples import (
    FailingSink,
    GatedSink,
    RandomStream,
    SlowSink,
    a_stream,
    in_standing_time,
    meta,
    now,
    positions,
    said,
    text,
    unmergeable,
    words,
)

WHOLE = a_stream("Hello", " wide", " world")
SEEDS = range(20)


@in_standing_time
async def test_the_first_delta_goes_on_at_once_also_right_behind_meta() -> None:
    sink = MemorySink()
    async with Coalesce(sink) as coalesce:
        await coalesce.send(meta(0))
        await coalesce.send(text(1))
        assert sink.events == [meta(0), text(1)]


@in_standing_time
async def test_deltas_within_the_delay_go_as_one_when_it_is_over() -> None:
    sink = MemorySink()
    async with Coalesce(sink, max_delay=0.05) as coalesce:
        for event in [meta(0), *words(10)]:
            await coalesce.send(event)
        assert len(sink.events) == 2
        await asyncio.sleep(0.049)
        assert len(sink.events) == 2
        await asyncio.sleep(0.002)
        assert [(event.seq, event.span) for event in sink.events] == [(0, 1), (1, 1), (10, 9)]
    assert said(sink.events) == said(words(10))


@in_standing_time
async def test_a_delta_is_held_no_longer_than_the_delay() -> None:
    arrivals: dict[int, float] = {}

    class Timed(MemorySink):
        async def send(self, event: LLMEvent) -> None:
            arrivals.update(dict.fromkeys(positions([event]), now()))

    sent: dict[int, float] = {}
    async with Coalesce(Timed(), max_delay=0.05) as coalesce:
        for event in words(200, first=0):
            sent[event.seq] = now()
            await coalesce.send(event)
            await asyncio.sleep(0.007 + 0.09 * (event.seq % 17 == 0))
    assert set(arrivals) == set(sent)
    assert max(arrivals[seq] - sent[seq] for seq in sent) < 0.051


@in_standing_time
async def test_a_delta_after_a_pause_goes_on_at_once() -> None:
    sink = MemorySink()
    async with Coalesce(sink, max_delay=0.05) as coalesce:
        for event in words(3, first=0):
            await coalesce.send(event)
            assert sink.events[-1] == event
            await asyncio.sleep(0.06)


@in_standing_time
async def test_so_much_text_goes_on_without_waiting() -> None:
    sink = MemorySink()
    async with Coalesce(sink, max_delay=10, max_bytes=8) as coalesce:
        for seq in range(4):
            await coalesce.send(text(seq, "😀"))
        assert [(event.seq, event.span) for event in sink.events] == [(0, 1), (2, 2)]


@in_standing_time
async def test_any_other_event_goes_at_once_behind_what_is_held() -> None:
    sink = MemorySink()
    async with Coalesce(sink, max_delay=10) as coalesce:
        for event in WHOLE:
            await coalesce.send(event)
        assert [event.type for event in sink.events] == ["meta", "text_delta", "text_delta", "usage", "done"]
    assert fold(sink.events) == fold(WHOLE)


@pytest.mark.parametrize("seed", SEEDS)
@in_standing_time
async def test_coalescing_loses_and_doubles_nothing(seed: int) -> None:
    stream = RandomStream(seed, snapshots=seed % 2 == 0).events
    sink = MemorySink()
    async with Coalesce(sink, max_bytes=20) as coalesce:
        for event in stream:
            await coalesce.send(event)
            await asyncio.sleep(0.013 * (event.seq % 5))
    assert positions(sink.events) == list(range(len(stream)))
    assert fold(sink.events) == fold(stream)


@pytest.mark.parametrize("seed", SEEDS)
@in_standing_time
async def test_cancelled_sends_lose_nothing_and_repeat_only_what_was_sent(seed: int) -> None:
    stream = RandomStream(seed).events
    sink = SlowSink(0.01)
    async with Coalesce(sink, max_bytes=6, max_delay=0.02) as coalesce:
        for event in stream:
            patience = 0.003 * ((seed + event.seq) % 5)
            while True:
                try:
                    async with asyncio.timeout(patience):
                        await coalesce.send(event)
                    break
                except TimeoutError:  # sent again, as a pump does
                    patience += 0.004
    assert fold(sink.events) == fold(stream)
    seen: dict[int, LLMEvent] = {}
    for event in sink.events:
        assert seen.setdefault(event.seq, event) == event, "a repeat differs from what was sent first"
    assert positions(list(seen.values())) == list(range(len(stream)))


@in_standing_time
async def test_an_error_of_a_late_send_is_raised_by_the_next_send() -> None:
    sink = FailingSink(at=1)
    async with Coalesce(sink) as coalesce:
        for event in words(3, first=0):
            await coalesce.send(event)
        await asyncio.sleep(1)
        for seq in (3, 4):
            with pytest.raises(ConnectionError):
                await coalesce.send(text(seq))
    assert sink.closed == 1


@in_standing_time
async def test_an_error_that_no_send_has_raised_is_raised_by_aclose() -> None:
    sink = FailingSink(at=1)
    coalesce = await Coalesce(sink).__aenter__()
    for event in words(3, first=0):
        await coalesce.send(event)
    with pytest.raises(ConnectionError):
        await coalesce.aclose()
    await coalesce.aclose()
    assert sink.closed == 1


@in_standing_time
async def test_an_error_of_the_sink_never_hides_what_ends_the_block() -> None:
    sink = FailingSink(at=1)

    async def work() -> None:
        async with Coalesce(sink) as coalesce:
            for event in words(3, first=0):
                await coalesce.send(event)
            raise KeyError

    with pytest.raises(KeyError):
        await work()
    assert sink.closed == 1


@in_standing_time
async def test_leaving_a_coalesce_by_cancellation_takes_a_second_at_most() -> None:
    sink = GatedSink()

    async def work() -> None:
        async with Coalesce(sink) as coalesce:
            await coalesce.send(meta(0))

    working = asyncio.create_task(work())
    await sink.reached.wait()
    began = now()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert now() - began == pytest.approx(1.0)
    assert sink.closed == 1


@in_standing_time
async def test_closing_sends_again_what_a_late_send_was_sending() -> None:
    sink = GatedSink()
    async with Coalesce(sink, max_delay=0.01) as coalesce:
        sink.gate.set()
        for event in words(4, first=0):
            await coalesce.send(event)
        sink.gate.clear()
        sink.reached.clear()
        await sink.reached.wait()
        asyncio.get_running_loop().call_later(1, sink.gate.set)
    assert positions(sink.events) == [0, 1, 2, 3]


@in_standing_time
async def test_a_slow_sink_holds_the_producer_back_through_a_coalesce() -> None:
    sink = SlowSink(1.0)
    began = now()
    async with Coalesce(sink) as coalesce:
        for event in unmergeable(5):
            await coalesce.send(event)
    assert now() - began == pytest.approx(5.0)
