"""What is kept of an answer, and what is told of it again."""

from __future__ import annotations

import msgspec
import pytest

from hub.cache.replay import Retelling, record
from hub.completion import fold
from hub.events import Done, LLMEvent, Meta, Snapshot, TextDelta, Usage
from hub.result import TokenUsage
from hub.testing import check_grammar

from ...contracts.samples import STREAM, RandomStream, a_stream, meta, one_of_each_type, text

EARLY = TokenUsage(input_tokens=3, output_tokens=1, total_tokens=4, cost_usd=0.25)
LATE = TokenUsage(input_tokens=3, output_tokens=2, total_tokens=5, cost_usd=0.5)


def kept(events: list[LLMEvent]) -> tuple[LLMEvent, ...]:
    recorded = record([(float(at), [event]) for at, event in enumerate(events)])
    assert recorded is not None
    return recorded[0]


def restarted() -> list[LLMEvent]:
    return [
        meta(0),
        text(1, "void"),
        Usage.of(EARLY, stream_id=STREAM, seq=2),
        meta(3, attempt=2),
        text(4, "stands"),
        Usage.of(LATE, stream_id=STREAM, seq=5, attempt=2),
        Done(stream_id=STREAM, seq=6, status="completed", finish_reason="stop", usage=EARLY + LATE),
    ]


@pytest.mark.parametrize("seed", range(100))
def test_a_stream_told_again_says_the_same(seed: int) -> None:
    events = RandomStream(seed).events
    told = Retelling("str_2", "other").take(kept(events))
    check_grammar(told)
    before, after = fold(events), fold(told)
    for name in ("text", "reasoning", "refusal", "tool_calls", "tool_outputs", "choices", "steps", "finish_reason"):
        assert getattr(after, name) == getattr(before, name), name
    assert (after.stream_id, after.identifier, after.cached) == ("str_2", "other", True)
    assert {event.stream_id for event in told} == {"str_2"}


def test_what_an_attempt_voided_is_not_kept_and_what_it_used_is() -> None:
    events = kept(restarted())
    check_grammar(events)
    assert [event.type for event in events] == ["meta", "text_delta", "usage", "usage", "done"]
    told = fold(Retelling("str_2", None).take(events))
    assert told.text == "stands"
    assert told.usage is not None
    assert (told.usage.total_tokens, told.usage.cost_usd, told.usage.original_cost_usd) == (9, 0.0, 0.75)


def test_the_instants_are_kept_and_never_run_backwards() -> None:
    recorded = record([(10.0 + at, [event]) for at, event in enumerate(restarted())])
    assert recorded is not None
    assert recorded[1] == (0.0, 1.0, 1.0, 2.0, 3.0)


def test_what_came_together_stays_together() -> None:
    events = a_stream("a", "b", "c")
    recorded = record([(1.0, events[:3]), (2.5, events[3:])])
    assert recorded is not None
    assert recorded[1] == (0.0, 0.0, 0.0, 1.5, 1.5, 1.5)


@pytest.mark.parametrize(
    "events",
    [
        [],
        a_stream("a")[:-1],
        a_stream("a")[1:],
        [event for event in one_of_each_type() if isinstance(event, Snapshot | Meta)][::-1],
    ],
    ids=["nothing", "no done", "no meta", "snapshot"],
)
def test_what_is_no_whole_answer_is_not_kept(events: list[LLMEvent]) -> None:
    assert record([(0.0, events)]) is None


def test_a_stream_with_a_snapshot_is_not_kept() -> None:
    events = a_stream("a")
    snapshot = next(event for event in one_of_each_type() if isinstance(event, Snapshot))
    assert record([(0.0, [*events[:-1], snapshot, events[-1]])]) is None


def test_a_cost_that_is_unknown_stays_unknown() -> None:
    told = fold(Retelling("str_2", None).take(kept(a_stream("a"))))
    assert told.usage is not None
    assert (told.usage.cost_usd, told.usage.original_cost_usd) == (0.0, None)


def test_an_answer_that_came_from_a_cache_itself_keeps_its_first_cost() -> None:
    once = Retelling("str_2", None).take(kept(restarted()))
    twice = fold(Retelling("str_3", None).take(kept(once)))
    assert twice.usage is not None
    assert twice.usage.original_cost_usd == 0.75


def test_an_event_of_every_type_is_told_as_it_was() -> None:
    for event in one_of_each_type():
        (told,) = Retelling(STREAM, "mine", last_seq=event.seq - event.span).take([event], free=False)
        assert told == (msgspec.structs.replace(event, cached=True) if isinstance(event, Meta) else event)


def test_merged_neighbours_keep_their_span() -> None:
    events: list[LLMEvent] = [meta(0), TextDelta(stream_id=STREAM, seq=3, span=3, text="abc"), *a_stream("x")[2:]]
    told = Retelling("str_2", None).take(events)
    assert [(event.seq, event.span) for event in told] == [(0, 1), (3, 3), (4, 1), (5, 1)]
