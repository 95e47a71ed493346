from __future__ import annotations

import time
from typing import Any

import pytest

from hub.structured.extract import NoJSONError, find_json, is_whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("  [1]\n", [1]),
        ("12", 12),
        ('"x"', "x"),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('Sure!\n\n```JSON\n  {"a": 1}\n```\nAnything else?', {"a": 1}),
        ('```json\n{"a": 1}', {"a": 1}),
        ('Here it is: {"a": {"b": 1}} as you asked.', {"a": {"b": 1}}),
        ('```json\n{"a": "```json\\n{}\\n```"}\n```', {"a": "```json\n{}\n```"}),
        ('{"a": 1}\n{"a": 1}', {"a": 1}),
        ('I fill {name} in: {"a": 1}', {"a": 1}),
        ('As in [1], {"a": 1}', {"a": 1}),
        ('<think>{"a": 2} or {"a": 3}?</think>\n{"a": 1}', {"a": 1}),
        ("```python\nf({})\n```\n```json\n[1]\n```", [1]),
    ],
)
def test_the_one_value_is_found(text: str, value: Any) -> None:
    assert find_json(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("I can't say.", "no JSON"),
        ('{"a": 1} or {"a": 2}', "2 different"),
        ('```json\n{"a": 1}\n```\n```json\n{"a": 2}\n```', "2 different"),
        ('{"items": [{"a": 1}, {"a": 2', "unfinished"),
        ('Well: {"items": [{"a": 1}', "unfinished"),
        ('{"item": {"a": 1}, oops}', "malformed"),
        ('{item: {"a": 1}}', "no JSON"),
        ("see [1] for that", "no JSON"),
        ('{"a": "\\ud83d"}', "malformed"),
        ("[" * 100_000, "no JSON"),
        ('{"a":' * 100_000, "malformed"),
        ("{" * 100_000, "no JSON"),
    ],
)
def test_where_there_is_no_single_value_the_error_says_why(text: str, why: str) -> None:
    with pytest.raises(NoJSONError, match=why):
        find_json(text)


def test_an_array_among_words_counts_only_where_one_was_asked_for() -> None:
    assert find_json("They are [1, 2].", arrays=True) == [1, 2]
    with pytest.raises(NoJSONError):
        find_json("They are [1, 2].")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [('{"a": 1}  \n\n', True), ("[]", True), ("12", False), ('{"a": 1', False), ('{"a": 1} and', False), ("", False)],
)
def test_only_a_closed_object_or_array_is_whole(text: str, verdict: bool) -> None:
    assert is_whole(text) is verdict


def test_a_value_is_found_among_many_brackets_of_prose() -> None:
    assert find_json("{x} " * 5_000 + '{"a": 1}') == {"a": 1}
    assert find_json("[a] " * 5_000 + '["b"]', arrays=True) == ["b"]
    assert find_json("[1, p. 5] " * 50 + '["b"]', arrays=True) == ["b"]
    assert find_json("```\nf()\n" * 5_000 + '```\n{"a": 1}\n```') == {"a": 1}


@pytest.mark.parametrize(
    "text", ["{x} " * 20_000, "[a]" * 20_000, "{} " * 20_000, "[1, x]" * 200, "```\n" * 20_000, '```\n{"a":\n' * 20_000]
)
def test_a_text_of_nothing_but_brackets_is_given_up_at_a_bound(text: str) -> None:
    with pytest.raises(NoJSONError, match="too many"):
        find_json(text, arrays=True)


def test_fenced_blocks_that_hold_no_json_cost_in_proportion_to_the_text() -> None:
    block = '```\n{"a":\n' + "some words\n" * 40
    few, many = (_cpu_seconds(block * count) for count in (2_000, 8_000))
    assert many < 9 * few  # sixteen times as long, were each to be looked for from the beginning


def _cpu_seconds(text: str) -> float:
    taken = []
    for _ in range(3):
        start = time.process_time()
        with pytest.raises(NoJSONError):
            find_json(text)
        taken.append(time.process_time() - start)
    return min(taken)
