"""Reported usage, in the shapes endpoints give it."""

from __future__ import annotations

from typing import Any

import pytest

from hub.models.usage import parse_usage

COUNTS = {"prompt_tokens": 10, "completion_tokens": 4}


def parsed(**more: Any) -> Any:
    return parse_usage(COUNTS | more)


def test_a_missing_total_is_the_sum() -> None:
    assert (parsed().total_tokens, parsed(total_tokens=20).total_tokens) == (14, 20)


@pytest.mark.parametrize("usage", [None, {}, [], "10", 7, {"total_tokens": 5}, {"prompt_tokens": None}], ids=str)
def test_without_counts_there_is_no_usage(usage: Any) -> None:
    assert parse_usage(usage) is None


def test_one_of_the_counts_is_enough() -> None:
    assert parse_usage({"completion_tokens": 4}).total_tokens == 4  # type: ignore[union-attr]


def test_cached_tokens_are_a_part_of_the_input_wherever_they_are_told() -> None:
    assert parsed(prompt_tokens_details={"cached_tokens": 6}).cached_input_tokens == 6
    assert parsed(prompt_cache_hit_tokens=6).cached_input_tokens == 6  # DeepSeek
    assert parsed(prompt_tokens_details={"cached_tokens": 99}).cached_input_tokens == 10


def test_reasoning_tokens_are_a_part_of_the_output_also_where_more_are_told() -> None:
    assert parsed(completion_tokens_details={"reasoning_tokens": 3}).reasoning_tokens == 3
    assert parsed(reasoning_tokens=3).reasoning_tokens == 3
    assert parsed(completion_tokens_details={"reasoning_tokens": 99}).reasoning_tokens == 4  # Baseten


def test_a_reported_cost_is_taken_and_an_unknown_one_is_none() -> None:
    assert (parsed(cost=0.25).cost_usd, parsed(cost=0).cost_usd, parsed().cost_usd) == (0.25, 0.0, None)


@pytest.mark.parametrize("odd", [-1, 2**60, float("nan"), float("inf"), True, "4", None, [], 1e999], ids=str)
def test_what_is_no_count_counts_for_nothing(odd: Any) -> None:
    usage = parse_usage({"prompt_tokens": odd, "completion_tokens": 4, "cost": odd})
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cost_usd) == (0, 4, None)


def test_details_that_are_none_do_no_harm() -> None:
    assert parsed(prompt_tokens_details=None, completion_tokens_details=[]).cached_input_tokens == 0
