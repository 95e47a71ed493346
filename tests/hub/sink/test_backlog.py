"""What waits for a slow sink."""

from __future__ import annotations

import sys
import tracemalloc
from random import Random
from types import FrameType

import pytest

from hub.completion import fold
from hub.events import LLMEvent, ReasoningDelta, mergeable
from hub.sink.backlog import Backlog

from ...contracts.samples import STREAM, a_stream, text


def reasoning(seq: int) -> ReasoningDelta:
    return ReasoningDelta(stream_id=STREAM, seq=seq, text="r")


def all_of(waiting: Backlog) -> list[LLMEvent]:
    return [waiting.pop() for _ in range(len(waiting))]


def alternating(count: int) -> list[LLMEvent]:
    return [text(seq) if seq % 2 else reasoning(seq) for seq in range(count)]


def test_events_leave_as_they_came_while_there_is_room() -> None:
    waiting = Backlog(10, 1_000)
    for event in a_stream("a", "b"):
        assert waiting.put(event)
    assert not waiting.is_full
    assert all_of(waiting) == a_stream("a", "b")


def test_neighbours_merge_where_it_is_full() -> None:
    waiting = Backlog(3, 1_000)
    for seq in range(6):
        assert waiting.put(text(seq, str(seq)))
    assert all_of(waiting) == [text(4, "01234", span=5), text(5, "5")]


def test_there_is_no_room_where_nothing_merges() -> None:
    waiting = Backlog(3, 1_000)
    for event in alternating(3):
        assert waiting.put(event)
    assert not waiting.put(reasoning(4))
    assert all_of(waiting) == alternating(3)
    assert waiting.put(text(5))


def test_there_is_no_room_beyond_the_characters() -> None:
    waiting = Backlog(100, 10)
    assert waiting.put(text(0, "x" * 8))
    assert waiting.put(text(1, "x" * 3))
    assert not waiting.put(text(2))
    waiting.pop()
    assert waiting.put(text(2))


def test_what_does_not_merge_is_looked_at_once() -> None:
    calls = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code is mergeable.__code__

    waiting = Backlog(1_000, 1_000_000)
    for event in alternating(998):
        waiting.put(event)
    sys.setprofile(count)
    try:
        for seq in range(998, 3_000):
            waiting.put(text(seq))
    finally:
        sys.setprofile(None)
    assert len(waiting) == 1_000
    assert 2_000 <= calls < 4_000


def test_a_run_of_many_events_weighs_as_its_text() -> None:
    waiting = Backlog(2, 10_000_000)
    tracemalloc.start()
    try:
        for seq in range(20_000):
            assert waiting.put(text(seq, "abcd"))
        assert tracemalloc.get_traced_memory()[0] < 400_000
    finally:
        tracemalloc.stop()
    assert waiting.pop() == text(19_998, "abcd" * 19_999, span=19_999)


@pytest.mark.parametrize("seed", range(20))
def test_what_leaves_is_what_came(seed: int) -> None:
    random = Random(seed)
    stream = a_stream(*(f" {number}" for number in range(900)))
    waiting, out = Backlog(random.choice([2, 5, 300]), 1_000_000), list[LLMEvent]()
    for event in stream:
        while not waiting.put(event):
            out.append(waiting.pop())
        if random.random() < 0.1 and len(waiting):
            out.append(waiting.pop())
    out += all_of(waiting)
    assert fold(out) == fold(stream)
    assert len(out) <= len(stream)
