"""Checks what is to be embedded, before anything is sent, and cuts it into requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, TypeAlias

from hub.errors import InvalidRequestError

__all__ = ("EmbeddingInputs", "Item", "cut", "embedding_inputs")

Item: TypeAlias = str | list[int]
"""One input: a text, or the ids of its tokens."""

_WANTED = "input must be a text, a list of texts, a list of token ids or a list of such lists"

CHARS_PER_TOKEN = 4

MAX_TOKENS_PER_CHAR = 4
"""A token of any vocabulary that is made of bytes has at least one, a character in UTF-8 at most four."""


@dataclass(frozen=True, slots=True)
class EmbeddingInputs:
    """What is to be embedded.

    Attributes:
        items: The inputs, all of one kind.
        is_single: The caller gave one input by itself, not a list of one.
    """

    items: Sequence[Item]
    is_single: bool = False

    def part(self, part: range) -> EmbeddingInputs:
        """Some of the items; all of them are this itself."""
        if len(part) == len(self.items):
            return self
        return EmbeddingInputs(self.items[part.start : part.stop])

    def on_the_wire(self) -> Item | Sequence[Item]:
        """The value of `input`. A single one goes as it came: some servers know nothing else."""
        return self.items[0] if self.is_single else self.items

    def estimate_tokens(self) -> int:
        """About how many tokens the items have."""
        chars = sum(len(item) for item in self.items if isinstance(item, str))
        return -(-chars // CHARS_PER_TOKEN) + sum(len(item) for item in self.items if not isinstance(item, str))

    def most_tokens(self) -> int:
        """A number that the tokens of all items can't exceed, found without counting any."""
        return sum(len(item) * (MAX_TOKENS_PER_CHAR if isinstance(item, str) else 1) for item in self.items)


def embedding_inputs(value: Any) -> EmbeddingInputs:
    """The inputs that a caller's `input` stands for.

    Raises:
        InvalidRequestError: It is none, or has an empty one; the message names its index.
    """
    if isinstance(value, str):
        return EmbeddingInputs([_text(value, "input")], is_single=True)
    if isinstance(value, bytes | bytearray | memoryview | Mapping) or not isinstance(value, Iterable):
        raise InvalidRequestError(f"{_WANTED}, not {_kind(value)}.")
    listed = list(value)
    if not listed:
        raise InvalidRequestError("input is empty: there must be at least one text to embed.")
    first = listed[0]
    if isinstance(first, str):
        return EmbeddingInputs([_text(each, f"input[{number}]") for number, each in enumerate(listed)])
    if _is_list(first):
        return EmbeddingInputs([_token_ids(each, f"input[{number}]") for number, each in enumerate(listed)])
    return EmbeddingInputs([_token_ids(listed, "input")], is_single=True)


def cut(counts: Sequence[int] | None, part: range, *, max_inputs: int, max_tokens: int) -> list[range]:
    """A range of items in runs that fit into one request each.

    Args:
        counts: The tokens of every item; None where there are too few to matter.
        part: The items.
        max_inputs: Items of a request, at most.
        max_tokens: Tokens of a request, at most; an item that has more goes alone.
    """
    if counts is None:
        return [part[begin : begin + max_inputs] for begin in range(0, len(part), max_inputs)]
    runs: list[range] = []
    begin, tokens = part.start, 0
    for number in part:
        if number > begin and (number - begin == max_inputs or tokens + counts[number] > max_tokens):
            runs.append(range(begin, number))
            begin, tokens = number, 0
        tokens += counts[number]
    return [*runs, range(begin, part.stop)]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} must be a text like the ones before it, not {_kind(value)}.")
    if not value:
        raise InvalidRequestError(f"{name} is an empty text, which no endpoint can embed.")
    return value


def _token_ids(value: Any, name: str) -> list[int]:
    if not _is_list(value):
        raise InvalidRequestError(f"{name} must be a list of token ids like the ones before it, not {_kind(value)}.")
    ids = list(value)
    if not ids:
        raise InvalidRequestError(f"{name} is an empty list of token ids, which no endpoint can embed.")
    if all(type(each) is int and each >= 0 for each in ids):
        return ids
    return [_token_id(each, f"{name}[{number}]") for number, each in enumerate(ids)]


def _token_id(value: Any, name: str) -> int:
    try:
        number = None if isinstance(value, bool) else index(value)  # NumPy's integers too, which JSON doesn't know
    except TypeError:
        number = None
    if number is None or number < 0:
        raise InvalidRequestError(f"{name} is {_kind(value)}; {_WANTED}, and a token id a whole number of at least 0.")
    return number


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray | memoryview | Mapping)


def _kind(value: Any) -> str:
    """What a wrong value is; itself only where it is a number: a text may be anything."""
    return repr(value) if isinstance(value, int | float) or value is None else type(value).__name__
