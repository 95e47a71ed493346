"""Follows a JSON value as its text grows: where it begins and ends, and what its end so far lies in."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

__all__ = ("ABSENT", "Scanner")

ABSENT: Any = object()
"""There is nothing yet that could be shown."""

_OBJECT = re.compile(r"\{(?=\s*[\"}])")
_OBJECT_OR_ARRAY = re.compile(r"\{(?=\s*[\"}])|\[(?=\s*[\[{\"\]tfn\d-])")
_UNDECIDED = re.compile(r"[\[{]\s*\Z")
_OUTSIDE = re.compile(r"[\"{}\[\],:]")
_INSIDE = re.compile(r"[\"\\]")
_NUMBER = "0123456789+-.eE"
_THINK, _THOUGHT = "<think>", "</think>"


class Scanner:
    """Takes a text in pieces, each looked at once.

    The value begins at the first brace that could open a JSON object; words before it, a fence and a `<think>` block
    are passed over, and so is everything behind its end.

    Args:
        arrays: Whether it may begin with a bracket as well.

    Attributes:
        is_closed: The value is whole.
        is_in_value: The text stops inside a string that is a value (not a key): that value may grow.
        length: Characters of the value so far.
    """

    def __init__(self, *, arrays: bool = False) -> None:
        self.is_closed = False
        self.is_in_value = False
        self.length = 0
        self._start = _OBJECT_OR_ARRAY if arrays else _OBJECT
        self._prelude: str = ""
        self._is_thinking: bool | None = None  # None until the text is long enough to tell
        self._parts: list[str] = []
        self._open: list[str] = []
        self._is_in_string = False
        self._is_escaped = False
        self._is_key = False

    def feed(self, text: str) -> None:
        """Take the next piece in."""
        if not self._parts:
            text = self._begin(text)
        if text and not self.is_closed:
            self._advance(text)

    def value(self) -> Any:
        """The value so far, a string that is not finished included, a number that is not finished left out.

        `ABSENT` before it begins, and where the text is no JSON.
        """
        if not self._parts:
            return ABSENT
        text = "".join(self._parts)
        self._parts = [text]
        if not self.is_closed and not self._is_in_string:
            text = text.rstrip(_NUMBER)  # 12 may become 123
        try:
            return from_json(text, allow_partial=False if self.is_closed else "trailing-strings")
        except ValueError:
            return ABSENT

    def _begin(self, text: str) -> str:
        """What of the text belongs to the value; only what may still matter of the rest is kept."""
        text = self._prelude + text
        if self._is_thinking is None:
            beginning = text.lstrip()
            if len(beginning) < len(_THINK) and _THINK.startswith(beginning):
                self._prelude = text
                return ""
            self._is_thinking = beginning.startswith(_THINK)
        if self._is_thinking:
            _, end, rest = text.partition(_THOUGHT)
            if not end:
                self._prelude = text[-len(_THOUGHT) :]
                return ""
            self._is_thinking, text = False, rest
        found = self._start.search(text)
        if found is None:
            undecided = _UNDECIDED.search(text)
            self._prelude = text[undecided.start() :] if undecided else ""
            return ""
        return text[found.start() :]

    def _advance(self, text: str) -> None:
        at = 1 if self._is_escaped else 0
        self._is_escaped = False
        while mark := (_INSIDE if self._is_in_string else _OUTSIDE).search(text, at):
            at = mark.end()
            if mark[0] == "\\":
                at += 1
                self._is_escaped = at > len(text)
            elif self._is_in_string:
                self._is_in_string = False
            elif self._pass(mark[0]):
                text = text[:at]
                break
        self._parts.append(text)
        self.length += len(text)
        self.is_in_value = self._is_in_string and not self._is_key

    def _pass(self, mark: str) -> bool:
        """Go past a mark outside strings; True where it closes the value."""
        match mark:
            case '"':
                self._is_in_string = True
            case "{" | "[":
                self._open.append(mark)
                self._is_key = mark == "{"
            case ",":
                self._is_key = self._open[-1] == "{"
            case ":":
                self._is_key = False
            case _:
                self._open.pop()
                self.is_closed = not self._open
        return self.is_closed
