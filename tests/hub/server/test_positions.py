"""Joined positions: what an `id` says comes back as it was, and never grows beyond its bound."""

from __future__ import annotations

import random

import pytest

from hub.server.positions import (
    MAX_ID_BYTES,
    MAX_STREAMS,
    could_outgrow,
    format_position,
    parse_position,
    parse_positions,
)


def test_what_is_joined_is_read_back_as_it_was() -> None:
    dice = random.Random(5)
    for _ in range(500):
        positions = [dice.choice([-1, 0, dice.randrange(10**8)]) for _ in range(dice.randint(1, MAX_STREAMS))]
        joined = b".".join(map(format_position, positions)).decode()
        assert parse_positions(joined) == positions
        assert len(joined) <= MAX_ID_BYTES


def test_before_the_first_event_is_one_character_that_no_address_has_to_escape() -> None:
    assert format_position(-1) == b"~"
    assert parse_positions("~") == [-1]


def test_minus_one_is_read_too() -> None:
    assert parse_positions("7.-1.~") == [7, -1, -1]


@pytest.mark.parametrize("text", ["", ".", "1.", ".1", "1..2", "1,2", "a", "~~", "-2", "1.-", "1.٣", "1." + "9" * 19])
def test_what_is_no_position_is_none(text: str) -> None:
    assert parse_positions(text) is None


@pytest.mark.parametrize("text", ["", "-", "--1", "+1", " 1", "1.5", "1e3", "0x1"])
def test_a_single_position_is_digits_or_minus_one(text: str) -> None:
    assert parse_position(text) is None


def test_as_many_streams_as_fit_and_no_more() -> None:
    assert not could_outgrow([-1] * MAX_STREAMS)
    assert could_outgrow([-1] * (MAX_STREAMS + 1))


def test_a_position_that_has_outgrown_its_room_counts_with_all_its_digits() -> None:
    assert not could_outgrow([10**17] * 6)
    assert could_outgrow([10**17] * 8)
