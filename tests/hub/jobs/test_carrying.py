"""Carrying out a job that another worker was lost with, after a crash that may have taken back what readers saw."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hub.completion import fold
from hub.events import LLMEvent, Meta
from hub.jobs.base import Finished, Job, SetAside
from hub.jobs.carrying import carry_out
from hub.streams.memory import MemoryStreamStore
from hub.streams.takeover import LOST_POSITIONS
from hub.testing import check_grammar
from tests.contracts.generations import HELLO, Scripts
from tests.contracts.samples import in_standing_time, meta, text

SEEN = 40
"""A position that readers have seen, and that is not in the log any more."""


async def begun(store: MemoryStreamStore, *events: LLMEvent) -> None:
    epoch = await store.create("str_1", model="model-x")
    await store.append("str_1", events, epoch=epoch)


async def carried_out(store: MemoryStreamStore, lost: int) -> tuple[object, Sequence[LLMEvent]]:
    outcome = await carry_out(Job("str_1", {"messages": HELLO}, lost=lost), Scripts(), store, max_attempts=3)
    events = (await store.open("str_1")).events
    check_grammar(events)
    return outcome, events


@in_standing_time
async def test_a_stream_that_nobody_has_begun_begins_at_its_beginning() -> None:
    store = MemoryStreamStore()
    await begun(store)
    outcome, events = await carried_out(store, 0)
    assert outcome == Finished()
    assert [event.type for event in events] == ["meta", "text_delta", "usage", "done"]


@in_standing_time
async def test_a_stream_of_which_a_crash_left_nothing_is_not_told_at_positions_that_readers_have_seen() -> None:
    store = MemoryStreamStore()
    await begun(store)
    outcome, events = await carried_out(store, 1)
    assert outcome == Finished()
    assert (events[0].type, events[0].seq, events[0].span) == ("snapshot", LOST_POSITIONS, LOST_POSITIONS + 1)
    assert isinstance(events[1], Meta)
    assert events[1].attempt == 2
    assert fold(events).text == "Hello"


@pytest.mark.parametrize("said", [[], [meta(0), text(1)]], ids=["nothing left", "something left"])
@in_standing_time
async def test_a_stream_cancelled_meanwhile_does_not_end_at_positions_that_readers_have_seen(
    said: list[LLMEvent],
) -> None:
    store = MemoryStreamStore()
    await begun(store, *said)
    await store.cancel("str_1")
    outcome, events = await carried_out(store, 1)
    assert outcome == Finished()
    assert fold(events).status == "cancelled"
    assert events[len(said)].type == "snapshot"
    assert events[len(said) + 1].seq > SEEN


@pytest.mark.parametrize("said", [[], [meta(0), text(1)]], ids=["nothing left", "something left"])
@in_standing_time
async def test_a_stream_that_is_given_up_does_not_end_at_positions_that_readers_have_seen(
    said: list[LLMEvent],
) -> None:
    store = MemoryStreamStore()
    await begun(store, *said)
    outcome, events = await carried_out(store, 3)
    assert isinstance(outcome, SetAside)
    assert fold(events).status == "failed"
    assert events[len(said)].type == "snapshot"
    assert events[len(said) + 1].seq > SEEN
