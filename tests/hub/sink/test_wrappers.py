"""What FanOut and Coalesce have in common: their block, their tasks, their being wrapped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import ClosedError, SinkError
from hub.events import Usage, merge_neighbours
from hub.sink import Coalesce, FanOut, Sink, pump
from sinks.memory import MemorySink

from ...contracts.samples import (
    FailingSink,
    a_stream,
    in_standing_time,
    meta,
    source,
    text,
    turns,
)

WHOLE = a_stream("Hello", " wide", " world")


@pytest.mark.parametrize("wrap", [FanOut, Coalesce], ids=lambda wrap: wrap.__name__)
@in_standing_time
async def test_a_wrapper_may_be_closed_by_another_task_than_entered_it(wrap: Callable[[Sink], Any]) -> None:
    sink = MemorySink()
    sending = wrap(sink)
    await asyncio.create_task(sending.__aenter__())
    for event in WHOLE:
        await sending.send(event)
    await asyncio.create_task(sending.aclose())
    assert fold(sink.events) == fold(WHOLE)
    assert sink.is_closed


@pytest.mark.parametrize("wrap", [FanOut, Coalesce], ids=lambda wrap: wrap.__name__)
@in_standing_time
async def test_a_failing_sink_never_cancels_the_task_that_entered_its_wrapper(wrap: Callable[[Sink], Any]) -> None:
    sending = wrap(FailingSink(at=2))

    async def enter_and_go_on() -> str:
        await sending.__aenter__()
        await asyncio.sleep(100)
        return "went on"

    entering = asyncio.create_task(enter_and_go_on())
    await turns()
    await sending.send(meta(0))
    await turns()
    for seq in (1, 2):
        await sending.send(text(seq))
    await asyncio.sleep(1)
    with pytest.raises((SinkError, ConnectionError)):
        await sending.send(text(3))
    await sending.aclose()
    assert await entering == "went on"


@pytest.mark.parametrize("wrap", [FanOut, Coalesce], ids=lambda wrap: wrap.__name__)
async def test_a_wrapper_works_inside_its_block_only_and_once(wrap: Callable[[Sink], Any]) -> None:
    sink = MemorySink()
    sending = wrap(sink)
    with pytest.raises(ClosedError, match="async with"):
        await sending.send(meta(0))
    async with sending:
        with pytest.raises(ClosedError, match="once"):
            await sending.__aenter__()
    with pytest.raises(ClosedError, match="async with"):
        await sending.send(meta(0))
    with pytest.raises(ClosedError, match="once"):
        await sending.__aenter__()


@pytest.mark.parametrize("wrap", [FanOut, Coalesce], ids=lambda wrap: wrap.__name__)
async def test_a_wrapper_closed_without_being_entered_closes_its_sink(wrap: Callable[[Sink], Any]) -> None:
    sink = MemorySink()
    await wrap(sink).aclose()
    assert sink.is_closed


@in_standing_time
async def test_wrappers_can_be_nested() -> None:
    whole, merged, failing = MemorySink(), MemorySink(), FailingSink()
    stream = a_stream(*"a long answer")
    async with Coalesce(merged, max_delay=100) as coalesce, FanOut(whole, coalesce, failing) as fan_out:
        await pump(source(stream), fan_out)
    assert whole.events == stream
    assert fold(merged.events) == fold(stream)
    assert len(merged.events) == 5
    assert merge_neighbours(stream)[-2:] == merged.events[-2:]
    assert isinstance(merged.events[-2], Usage)
