"""From a source to a sink, with an end in every case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from hub.client import OpenAIClient
from hub.completion import fold
from hub.errors import SequenceGapError
from hub.events import EndStatus, LLMEvent
from hub.result import Failure
from hub.sink import pump
from hub.testing import Gate, ScriptedEndpoint, chat_reply, check_grammar
from sinks.memory import MemorySink

from ...contracts.samples import (
    FailingSink,
    GatedSink,
    a_stream,
    done,
    in_standing_time,
    now,
    said,
    source,
    text,
    turns,
    usage,
)

WHOLE = a_stream("Hello", " wide", " world")


class Source:
    """A source that can be left early: gives `events`, waits for ever, and tells whether it was closed."""

    def __init__(self, events: list[LLMEvent], *, error: Exception | None = None) -> None:
        self.closed = asyncio.Event()
        self.waiting = asyncio.Event()
        self._events = events
        self._error = error

    async def __aiter__(self) -> AsyncGenerator[LLMEvent, None]:
        try:
            for event in self._events:
                yield event
            if self._error is not None:
                raise self._error
            self.waiting.set()
            await asyncio.Event().wait()
        finally:
            self.closed.set()


class EndableSource(Source):
    """One that knows better than the events how it ends: two words are still unread, and were paid for."""

    def __init__(self, events: list[LLMEvent]) -> None:
        super().__init__(events)
        self.asked: list[tuple[EndStatus, Failure | None]] = []

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        self.asked.append((status, failure))
        seq = len(self._events)
        used = usage(seq + 2, output_tokens=99)
        return [text(seq, "un"), text(seq + 1, "read"), used, done(seq + 3, status=status, usage=used.counts())]


async def test_pump_sends_everything_in_order_and_returns_the_fold() -> None:
    sink = MemorySink()
    assert await pump(source(WHOLE), sink) == fold(WHOLE)
    assert sink.events == WHOLE
    assert not sink.is_closed


@in_standing_time
async def test_a_pump_cancelled_while_it_waits_sends_usage_and_done_and_goes_on_cancelling() -> None:
    events, sink = Source(WHOLE[:3]), MemorySink()
    pumping = asyncio.create_task(pump(events, sink))
    await events.waiting.wait()
    pumping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pumping
    check_grammar(sink.events)
    assert [event.type for event in sink.events[3:]] == ["usage", "done"]
    assert sink.result().status == "cancelled"
    assert events.closed.is_set()


@in_standing_time
async def test_a_pump_cancelled_while_it_sends_sends_that_event_again_unchanged() -> None:
    sink = GatedSink()
    events = EndableSource(WHOLE[:3])
    pumping = asyncio.create_task(pump(events, sink))
    for event in WHOLE[:2]:  # `meta` and a word, which arrives but is cancelled
        await sink.reached.wait()
        sink.reached.clear()
        sink.events.append(event)
        if event.type == "meta":
            sink.gate.set()
            await asyncio.sleep(0)
            sink.gate.clear()
    sink.gate.set()
    pumping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pumping
    assert fold(sink.events).status == "cancelled"
    assert events.closed.is_set()


@in_standing_time
async def test_a_cancelled_pump_sends_what_its_source_says_is_still_due() -> None:
    events, sink = EndableSource(WHOLE[:3]), MemorySink()
    pumping = asyncio.create_task(pump(events, sink))
    await events.waiting.wait()
    pumping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pumping
    assert events.asked == [("cancelled", None)]
    check_grammar(sink.events)
    assert [event.type for event in sink.events[3:]] == ["text_delta", "usage", "done"]
    assert said(sink.events) == "Hello wideunread"
    assert sink.result().usage == usage(0, output_tokens=99).counts()


@in_standing_time
async def test_what_may_have_arrived_is_never_merged_with_what_follows() -> None:
    class Losing(MemorySink):
        """Takes the third event, but never says so."""

        async def send(self, event: LLMEvent) -> None:
            await super().send(event)
            if len(self.events) == 3:
                arrived.set()
                await asyncio.Event().wait()

    arrived = asyncio.Event()
    sink = Losing()
    pumping = asyncio.create_task(pump(EndableSource(WHOLE[:3]), sink))
    await arrived.wait()
    pumping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pumping
    assert sink.events[2] == sink.events[3] == WHOLE[2]
    assert sink.result().text == "Hello wideunread"


@in_standing_time
async def test_a_sink_that_takes_no_end_delays_the_cancellation_by_a_second_at_most() -> None:
    sink = GatedSink()
    pumping = asyncio.create_task(pump(source(WHOLE), sink))
    await sink.reached.wait()
    pumping.cancel()
    began = now()
    with pytest.raises(asyncio.CancelledError):
        await pumping
    assert now() - began == pytest.approx(1.0)


@in_standing_time
async def test_a_pump_cancelled_before_the_first_event_of_an_unknown_stream_sends_nothing() -> None:
    events, sink = Source([]), MemorySink()
    pumping = asyncio.create_task(pump(events, sink))
    await events.waiting.wait()
    pumping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pumping
    assert sink.events == []


@in_standing_time
async def test_a_pump_cancelled_twice_ends_at_once() -> None:
    sink = GatedSink()
    pumping = asyncio.create_task(pump(source(WHOLE), sink))
    await sink.reached.wait()
    pumping.cancel()
    await turns()
    pumping.cancel()
    began = now()
    with pytest.raises(asyncio.CancelledError):
        await pumping
    assert now() == began


@in_standing_time
async def test_a_sink_that_fails_raises_from_pump_and_the_source_is_closed() -> None:
    events, sink = Source(WHOLE), FailingSink(at=2)
    with pytest.raises(ConnectionError, match="the transport is gone"):
        await pump(events, sink)
    assert events.closed.is_set()
    assert sink.events == WHOLE[:2]


@in_standing_time
async def test_a_source_that_fails_raises_from_pump_and_the_stream_still_ends() -> None:
    events, sink = Source(WHOLE[:3], error=ValueError("a bug")), MemorySink()
    with pytest.raises(ValueError, match="a bug"):
        await pump(events, sink)
    check_grammar(sink.events)
    result = sink.result()
    assert (result.status, result.error and result.error.code) == ("failed", "interrupted")
    assert "a bug" not in repr(result)


@in_standing_time
async def test_a_source_with_a_hole_raises_from_pump_and_the_stream_still_ends() -> None:
    sink = MemorySink()
    with pytest.raises(SequenceGapError):
        await pump(source([*WHOLE[:2], WHOLE[3]]), sink)
    check_grammar(sink.events)


# With the real client


@pytest.fixture
async def held_back() -> AsyncIterator[ScriptedEndpoint]:
    """An endpoint that says one word and then nothing more."""
    async with asyncio.timeout(10), ScriptedEndpoint(chat_reply(["Hello", Gate(), " world"])) as endpoint:
        yield endpoint


def client_of(endpoint: ScriptedEndpoint) -> OpenAIClient:
    return OpenAIClient("scripted", base_url=endpoint.base_url, api_key="EMPTY")


async def test_a_sink_that_fails_closes_the_connection_to_the_endpoint(held_back: ScriptedEndpoint) -> None:
    async with client_of(held_back) as client:
        with pytest.raises(ConnectionError):
            await pump(client.stream(messages=[{"role": "user", "content": "Hello"}]), FailingSink(at=1))
        await held_back.all_closed()


async def test_a_cancelled_pump_closes_the_connection_to_the_endpoint(held_back: ScriptedEndpoint) -> None:
    class Telling(MemorySink):
        async def send(self, event: LLMEvent) -> None:
            await super().send(event)
            if event.type == "text_delta":
                said_something.set()

    said_something = asyncio.Event()
    sink = Telling()
    async with client_of(held_back) as client:
        pumping = asyncio.create_task(pump(client.stream(messages=[{"role": "user", "content": "Hello"}]), sink))
        await said_something.wait()
        pumping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pumping
        await held_back.all_closed()
    check_grammar(sink.events)
    result = sink.result()
    assert (result.text, result.status) == ("Hello", "cancelled")
    assert result.usage is not None
    assert result.usage.output_tokens > 0
