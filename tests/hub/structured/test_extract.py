from __future__ import annotations

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
