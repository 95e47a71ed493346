"""JSON as endpoints write it: what msgspec refuses and readers in other languages take."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ("decode_json",)

MAX_LOOSE_BYTES = 1_000_000
"""What is longer must be JSON to the letter: the tolerant way is slow, and would hold the event loop."""

MAX_CONTAINERS = 1_000_000
"""Objects and arrays in what is longer than that, at most; more say nothing, and take seconds to make."""


def decode_json(data: bytes) -> Any:
    """The value of any JSON, and of what endpoints take for it: NaN, numbers too large, halves of surrogate pairs.

    A half of a surrogate pair, which no UTF-8 can hold, becomes U+FFFD.

    Raises:
        ValueError: It is no JSON, nested beyond reason, or large and made of next to nothing.
    """
    is_large = len(data) > MAX_LOOSE_BYTES
    if is_large and data.count(b"{") + data.count(b"[") > MAX_CONTAINERS:
        raise ValueError("too many objects and arrays")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if is_large:
            raise ValueError("no JSON that could be read in a short time") from exc
    try:
        value = json.loads(data)
        return value if _is_whole_characters(value) else _whole_characters(value)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def _is_whole_characters(value: Any) -> bool:
    """Whether no text in the value has half a surrogate pair; told much sooner than by looking at each."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole_characters(value: Any) -> Any:
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return value
        case dict():
            return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
        case list():
            return [_whole_characters(item) for item in value]
        case _:
            return value
