"""Parts of an answer from here and there are one stream."""

from __future__ import annotations

import pytest

from hub.completion import fold
from hub.events import LLMEvent
from hub.flights.continuation import Continuation
from hub.testing import check_grammar
from tests.contracts.samples import a_stream

STREAM = "str_reader"


def test_a_part_of_ones_own_is_told_as_it_is() -> None:
    told = Continuation(STREAM, "mine", "m")
    assert told.begin(is_own=True) == []
    events = a_stream("a", "b", stream_id=STREAM)
    assert told.take(events) == events
    assert told.has_ended


def test_another_process_s_part_is_told_under_the_reader_s_own_names() -> None:
    told = Continuation(STREAM, "mine", "m")
    told.begin(is_own=False)
    events = told.take(a_stream("a", "b", stream_id="flt_1"))
    result = fold(events)
    assert (result.stream_id, result.identifier, result.cached, result.text) == (STREAM, "mine", True, "ab")
    check_grammar(events)


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("said", [1, 2, 3, 4])
def test_a_part_that_comes_to_nothing_is_followed_by_a_further_attempt(said: int, is_own: bool) -> None:
    told = Continuation(STREAM, "mine", "m")
    events: list[LLMEvent] = told.begin(is_own=False)
    events += told.take(a_stream("void", "ed", stream_id="flt_1")[:said])
    events += told.begin(is_own=is_own)
    events += told.take(a_stream("Good", stream_id=STREAM if is_own else "flt_2"))
    check_grammar(events)
    result = fold(events)
    assert (result.text, result.attempt, result.status) == ("Good", 2, "completed")
    assert result.usage is not None
    assert result.usage.output_tokens >= 1


def test_several_parts_that_come_to_nothing_count_on() -> None:
    told = Continuation(STREAM, "mine", "m")
    events: list[LLMEvent] = []
    for number in range(3):
        events += told.begin(is_own=False)
        events += told.take(a_stream("x", stream_id=f"flt_{number}")[:2])
    events += told.begin(is_own=True)
    events += told.take(a_stream("Good", stream_id=STREAM))
    check_grammar(events)
    assert (fold(events).attempt, fold(events).text) == (4, "Good")


def test_an_end_that_no_part_gives_follows_what_was_told() -> None:
    told = Continuation(STREAM, "mine", "m")
    told.begin(is_own=False)
    events = told.take(a_stream("a", stream_id="flt_1")[:2])
    events += told.ending("cancelled")
    check_grammar(events)
    assert fold(events).status == "cancelled"
    assert told.ending("cancelled") == []
