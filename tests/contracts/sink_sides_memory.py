"""The sinks in memory, and what wraps a sink."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

from hub.errors import MalformedEventError
from hub.events import LLMEvent, decode_event
from hub.sink import Coalesce, FanOut, Filter, FilterType
from sinks.memory import MemorySink
from sinks.sse import SSESink

from .samples import meta
from .sink_sides import Side


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
    yield Side(sink, lambda: sink.events, sink.hold, bound=0)
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
        yield Side(sink, received, lambda held: (free.clear if held else free.set)(), bound=9)
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
        yield Side(sink, lambda: behind.events, behind.hold, bound=1)


@asynccontextmanager
async def fan_out_before_coalesce() -> AsyncIterator[Side]:
    behind = HeldSink()
    inner = Coalesce(behind)
    async with inner, FanOut(inner, MemorySink()) as sink:
        yield Side(sink, lambda: behind.events, behind.hold)


@asynccontextmanager
async def filter_that_lets_all_pass() -> AsyncIterator[Side]:
    behind = HeldSink()
    async with Filter(behind, get_args(FilterType)) as sink:
        yield Side(sink, lambda: behind.events, behind.hold, bound=0)


class Broken(MemorySink):
    """Fails from the second event on."""

    async def send(self, event: LLMEvent) -> None:
        """Keep one event."""
        if self.events:
            raise MalformedEventError("the transport takes no more")
        await super().send(event)


@asynccontextmanager
async def failing_sse() -> AsyncIterator[Any]:
    """An SSESink whose reader left."""
    sink = SSESink()
    reader = aiter(sink)
    await sink.send(meta(0))
    await anext(reader)
    await reader.aclose()
    yield sink


@asynccontextmanager
async def failing_fan_out() -> AsyncIterator[Any]:
    yield await FanOut(Broken(), Broken()).__aenter__()


@asynccontextmanager
async def failing_coalesce() -> AsyncIterator[Any]:
    yield await Coalesce(Broken(), max_delay=0.01).__aenter__()


@asynccontextmanager
async def failing_filter() -> AsyncIterator[Any]:
    yield Filter(Broken(), ["text_delta"])


def unentered_fan_out() -> Any:
    return FanOut(MemorySink())


def unentered_coalesce() -> Any:
    return Coalesce(MemorySink())


SIDES = (memory, server_sent_events, fan_out, coalesce, fan_out_before_coalesce, filter_that_lets_all_pass)
FAILING = (failing_sse, failing_fan_out, failing_coalesce, failing_filter)
UNENTERED = (unentered_fan_out, unentered_coalesce)
