"""One stream to several sinks: none harms another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import ConfigurationError, SinkError
from hub.events import LLMEvent, ToolResult
from hub.sink import Coalesce, FanOut, Filter, Sink, pump
from hub.testing import check_grammar
from sinks.memory import MemorySink

from ...contracts.samples import (
    STREAM,
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
    source,
    text,
    turns,
    unmergeable,
    words,
)

WHOLE = a_stream("Hello", " wide", " world")
SEEDS = range(20)


async def test_every_sink_of_a_fan_out_gets_everything_and_is_closed() -> None:
    sinks = [MemorySink() for _ in range(3)]
    async with FanOut(*sinks) as fan_out:
        await pump(source(WHOLE), fan_out)
    assert [sink.events for sink in sinks] == [WHOLE] * 3
    assert all(sink.is_closed for sink in sinks)
    assert fan_out.failures == []


@in_standing_time
async def test_sinks_that_fail_lag_or_hang_harm_no_other() -> None:
    reported: list[tuple[Sink, Exception]] = []
    whole, slow, failing, hanging = MemorySink(), SlowSink(0.01), FailingSink(at=1), GatedSink()
    stream = a_stream(*(f" {n}" for n in range(200)))
    fan_out = FanOut(failing, whole, slow, hanging, on_failure=lambda sink, exc: reported.append((sink, exc)))
    began = now()
    async with fan_out:
        await pump(source(stream), fan_out)
        assert now() == began, "a send waited for a sink"
    assert now() - began == pytest.approx(5.0), "it waited for the queues, for a bounded time"
    assert whole.events == slow.events == stream
    assert failing.events == stream[:1]
    assert reported == fan_out.failures
    assert [(sink, type(exc)) for sink, exc in reported] == [(failing, ConnectionError), (hanging, TimeoutError)]
    assert slow.closed == failing.closed == hanging.closed == 1


@in_standing_time
async def test_a_full_queue_merges_before_its_sink_fails() -> None:
    sink = GatedSink()
    async with FanOut(sink, max_queue=10) as fan_out:
        for event in [meta(0), *words(500)]:
            await fan_out.send(event)
        await sink.reached.wait()
        sink.gate.set()
    assert fan_out.failures == []
    assert positions(sink.events) == list(range(501))
    assert len(sink.events) < 25
    assert said(sink.events) == said(words(500))


@in_standing_time
async def test_a_queue_that_stays_full_fails_only_its_own_sink() -> None:
    hanging, whole = GatedSink(), MemorySink()
    events = unmergeable(50)
    async with FanOut(hanging, whole, max_queue=10) as fan_out:
        for event in events:
            await fan_out.send(event)
        ((sink, error),) = fan_out.failures
        assert sink is hanging
        assert isinstance(error, SinkError)
        assert "lags" in str(error)
        await turns()
        assert hanging.closed == 1, "a sink that failed is closed at once"
    assert whole.events == events
    assert hanging.closed == 1


@in_standing_time
async def test_a_queue_is_bounded_in_characters_too() -> None:
    hanging, whole = GatedSink(), MemorySink()
    output = ToolResult(stream_id=STREAM, seq=31, id="c", name="f", output="x" * 500)
    async with FanOut(hanging, whole, max_queue_chars=1000) as fan_out:
        for seq in range(30):
            await fan_out.send(text(seq, "x" * 30))
        assert fan_out.failures == []
        for event in (output, text(32), text(33)):
            await fan_out.send(event)
        assert [sink for sink, _ in fan_out.failures] == [hanging]
    assert said(whole.events).count("x") == 900


@in_standing_time
async def test_a_producer_that_never_waits_does_not_fill_the_queue_of_a_sink_that_keeps_up() -> None:
    sink = MemorySink()
    events = unmergeable(1000)
    async with FanOut(sink, max_queue=10) as fan_out:
        for event in events:
            await fan_out.send(event)
    assert sink.events == events
    assert fan_out.failures == []


@pytest.mark.parametrize("seed", SEEDS)
@in_standing_time
async def test_a_lagging_sink_gets_every_position_once_and_the_same_fold(seed: int) -> None:
    stream = RandomStream(seed).events
    slow = SlowSink(0.01)
    async with FanOut(slow, MemorySink(), max_queue=150) as fan_out:
        for event in stream:
            await fan_out.send(event)
            if event.seq % 3 == seed % 3:
                await asyncio.sleep(0.01)
    assert fan_out.failures == []
    assert positions(slow.events) == list(range(len(stream)))
    assert fold(slow.events) == fold(stream)


@in_standing_time
async def test_once_every_sink_has_failed_send_raises() -> None:
    async with FanOut(FailingSink(), FailingSink()) as fan_out:
        await fan_out.send(meta(0))
        await turns()
        for seq in (1, 2):
            with pytest.raises(SinkError, match=r"every sink .*, the first one so: the transport is gone$") as caught:
                await fan_out.send(text(seq))
            assert isinstance(caught.value.__cause__, ConnectionError)
    assert len(fan_out.failures) == 2


@in_standing_time
async def test_that_every_sink_failed_at_the_end_is_raised_by_aclose() -> None:
    fan_out = await FanOut(FailingSink(), FailingSink(at=1)).__aenter__()
    await fan_out.send(meta(0))
    await fan_out.send(text(1))
    with pytest.raises(SinkError, match="every sink"):
        await fan_out.aclose()
    await fan_out.aclose()


@in_standing_time
async def test_a_sink_whose_closing_fails_has_failed() -> None:
    class Unclosable(MemorySink):
        async def aclose(self) -> None:
            raise OSError("the last batch was refused")

    whole = MemorySink()
    async with FanOut(Unclosable(), whole) as fan_out:
        await pump(source(WHOLE), fan_out)
    assert [str(exc) for _, exc in fan_out.failures] == ["the last batch was refused"]
    assert whole.events == WHOLE


@in_standing_time
async def test_a_sink_whose_closing_hangs_is_broken_off() -> None:
    class Unclosable(MemorySink):
        async def aclose(self) -> None:
            await asyncio.Event().wait()

    began = now()
    async with FanOut(Unclosable(), MemorySink(), drain_timeout=3.0) as fan_out:
        await fan_out.send(meta(0))
    assert now() - began == pytest.approx(3.0)
    assert [type(exc) for _, exc in fan_out.failures] == [TimeoutError]


@in_standing_time
async def test_a_sink_that_is_cancelled_from_within_has_failed() -> None:
    class Cancelled(MemorySink):
        async def send(self, event: LLMEvent) -> None:
            raise asyncio.CancelledError

    whole = MemorySink()
    async with FanOut(Cancelled(), whole) as fan_out:
        await pump(source(WHOLE), fan_out)
    assert [type(exc) for _, exc in fan_out.failures] == [SinkError]
    assert whole.events == WHOLE


@in_standing_time
async def test_a_report_that_fails_harms_no_one() -> None:
    def report(sink: Sink, exc: Exception) -> None:
        raise ZeroDivisionError

    whole = MemorySink()
    logging.disable(logging.CRITICAL)
    try:
        async with FanOut(FailingSink(), whole, on_failure=report) as fan_out:
            await pump(source(WHOLE), fan_out)
    finally:
        logging.disable(logging.NOTSET)
    assert whole.events == WHOLE


@in_standing_time
async def test_leaving_a_fan_out_by_an_exception_takes_bounded_time_and_keeps_the_exception() -> None:
    async def work() -> None:
        async with FanOut(GatedSink(), drain_timeout=2.0) as fan_out:
            await fan_out.send(meta(0))
            raise KeyError

    began = now()
    with pytest.raises(KeyError):
        await work()
    assert now() - began == pytest.approx(2.0)


@in_standing_time
async def test_leaving_a_fan_out_by_cancellation_takes_a_second_at_most() -> None:
    sink, whole = GatedSink(), MemorySink()

    async def endless() -> AsyncGenerator[LLMEvent, None]:
        for event in WHOLE[:3]:
            yield event
        await asyncio.Event().wait()

    async def work() -> None:
        async with FanOut(sink, whole) as fan_out:
            await pump(endless(), fan_out)

    working = asyncio.create_task(work())
    await turns()
    began = now()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert now() - began == pytest.approx(1.0)
    check_grammar(whole.events)
    assert whole.result().status == "cancelled"


@in_standing_time
async def test_a_fan_out_whose_closing_is_cancelled_leaves_no_tasks() -> None:
    sink = GatedSink()
    fan_out = await FanOut(sink).__aenter__()
    await fan_out.send(meta(0))
    closing = asyncio.create_task(fan_out.aclose())
    await turns()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert sink.closed == 1


class TroubledSink(GatedSink):
    """Tries in vain, and says why."""

    trouble: str | None = "it answered 503"


@pytest.mark.parametrize("sinks", [(), ([MemorySink(), MemorySink()],), (MemorySink(), 5), (MemorySink,)])
def test_what_is_no_sink_is_refused(sinks: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"^A FanOut (needs a sink|sends to sinks)"):
        FanOut(*sinks)


@pytest.mark.parametrize("options", [{"max_queue": 0}, {"max_queue_chars": 0}, {"drain_timeout": -1.0}])
def test_bounds_that_make_no_sense_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError, match="FanOut"):
        FanOut(MemorySink(), **options)


@in_standing_time
async def test_a_sink_that_took_no_end_is_reported_with_what_it_says_is_wrong() -> None:
    behind = TroubledSink(), TroubledSink(), TroubledSink()
    coalesce = Coalesce(behind[1])
    async with coalesce, FanOut(behind[0], coalesce, Filter(behind[2], []), GatedSink(), MemorySink()) as fan_out:
        await fan_out.send(meta(0))
    words = "it took no end within 5 s"
    assert [str(error) for _, error in fan_out.failures] == [f"{words}; the last try failed: it answered 503"] * 3 + [
        words
    ]


@in_standing_time
async def test_a_sink_that_lags_is_reported_with_what_it_says_is_wrong() -> None:
    async with FanOut(TroubledSink(), MemorySink(), max_queue=3) as fan_out:
        for event in unmergeable(10):
            await fan_out.send(event)
        assert [str(error) for _, error in fan_out.failures] == [
            "it lags by 3 events; the last try failed: it answered 503"
        ]


@in_standing_time
async def test_a_drain_that_is_cut_short_says_after_how_long() -> None:
    async with FanOut(GatedSink(), MemorySink(), drain_timeout=15.0) as fan_out:
        await fan_out.send(meta(0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await fan_out.aclose()
    assert [str(error) for _, error in fan_out.failures] == ["it took no end within 1.5 s"]
