"""Finds the one JSON value in what a model said, or says why there is none. Never chooses between two."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic_core import from_json

__all__ = ("NoJSONError", "find_json", "is_whole")

_DECODER = json.JSONDecoder()
_FENCE = re.compile(r"^[ \t]*```[\w+-]*[ \t]*\n\s*", re.MULTILINE)
_THINKING = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_BRACE = re.compile(r"[{}]")
_BRACKET = re.compile(r"[\[\]]")
_BEGUN = {"{": re.compile(r"\{\s*[\"}]"), "[": re.compile(r"\[\s*[\[{\"]")}
_MAY_BEGIN = {"{": _BEGUN["{"], "[": re.compile(r"\[\s*[\[{\"\]tfnNI\d-]")}

MAX_BRACKETS = 10_000
"""Brackets, or fenced blocks, in a text among which its value is looked for.

More are no answer, and to go through them would hold the event loop.
"""

MAX_FALSE_STARTS = 100
"""Of those, the ones that begin like an array and are none. Each costs a look at the whole text before it, since the
parser's error counts lines."""


class NoJSONError(ValueError):
    """The text holds no JSON value, or several; the message is a sentence about the text."""


def is_whole(text: str) -> bool:
    """Whether the text is one JSON object or array and nothing else, so that nothing of it can be missing."""
    try:
        return isinstance(from_json(_without_thinking(text)), dict | list)
    except ValueError:
        return False


def find_json(text: str, *, arrays: bool = False) -> Any:
    """The JSON value that the text is, or the only one that it holds.

    In this order: the whole text; the fenced blocks; objects in the text, and arrays where there is no object. The
    same value said twice is one value. What a `<think>` block at the beginning holds doesn't count.

    Args:
        text: What the model said.
        arrays: Whether an array may be what was asked for.

    Raises:
        NoJSONError: There is none, it is unfinished or malformed, there are several, or the text has so many brackets
            that it would take too long to tell.
    """
    text = _without_thinking(text).strip()
    if not text:
        raise NoJSONError("The text is empty.")
    try:
        return from_json(text)
    except ValueError:
        pass  # then it is one among words, or none
    values = list(_fenced(text)) or list(_embedded(text, "{", _BRACE))
    if not values and arrays:
        values = list(_embedded(text, "[", _BRACKET))
    if not values:
        raise NoJSONError("The text holds no JSON value.")
    if any(value != values[0] for value in values):
        raise NoJSONError(f"The text holds {len(values)} different JSON values.")
    return values[0]


def _without_thinking(text: str) -> str:
    found = _THINKING.match(text)
    return text[found.end() :] if found else text


def _decode(text: str, start: int) -> tuple[Any, int] | None:
    try:
        end = _DECODER.raw_decode(text, start)[1]
        return from_json(text[start:end]), end  # by the parser that reads a whole text, so that both mean the same
    except (ValueError, RecursionError):
        return None


def _fenced(text: str) -> Iterator[Any]:
    """The objects and arrays that fenced blocks begin with.

    Each is looked for up to the next fence: no string holds one, since JSON has no line ends in them.

    Raises:
        NoJSONError: There are too many.
    """
    fences = list(islice(_FENCE.finditer(text), MAX_BRACKETS + 1))
    if len(fences) > MAX_BRACKETS:
        raise NoJSONError("The text holds too many fenced blocks to tell which of them is meant.")
    ends = [*(each.start() for each in fences[1:]), len(text)]
    for fence, end in zip(fences, ends, strict=False):
        if text[fence.end() : fence.end() + 1] in ("{", "["):
            found = _decode(text[fence.end() : end], 0)
            if found is not None:
                yield found[0]


def _embedded(text: str, opening: str, marks: re.Pattern[str]) -> Iterator[Any]:
    """The values that begin with `opening`, outermost ones alone.

    Raises:
        NoJSONError: One begins and is unfinished or malformed: what lies inside it is not the answer. Or there are
            too many brackets.
    """
    start = text.find(opening)
    false_starts = 0
    for _ in range(MAX_BRACKETS):
        if start < 0:
            return
        may_begin = _MAY_BEGIN[opening].match(text, start)
        found = _decode(text, start) if may_begin else None
        if found is not None:
            yield found[0]
            end = found[1]
        elif _BEGUN[opening].match(text, start):
            raise NoJSONError("The text holds a JSON value that is unfinished or malformed.")
        else:
            false_starts += may_begin is not None
            if false_starts > MAX_FALSE_STARTS:
                break
            end = _end_of_brackets(text, start, opening, marks)
        start = text.find(opening, end)
    if start >= 0:
        raise NoJSONError("The text holds too many brackets to tell which of them are JSON.")


def _end_of_brackets(text: str, start: int, opening: str, marks: re.Pattern[str]) -> int:
    """Where brackets in prose, as in `{name}`, are closed again; the end of the text where they are not.

    Those nested beyond any prose count as not closed.
    """
    depth = 0
    for mark in marks.finditer(text, start):
        depth += 1 if mark[0] == opening else -1
        if depth == 0:
            return mark.end()
        if depth > MAX_BRACKETS:
            break
    return len(text)
