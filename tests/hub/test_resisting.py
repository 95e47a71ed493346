"""Generations that hold up their cancellation, or swallow it: whoever stops is done in bounded time all the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from hub.completion import fold
from hub.events import LLMEvent
from hub.hub import Hub
from hub.stopping import break_off
from hub.testing import check_grammar

from ..contracts.generations import HELLO, WORDS, Scripted, Scripts, whole
from ..contracts.samples import in_standing_time, now, turns
from .office import Office


@pytest.fixture
def quiet() -> Iterator[None]:
    """What a test breaks on purpose is logged with its traceback; here that is noise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Resisting(Scripted):
    """Says two words, and goes on until it is let go, however often it is cancelled; then it says the rest."""

    def __init__(self, stream_id: str, let_go: asyncio.Event) -> None:
        super().__init__(stream_id, ())
        self.let_go = let_go

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        yield WORDS[:2]
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                continue
        yield WORDS[2:]


class Generator(Scripts):
    """Its first generation resists."""

    def __init__(self) -> None:
        super().__init__([WORDS])
        self.let_go = asyncio.Event()
        self.resisting: Resisting | None = None

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Scripted:
        if self.resisting is not None:
            return super().stream(stream_id=stream_id, messages=messages, **params)
        self.resisting = Resisting(stream_id, self.let_go)
        return self.resisting


@pytest.mark.parametrize("way", ["drain", "leave", "both"])
@in_standing_time
async def test_a_hub_ends_the_stream_of_what_doesn_t_stop_and_is_left_in_bounded_time(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    generator = Generator()
    hub = await Hub(generator).__aenter__()
    await hub.start(messages=HELLO, stream_id="str_1")
    await turns()
    reading = asyncio.create_task(whole(hub))
    await turns()
    began = now()
    if way != "leave":
        await hub.drain(1.0)
    if way != "drain":
        await hub.aclose()
    assert now() - began <= 4.0
    events = await reading
    check_grammar(events)
    assert fold(events).error is not None
    assert [record.message for record in caplog.records if "str_1 doesn't stop" in record.message]
    generator.let_go.set()
    await turns(30)
    await hub.aclose()


@in_standing_time
async def test_what_is_left_behind_writes_no_more() -> None:
    generator = Generator()
    async with Hub(generator) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await turns()
        await hub.drain(0.0)
        ended = await whole(hub)
        generator.let_go.set()
        await turns(30)
        assert await whole(hub) == ended
        assert hub.running == 0


@pytest.mark.parametrize("way", ["drain", "leave", "both"])
@in_standing_time
async def test_a_worker_gives_back_the_job_of_what_doesn_t_stop_and_another_one_does_it(way: str, quiet: None) -> None:
    office = Office()
    office.generator = generator = Generator()
    worker = await office.worker().__aenter__()
    await office.submit("str_1")
    await turns(30)
    began = now()
    if way != "leave":
        await worker.drain(1.0)
    if way != "drain":
        await worker.aclose()
    assert now() - began <= 3.0
    assert await office.waiting() == 1
    async with office.worker():
        events = await office.events()
        check_grammar(events)
        assert fold(events).status == "completed"
        generator.let_go.set()
        await turns(30)
        assert await office.events() == events
    await worker.aclose()


@in_standing_time
async def test_what_stops_is_waited_for_no_longer_than_it_takes() -> None:
    async def ending() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.5)

    tasks = [asyncio.create_task(ending()), asyncio.create_task(asyncio.sleep(100))]
    await turns()
    began = now()
    assert await break_off(tasks, 2.0) == set()
    assert now() - began == pytest.approx(0.5)
    assert await break_off([], 2.0) == set()
