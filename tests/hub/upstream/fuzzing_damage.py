"""Ways to damage a body: in its bytes, in its lines, in the JSON it carries, in its size. All draw from one seed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from .fuzzing_values import BYTES, COUNTS, HOSTILE, KEYS, MARK, TOKENS, TYPES, VALUES

__all__ = ("damage",)

MAX_BODY_BYTES = 300_000
"""How large a body may grow: enough for work that grows with the square of it to show."""

_NUMBER = re.compile(rb"(?<=[:_])\d{1,9}(?=[,\"}\]])")


def damage(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    """The body damaged in one to five ways.

    Args:
        body: A good one, or one damaged already.
        others: Bodies to take pieces from.
        rand: Decides all.
    """
    for _ in range(rand.choice((1, 1, 1, 2, 2, 3, 5))):
        (way,) = rand.choices(_WAYS, _WEIGHTS)
        body = way(body, others, rand)
    return body[:MAX_BODY_BYTES]


def _place(body: bytes, rand: Random) -> tuple[int, int]:
    start = rand.randrange(len(body) + 1)
    return start, min(len(body), start + rand.choice((0, 1, 2, 5, 20, 100, 500)))


def _flip(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    """Some bits turned over."""
    damaged = bytearray(body)
    for _ in range(rand.randrange(1, 9) if damaged else 0):
        damaged[rand.randrange(len(damaged))] ^= 1 << rand.randrange(8)
    return bytes(damaged)


def _cut(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    start, end = _place(body, rand)
    return body[:start] + body[end:]


def _double(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    start, end = _place(body, rand)
    return body[:start] + body[start:end] * rand.choice((2, 2, 3, 20)) + body[end:]


def _insert(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    start, _ = _place(body, rand)
    return body[:start] + rand.choice(BYTES) + body[start:]


def _noise(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    start, end = _place(body, rand)
    return body[:start] + rand.randbytes(end - start) + body[end:]


def _truncate(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    return body[: rand.randrange(len(body) + 1)]


def _splice(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    """The beginning of one, the end of another."""
    other = rand.choice(others)
    return body[: rand.randrange(len(body) + 1)] + other[rand.randrange(len(other) + 1) :]


def _line_ends(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    """Other line ends, the same everywhere or each its own."""
    ends = (b"\n", b"\r\n", b"\r", b"\n\n", b"\n\r")
    if rand.random() < 0.5:
        return body.replace(b"\n", rand.choice(ends))
    return b"".join(piece + rand.choice(ends) for piece in body.split(b"\n"))


def _blocks(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    """Whole frames moved, doubled, dropped, or taken from another body."""
    blocks = body.split(b"\n\n")
    for _ in range(rand.randrange(1, 4)):
        at = rand.randrange(len(blocks))
        match rand.randrange(5):
            case 0:
                blocks.insert(rand.randrange(len(blocks) + 1), blocks[at])
            case 1 if len(blocks) > 1:
                del blocks[at]
            case 2:
                blocks.insert(rand.randrange(len(blocks) + 1), blocks.pop(at))
            case 3:
                blocks.insert(at, rand.choice(rand.choice(others).split(b"\n\n")))
            case _:
                blocks[at] = b"event: " + rand.choice((*TYPES, "", "message")).encode() + b"\n" + blocks[at]
    return b"\n\n".join(blocks)


def _few(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    """A few of the frames, so that damage to the others isn't hidden behind them."""
    blocks = body.split(b"\n\n")
    return b"\n\n".join([*blocks[: rand.randrange(1, 5)], *blocks[-rand.randrange(1, 5) :]])


def _many(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    """One frame, or one piece of the body, very often; its numbers may count up."""
    blocks = body.split(b"\n\n")
    at = rand.randrange(len(blocks))
    end = b"\n\n"
    unit = blocks[at]
    if rand.random() < 0.3:
        start, stop = _place(unit, rand)
        unit, end = unit[start:stop], b""
    if not unit + end or len(unit) > 5_000:
        return body
    count = rand.choice((50, 2_000, MAX_BODY_BYTES)) // (len(unit) + len(end)) + 2
    if rand.random() < 0.5:
        many = b"".join(_NUMBER.sub(str(number).encode(), unit) + end for number in range(count))
    else:
        many = (unit + end) * count
    if not end:
        return body.replace(unit, many, 1) if unit else body
    return b"\n\n".join([*blocks[:at], many + b"\n\n".join(blocks[at:])])


def _json(body: bytes, others: Sequence[bytes], rand: Random) -> bytes:
    """Some of the values damaged that the frames carry, or that the body is."""
    blocks = body.split(b"\n\n")
    for _ in range(rand.choice((1, 1, 2, 4))):
        at = rand.randrange(len(blocks))
        start = blocks[at].find(b"{" if rand.random() < 0.95 else b"[")
        if start >= 0 and len(blocks[at]) < 50_000:
            blocks[at] = blocks[at][:start] + _damaged_json(blocks[at][start:], rand)
    return b"\n\n".join(blocks)


def _damaged_json(data: bytes, rand: Random) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    try:
        value = _damaged(value, rand) if rand.random() < 0.7 else _with_hostile(value, rand)
        text = json.dumps(value, ensure_ascii=rand.random() < 0.5, separators=rand.choice(((",", ":"), (", ", ": "))))
    except (ValueError, OverflowError, RecursionError):
        return data
    text = text.replace(f'"{MARK}"', rand.choice(TOKENS))
    return text.encode("utf-8", "surrogatepass")


def _with_hostile(value: Any, rand: Random) -> Any:
    """The value with something in it under a key that is read, that whoever reads it may not expect."""
    objects = list(_objects(value))
    if not objects:
        return value
    chosen = rand.choice(objects)
    keys = [key for key in chosen if key in HOSTILE or key.endswith("_tokens")]
    key = rand.choice(keys or list(HOSTILE)) if rand.random() < 0.8 else rand.choice(list(HOSTILE))
    chosen[key] = rand.choice(HOSTILE.get(key, COUNTS))
    return value


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _objects(item)


def _damaged(value: Any, rand: Random) -> Any:
    """The value with something in it, at any depth, that doesn't belong there."""
    if not isinstance(value, dict | list) or not value or rand.random() < 0.15:
        return _replacement(value, rand)
    if isinstance(value, list):
        at = rand.randrange(len(value))
        match rand.randrange(6):
            case 0:
                return [*value[:at], *value[at + 1 :]]
            case 1:
                return [*value[:at], value[at], *value[at:]]
            case _:
                return [*value[:at], _damaged(value[at], rand), *value[at + 1 :]]
    key = rand.choice(list(value))
    match rand.randrange(9):
        case 0:
            return {name: item for name, item in value.items() if name != key}
        case 1:
            return {rand.choice(KEYS) if name == key else name: item for name, item in value.items()}
        case 2:
            return value | {rand.choice(KEYS): rand.choice((*VALUES, MARK, value))}
        case 3 if len(value) > 1:
            other = rand.choice(list(value))
            return value | {key: value[other], other: value[key]}
        case _:
            return value | {key: _damaged(value[key], rand)}


def _replacement(value: Any, rand: Random) -> Any:
    match rand.randrange(9):
        case 0:
            return [value]
        case 1:
            return {rand.choice(KEYS): value}
        case 2:
            return str(value)
        case 3:
            return MARK
        case 4 if isinstance(value, str):
            return rand.choice(TYPES)
        case 4 if isinstance(value, int | float) and value == value:
            return rand.choice((-value, value + 1, value * 1e18, float(value)))
        case _:
            return rand.choice(VALUES)


_Way = Callable[[bytes, Sequence[bytes], Random], bytes]
_WEIGHTED: dict[_Way, int] = {
    _json: 40,
    _blocks: 8,
    _few: 6,
    _flip: 6,
    _insert: 8,
    _cut: 6,
    _double: 5,
    _noise: 3,
    _truncate: 4,
    _splice: 5,
    _line_ends: 4,
    _many: 1,
}
_WAYS, _WEIGHTS = list(_WEIGHTED), list(_WEIGHTED.values())
