"""JSON as endpoints write it: what msgspec refuses and readers in other languages take."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ("decode_json",)


def decode_json(data: bytes) -> Any:
    """The value of any JSON, and of what endpoints take for it: NaN, numbers too large, halves of surrogate pairs.

    A half of a surrogate pair, which no UTF-8 can hold, becomes U+FFFD.

    Raises:
        ValueError: It is no JSON, or nested beyond reason.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _whole_characters(json.loads(data))
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


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
