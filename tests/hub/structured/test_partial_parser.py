from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from hub.structured import PartialParser, ResponseModel
from hub.structured.scan import ABSENT, Scanner
from tests.hub.structured.models import Person

PEOPLE = ResponseModel.of(list[Person])
TEXT = json.dumps({"value": [{"name": f'person "{number}" é', "age": number} for number in range(60)]})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> float:
        self.now += seconds
        return self.now


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 100_000])
def test_however_the_text_is_cut_the_last_value_is_the_whole_one(size: int) -> None:
    parser = PartialParser(PEOPLE, clock=Clock())
    made = [made for piece in pieces(TEXT, size) if (made := parser.feed(piece)) is not None]
    assert made[-1] == parser.latest == PEOPLE.partial(TEXT)
    assert parser.finish() is None


@pytest.mark.parametrize("size", [1, 5])
def test_with_no_growth_asked_for_every_change_is_shown_as_a_whole_reading_would(size: int) -> None:
    parser = PartialParser(PEOPLE, growth=0, clock=Clock())
    text = ""
    for piece in pieces(TEXT[:600], size):
        text += piece
        parser.feed(piece)
        assert parser.latest == PEOPLE.partial(text)


def test_values_are_made_in_proportion_to_the_logarithm_of_the_length() -> None:
    parser = PartialParser(PEOPLE, growth=1 / 4, clock=Clock())
    made = sum(parser.feed(piece) is not None for piece in TEXT)
    assert 10 < made < 50
    assert len(TEXT) > 2000


def test_a_slow_text_is_shown_after_the_interval() -> None:
    clock = Clock()
    parser = PartialParser(PEOPLE, growth=1, interval=0.25, clock=clock)
    parser.feed('{"value": [{"name": "a long beginning')
    assert parser.feed(" and") is None
    clock.now = 0.25
    made = parser.feed(" more")
    assert made is not None
    assert made[0].name == "a long beginning and more"


def test_nothing_is_given_where_nothing_changed() -> None:
    parser = PartialParser(PEOPLE, growth=0, clock=Clock())
    assert parser.feed('{"value": [') is not None
    assert parser.feed("   ") is None
    assert parser.feed("") is None


def test_a_text_that_breaks_off_is_shown_to_its_last_piece() -> None:
    parser = PartialParser(PEOPLE, growth=1, clock=Clock())
    parser.feed('{"value": [{"name": "abc')
    assert parser.feed("d") is None
    made = parser.finish()
    assert made is not None
    assert made[0].name == "abcd"
    assert parser.finish() is None


def test_what_follows_the_value_changes_nothing() -> None:
    parser = PartialParser(ResponseModel.of(Person), clock=Clock())
    made = parser.feed('```json\n{"name": "Ada"}\n```')
    assert made is not None
    assert parser.feed(' I hope "that" helps {or not}') is None
    assert parser.finish() is None
    assert parser.latest is made


def test_a_text_that_turns_out_to_be_no_json_leaves_the_last_value() -> None:
    parser = PartialParser(ResponseModel.of(Person), growth=0, clock=Clock())
    made = parser.feed('{"name": "Ada"')
    assert parser.feed(" oops") is None
    assert parser.finish() is None
    assert parser.latest is made


@pytest.mark.parametrize("size", [1, 2, 3, 11])
def test_the_scanner_passes_over_thoughts_words_and_fences(size: int) -> None:
    scanner = Scanner()
    for piece in pieces('  <think>{"a": "no"} [</think> {so}: ```json\n{ "a": "}\\"{" }\n``` {"b": 1}', size):
        scanner.feed(piece)
    assert scanner.is_closed
    assert scanner.value() == {"a": '}"{'}


def test_the_scanner_knows_a_growing_value_from_a_key() -> None:
    scanner = Scanner()
    seen = []
    for piece in ['{"a', '": ', '"b', "c", '\\"', '", ', '"d', '": [', '"e']:
        scanner.feed(piece)
        seen.append(scanner.is_in_value)
    assert seen == [False, False, True, True, True, False, False, False, True]


def test_the_scanner_keeps_nothing_of_words_before_the_value() -> None:
    scanner = Scanner(arrays=True)
    for _ in range(1000):
        scanner.feed("word { ")
    assert scanner.value() is ABSENT
    assert scanner.length == 0
    assert len(scanner._prelude) < 10


def slow_parser(clock: Clock, seconds: float, growth: float = 1 / 64) -> PartialParser[Any]:
    """A parser whose values take so long to make."""

    class Slow(BaseModel):
        text: str = ""
        made_at: float = Field(default_factory=lambda: clock.pass_by(seconds))

    return PartialParser(ResponseModel.of(Slow), growth=growth, clock=clock)


def test_a_long_value_that_takes_a_while_is_made_no_sooner_than_eight_times_that_later() -> None:
    clock = Clock()
    parser = slow_parser(clock, 0.5)
    assert parser.feed('{"text": "' + "x" * 20_000) is not None
    clock.now += 3.9
    assert parser.feed("y" * 10_000) is None  # neither for its growth nor for the interval
    clock.now += 0.1
    made = parser.feed("z")
    assert made is not None
    assert made.text.endswith("yz")


def test_the_last_value_comes_however_short_before_another_was_made() -> None:
    closed, broken_off = slow_parser(Clock(), 0.5), slow_parser(Clock(), 0.5)
    for parser in (closed, broken_off):
        parser.feed('{"text": "' + "x" * 20_000)
        assert parser.feed("y" * 10_000) is None
    assert closed.feed('"}') is not None
    assert broken_off.finish() is not None


def test_a_short_value_is_shown_as_it_grows_whatever_it_took() -> None:
    parser = slow_parser(Clock(), 0.5)
    assert all(parser.feed(piece) is not None for piece in ('{"text": "one', " two", " three"))


def test_with_no_growth_asked_for_a_long_value_is_shown_at_every_piece() -> None:
    parser = slow_parser(Clock(), 0.5, growth=0)
    assert all(parser.feed(piece) is not None for piece in ('{"text": "' + "x" * 20_000, "y", "z"))
