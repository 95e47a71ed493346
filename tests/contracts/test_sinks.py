"""What every sink promises, run over each of them and over what wraps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import ClosedError, HubError, MalformedEventError
from hub.events import LLMEvent, decode_event
from hub.sink import Coalesce, FanOut, Sink, pump
from hub.testing import check_grammar
from sinks.memory import MemorySink
from sinks.sse import SSESink

from .samples import RandomStream, a_stream, in_standing_time, meta, positions, source, text

STREAM = a_stream(*(f" {n}" for n in range(50)))
SEEDS = range(8)


@dataclass
class Side:
    """A sink and what its readers got.

    `hold` keeps the other side from taking anything until it is called again with False.
    """

    sink: Sink
    received: Callable[[], list[LLMEvent]]
    hold: Callable[[bool], None]


class HeldSink(MemorySink):
    """A MemorySink that can be held."""

    def __init__(self) -> None:
        super().__init__()
        self._free = asyncio.Event()
        self._free.set()

    def hold(self, held: bool) -> None:
        """Take nothing while `held`."""
        (self._free.clear if held else self._free.set)()

    async def send(self, event: LLMEvent) -> None:
        """Keep the event, once that may be."""
        await self._free.wait()
        await super().send(event)


@asynccontextmanager
async def memory() -> AsyncIterator[Side]:
    sink = HeldSink()
    yield Side(sink, lambda: sink.events, sink.hold)
    await sink.aclose()


@asynccontextmanager
async def server_sent_events() -> AsyncIterator[Side]:
    sink = SSESink(max_queue=4)
    body: list[bytes] = []
    free = asyncio.Event()
    free.set()

    async def read() -> None:
        async for piece in sink:
            body.append(piece)
            await free.wait()

    def received() -> list[LLMEvent]:
        frames = b"".join(body).split(b"\n\n")[:-1]
        return [decode_event(frame.rpartition(b"data: ")[2]) for frame in frames]

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        yield Side(sink, received, lambda held: (free.clear if held else free.set)())
        free.set()
        await sink.aclose()


@asynccontextmanager
async def fan_out() -> AsyncIterator[Side]:
    behind = HeldSink()
    async with FanOut(behind, MemorySink(), max_queue=10) as sink:
        yield Side(sink, lambda: behind.events, behind.hold)


@asynccontextmanager
async def coalesce() -> AsyncIterator[Side]:
    behind = HeldSink()
    async with Coalesce(behind) as sink:
        yield Side(sink, lambda: behind.events, behind.hold)


@asynccontextmanager
async def fan_out_before_coalesce() -> AsyncIterator[Side]:
    behind = HeldSink()
    inner = Coalesce(behind)
    async with inner, FanOut(inner, MemorySink()) as sink:
        yield Side(sink, lambda: behind.events, behind.hold)


OpenSink = Callable[[], AbstractAsyncContextManager[Side]]
SINKS = [memory, server_sent_events, fan_out, coalesce, fan_out_before_coalesce]


@pytest.fixture(params=SINKS, ids=lambda param: param.__name__)
def open_sink(request: pytest.FixtureRequest) -> OpenSink:
    opened: OpenSink = request.param
    return opened


def assert_same(received: list[LLMEvent], sent: list[LLMEvent]) -> None:
    """Every position once and in order, and the same fold."""
    assert positions(received) == positions(sent)
    assert fold(received) == fold(sent)


@in_standing_time
async def test_events_arrive_in_order_and_whole(open_sink: OpenSink) -> None:
    async with open_sink() as side:
        for event in STREAM:
            await side.sink.send(event)
            await asyncio.sleep(0.001)
    assert_same(side.received(), STREAM)


@pytest.mark.parametrize("seed", SEEDS)
@in_standing_time
async def test_any_stream_arrives_whole(open_sink: OpenSink, seed: int) -> None:
    events = RandomStream(seed, snapshots=True).events
    async with open_sink() as side:
        assert await pump(source(events), side.sink) == fold(events)
    assert_same(side.received(), events)


@in_standing_time
async def test_closing_flushes_and_happens_once(open_sink: OpenSink) -> None:
    async with open_sink() as side:
        for event in STREAM[:20]:
            await side.sink.send(event)
        await side.sink.aclose()
        await side.sink.aclose()
    assert_same(side.received(), STREAM[:20])


@in_standing_time
async def test_a_closed_sink_takes_nothing(open_sink: OpenSink) -> None:
    async with open_sink() as side:
        await side.sink.send(STREAM[0])
        await side.sink.aclose()
        for event in (STREAM[1], STREAM[-1]):
            with pytest.raises(ClosedError):
                await side.sink.send(event)
    assert_same(side.received(), STREAM[:1])


@in_standing_time
async def test_a_sink_may_be_closed_without_having_sent(open_sink: OpenSink) -> None:
    async with open_sink() as side:
        await side.sink.aclose()
    assert side.received() == []


@in_standing_time
async def test_a_reader_that_stops_and_goes_on_loses_nothing(open_sink: OpenSink) -> None:
    async with open_sink() as side:
        await side.sink.send(STREAM[0])
        side.hold(True)
        asyncio.get_running_loop().call_later(0.5, side.hold, False)
        for event in STREAM[1:]:
            await side.sink.send(event)
    assert_same(side.received(), STREAM)


@in_standing_time
async def test_a_cancelled_send_leaves_the_sink_usable_and_its_event_may_come_again(open_sink: OpenSink) -> None:
    async with open_sink() as side:
        for event in STREAM[:5]:
            await side.sink.send(event)
        side.hold(True)
        for event in STREAM[5:25]:
            try:
                async with asyncio.timeout(0.001):
                    await side.sink.send(event)
            except TimeoutError:
                side.hold(False)
                await side.sink.send(event)
                side.hold(True)
        side.hold(False)
    received = side.received()
    assert fold(received) == fold(STREAM[:25])
    once = {event.seq: event for event in received}
    assert_same(list(once.values()), STREAM[:25])
    assert all(once[event.seq] == event for event in received), "a repeat differs from the first"


@in_standing_time
async def test_a_cancelled_pump_still_sends_the_end(open_sink: OpenSink) -> None:
    waiting = asyncio.Event()

    async def endless() -> AsyncGenerator[LLMEvent, None]:
        for event in STREAM[:10]:
            yield event
        waiting.set()
        await asyncio.Event().wait()

    async def work(side: Side) -> None:
        await pump(endless(), side.sink)

    async with open_sink() as side:
        working = asyncio.create_task(work(side))
        await waiting.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    check_grammar(side.received())
    result = fold(side.received())
    assert (result.status, result.text) == ("cancelled", fold(STREAM[:10]).text)


@in_standing_time
async def test_a_large_text_and_any_character_arrive(open_sink: OpenSink) -> None:
    events: list[LLMEvent] = [meta(0), text(1, "x" * 1_000_000), text(2, "\x00😀 שלום\r\n\n"), text(3, "")]
    async with open_sink() as side:
        for event in events:
            await side.sink.send(event)
    assert_same(side.received(), events)


async def failing_sse() -> Any:
    """An SSESink whose reader left."""
    sink = SSESink()
    reader = aiter(sink)
    await sink.send(meta(0))
    await anext(reader)
    await reader.aclose()
    return sink


class Broken(MemorySink):
    """Fails from the second event on."""

    async def send(self, event: LLMEvent) -> None:
        """Keep one event."""
        if self.events:
            raise MalformedEventError("the transport takes no more")
        await super().send(event)


async def failing_fan_out() -> Any:
    return await FanOut(Broken(), Broken()).__aenter__()


async def failing_coalesce() -> Any:
    return await Coalesce(Broken(), max_delay=0.01).__aenter__()


@pytest.mark.parametrize(
    "open_failing", [failing_sse, failing_fan_out, failing_coalesce], ids=lambda param: param.__name__
)
@in_standing_time
async def test_a_sink_that_can_t_carry_says_so_and_can_be_closed(open_failing: Callable[[], Any]) -> None:
    sink = await open_failing()

    async def send_all() -> None:
        for event in STREAM:
            await sink.send(event)
            await asyncio.sleep(0.01)

    with pytest.raises(HubError):
        await send_all()
    with pytest.raises(HubError):
        await sink.send(STREAM[-1])
    await sink.aclose()
    await sink.aclose()
