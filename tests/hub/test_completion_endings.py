"""How a stream ends when its producer can't go on, wherever that happens."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.completion import Completion, fold
from hub.events import (
    Error,
    LLMEvent,
    Meta,
    ToolCallDelta,
)
from hub.result import (
    Failure,
    TokenUsage,
)
from hub.testing import check_grammar

from ..contracts.samples import STREAM, RandomStream, a_stream, done, meta, text, usage

FAILURE = Failure(code="connection_failed", message="The connection was lost.", status=502, retryable=True)


def numbered(*events: LLMEvent) -> list[LLMEvent]:
    """The events at the positions they stand at."""
    return [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(events)]


def call(index: int, arguments: str = "", **fields: Any) -> ToolCallDelta:
    return ToolCallDelta(stream_id=STREAM, seq=0, index=index, arguments=arguments, **fields)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(
    ("status", "error"), [("cancelled", None), ("failed", FAILURE), ("failed", None), ("cancelled", FAILURE)]
)
def test_an_ending_keeps_to_the_grammar_wherever_it_comes(seed: int, status: Any, error: Failure | None) -> None:
    events = RandomStream(seed, snapshots=seed % 3 == 0).events
    for count in range(len(events) + 1):
        completion = Completion(STREAM, model="asked")
        for event in events[:count]:
            completion.add(event)
        ending = completion.ending(status, error)
        check_grammar([*events[:count], *ending])
        assert bool(ending) == (count < len(events))


def test_an_ending_before_the_first_event_begins_with_meta() -> None:
    ending = Completion(STREAM, model="asked").ending("failed", FAILURE)
    assert [event.type for event in ending] == ["meta", "error", "usage", "done"]
    assert ending[0] == Meta(stream_id=STREAM, seq=0, model="asked")
    assert fold(ending).usage == TokenUsage()


def test_a_stream_without_a_name_has_no_ending() -> None:
    assert Completion().ending("cancelled") == []


def test_an_ending_in_mid_attempt_estimates_what_was_used() -> None:
    completion = Completion()
    for event in numbered(meta(), text(0, "Hello"), text(0, " world"), call(0, "{}")):
        completion.add(event)
    used, end = completion.ending("cancelled")
    assert used.type == "usage"
    assert end.type == "done"
    assert used.counts() == end.usage == TokenUsage(output_tokens=4, total_tokens=4, estimated=True)


def test_an_estimate_counts_merged_parts_by_their_length() -> None:
    completion = Completion()
    for event in (meta(0), text(100, "x" * 401, span=100)):
        completion.add(event)
    result = fold([meta(0), text(100, "x" * 401, span=100), *completion.ending("cancelled")])
    assert result.usage == TokenUsage(output_tokens=101, total_tokens=101, estimated=True)


def test_an_ending_after_usage_says_it_no_second_time() -> None:
    completion = Completion()
    for event in numbered(meta(), text(0), usage(0)):
        completion.add(event)
    (end,) = completion.ending("cancelled")
    assert end == done(3, status="cancelled", finish_reason=None, usage=usage(0).counts())


def test_an_ending_after_an_error_stays_failed_and_says_it_no_second_time() -> None:
    completion = Completion()
    for event in numbered(meta(), Error(stream_id=STREAM, seq=0, code="truncated", message="It broke off.")):
        completion.add(event)
    used, end = completion.ending("cancelled", FAILURE)
    assert used.type == "usage"
    assert end.type == "done"
    assert end.status == "failed"


def test_after_done_there_is_no_ending() -> None:
    completion = Completion()
    for event in a_stream("a"):
        completion.add(event)
    assert completion.ending("failed", FAILURE) == []
