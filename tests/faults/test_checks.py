"""The checks themselves: each finds what it is there for."""

from __future__ import annotations

import msgspec
import pytest

from hub.completion import fold
from hub.events import LLMEvent, Meta, TextDelta
from hub.result import LLMResult
from tests.contracts.samples import a_stream
from tests.faults.checks import check_agreement, check_end, check_events
from tests.faults.endpoint import tokens_of


def a_reading(*texts: str) -> list[LLMEvent]:
    return a_stream(*texts)


def test_a_whole_stream_is_right() -> None:
    events = a_reading("4.0 ", "4.1 ")
    assert check_events(events) == []
    assert check_end(fold(events), 2, ()) == []


def test_a_missing_event_is_found() -> None:
    events = a_reading("4.0 ", "4.1 ")
    assert check_events([*events[:1], *events[2:]])


def test_a_doubled_event_is_found() -> None:
    events = a_reading("4.0 ", "4.1 ")
    assert check_events([*events[:2], *events[1:]])


def test_a_stream_without_an_end_is_found() -> None:
    assert check_events(a_reading("4.0 ")[:-1])


def test_an_end_too_early_is_found() -> None:
    assert check_end(fold(a_reading("4.0 ")), 2, ())


def test_two_writers_in_one_attempt_are_found() -> None:
    assert any("two writers" in wrong for wrong in check_events(a_reading("4.0 ", "5.1 ")))


def test_the_tokens_of_a_further_attempt_begin_anew() -> None:
    events: list[LLMEvent] = [
        Meta(stream_id="str_1", seq=0, model="m"),
        TextDelta(stream_id="str_1", seq=1, text="4.0 "),
        Meta(stream_id="str_1", seq=2, model="m", attempt=2),
        TextDelta(stream_id="str_1", seq=3, text="5.0 "),
    ]
    assert not any("two writers" in wrong for wrong in check_events(events))


@pytest.mark.parametrize("text", ["4.1 ", "4.0 4.0 ", "4.0 4.2 ", "4.0 4", "4.0 5.1 "])
def test_tokens_that_are_not_one_answer_from_its_start_are_found(text: str) -> None:
    with pytest.raises(AssertionError):
        tokens_of(text)


def test_readers_that_disagree_are_found() -> None:
    events = a_reading("4.0 ")
    assert check_agreement([events, events], [fold(events)]) == []
    other: LLMResult = msgspec.structs.replace(fold(events), text="4.0 4.1 ")
    assert check_agreement([events, events], [other])
    assert check_agreement([events, a_reading("4.0 ", "4.1 ")], [])
