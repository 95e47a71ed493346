"""The sink that keeps what it gets."""

from __future__ import annotations

import pytest

from hub.completion import fold
from hub.errors import SequenceGapError
from hub.result import LLMResult
from sinks.memory import MemorySink

from ..contracts.samples import a_stream, meta, text


async def test_it_keeps_events_and_gives_their_result_at_any_time() -> None:
    sink = MemorySink()
    assert sink.result() == LLMResult(stream_id="", last_seq=-1, status="running")
    stream = a_stream("Hello", " world")
    for count, event in enumerate(stream, 1):
        await sink.send(event)
        assert sink.events == stream[:count]
        assert sink.result() == fold(stream[:count])
    await sink.aclose()
    assert sink.is_closed
    assert sink.result().text == "Hello world"


async def test_a_repeat_is_kept_but_counts_once() -> None:
    sink = MemorySink()
    for event in (meta(0), text(1), text(1)):
        await sink.send(event)
    assert len(sink.events) == 3
    assert sink.result().text == "a"


async def test_a_hole_is_told_when_the_result_is_asked_for() -> None:
    sink = MemorySink()
    await sink.send(meta(0))
    await sink.send(text(2))
    with pytest.raises(SequenceGapError):
        sink.result()
