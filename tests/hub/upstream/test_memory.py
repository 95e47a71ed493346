"""Reading a stream that goes on and on takes no more memory than its beginning did."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest

from hub.models.profile import ModelProfile
from hub.testing import sse
from hub.upstream.answer import Answer
from hub.upstream.clocks import Timeouts
from hub.upstream.endpoint import Endpoint, Sending
from hub.upstream.plan import Plan
from hub.upstream.request import Api, Request
from hub.upstream.route import CoolDown, Target
from hub.upstream.stream import EventStream

from .responses_support import created, text
from .support import HELLO, NO_RETRY, chunk

FRAMES_A_SLICE = 500


class _EndlessEndpoint(Endpoint):
    """An endpoint without a network that answers with slices as they are asked for."""

    def __init__(self, slices: Iterator[bytes]) -> None:
        self._slices = slices
        self._secrets = ()
        self.url = "http://endless"
        self.headers: dict[str, str] = {}

    async def open(self, request: Request, sending: Sending) -> Any:
        return self

    async def read(self) -> bytes:
        return next(self._slices, b"")

    async def aclose(self) -> None:
        return


def stream_of(slices: Iterator[bytes], api: Api) -> EventStream:
    request = Request(ModelProfile(model_name="m-1"), {"model": "m-1", "messages": HELLO}, api)
    target = Target(_EndlessEndpoint(slices), request, CoolDown(0.0))
    return EventStream(Answer([target], Plan(timeouts=Timeouts(), retry=NO_RETRY), stream_id="str_1"), "str_1")


WORD = sse(chunk(" word"), done=False)
FIRST_RESPONSE_WORD = created() + text(" word")


def endless(frame: bytes, first: bytes = WORD, *, slice_bytes: int | None = None) -> Iterator[bytes]:
    """The same frame for ever, many a slice; slices of another length end in the middle of frames."""
    frames = frame * FRAMES_A_SLICE
    size = slice_bytes or len(frames)
    yield first
    yield from cycle([frames[at : at + size] for at in range(0, len(frames), size)])


BODIES: dict[str, Callable[[], Iterator[bytes]]] = {
    "text": lambda: endless(WORD),
    "reasoning": lambda: endless(sse(chunk(delta={"reasoning_content": " so"}), done=False)),
    "frames in the general shape": lambda: endless(b"event: chunk\r\n" + WORD),
    "usage in each chunk": lambda: endless(sse(chunk(" word", usage={"prompt_tokens": 1}), done=False)),
    "slices that end within frames": lambda: endless(WORD, slice_bytes=997),
    "comments between": lambda: endless(b": wait\n\n" * 5 + WORD),
}


async def read_on(events: EventStream, count: int) -> None:
    """Take so many events."""
    async for _ in events:
        count -= 1
        if not count:
            return


async def traced_bytes(events: EventStream, *counts: int) -> list[int]:
    """Memory in use after so many further events each."""
    tracemalloc.start()
    try:
        found = []
        for count in counts:
            await read_on(events, count)
            gc.collect()
            found.append(tracemalloc.get_traced_memory()[0])
        return found
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_long_stream_takes_no_more_memory_than_its_beginning(body: Callable[[], Iterator[bytes]]) -> None:
    async with stream_of(body(), "chat") as events:
        early, late = await traced_bytes(events, 2_000, 8_000)
    assert late - early < 4_000  # less than a byte an event


async def test_three_hundred_thousand_events_leave_no_object_behind() -> None:
    async with stream_of(endless(WORD), "chat") as events:
        await read_on(events, 30_000)
        gc.collect()
        early = sys.getallocatedblocks()
        await read_on(events, 270_000)
        gc.collect()
        assert sys.getallocatedblocks() - early < 1_000


async def test_batches_take_no_more_memory_than_events_do() -> None:
    tracemalloc.start()
    try:
        async with stream_of(endless(WORD), "chat") as events:
            batches = events.batches()
            for _ in range(4):
                await anext(batches)
            early = tracemalloc.get_traced_memory()[0]
            for _ in range(16):
                await anext(batches)
            assert tracemalloc.get_traced_memory()[0] - early < 4_000
    finally:
        tracemalloc.stop()


async def test_a_responses_stream_holds_what_it_has_said_and_nothing_else() -> None:
    async with stream_of(endless(text(" word"), FIRST_RESPONSE_WORD), "responses") as events:
        early, late = await traced_bytes(events, 2_000, 8_000)
    assert late - early < 8_000 * 80  # the text's pieces, to be compared with the whole that comes last


async def test_comments_without_end_are_not_held() -> None:
    def body() -> Iterator[bytes]:
        yield WORD
        for _ in range(200):
            yield b": " + b"x" * 50_000
        yield b"\n\n" + WORD

    async with stream_of(body(), "chat") as events:
        tracemalloc.start()
        try:
            await read_on(events, 3)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 2_000_000
