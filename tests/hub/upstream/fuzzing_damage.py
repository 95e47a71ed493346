"""Ways to damage a body: in its bytes, in its lines, in the JSON it carries, in its size. All draw from one seed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

__all__ = ("damage",)

MAX_BODY_BYTES = 300_000
"""How large a body may grow: enough for work that grows with the square of it to show."""

BYTES = [
    *(b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\n\r", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\xbd", b"\xe2\x80\xa8"),
    *(b"\xef\xbb\xbf", b"\xef\xbb", b"\xf0\x9f", b"\xfe\xff", b":", b"{", b"}", b"[", b"]", b'"', b"\\", b",", b" ", b"<"),
    *(b"data: ", b"data:", b"data\n", b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"event: error\n", b"event:", b"id\n"),
    *(b"error: x\n\n", b"error:\n\n", b": comment\n\n", b":\n", b"id: 1\nretry: 1\n", b"event: response.completed\n"),
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0", b"0.0e-0", b'"\\ud83d"', b'"\\udc00\\ud83d"', b"\\u0000"),
    *(b"[" * 3_000, b'{"a":' * 1_100, b"9" * 5_000, b'data: {"error":{"code":503}}\n\n', b'{"choices":[]}'),
]

TOKENS = [
    *("1e999", "-1e999", "1e-999", "-0", "9" * 400, "9" * 4_301, "0.1" + "0" * 1_000, "1E400", "NaN", "-Infinity"),
    *('"\\ud83d"', '"\\ude00\\ud83d"', '"a\\u0000b"', "[" * 90 + "]" * 90, "[" * 600 + "]" * 600),
    *('{"a":' * 110 + "1" + "}" * 110, '{"a":1,"a":2}', "18446744073709551616", "-9223372036854775809"),
]
"""JSON that a value can't stand for: written in its place as it is."""

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 127, 128, 129, 1.5, -0.0, 2**31, 2**53, 2**63, 2**64, 2**70, -(2**70), 1e308),
    *("", " ", "x", "0", "1", "error", "stop", "null", "[DONE]", "\u2028", "a\x00b", "\ud800", "\ufeff", "\r\n\n", "{", "}"),
    *("{}", '{"a":1}', "tool_calls", "function_call", "message", "reasoning", "content_filter", "completed", "failed"),
    *("AACAPw==", "AACAfw==", "AAAAAAAA", "====", "sk-aaaaaaaaaaaaaaaaaaaa", "https://a:b@c/", "x" * 5_000),
    *([], {}, [None], [[]], [{}], {"": None}, {"error": {"code": 429}}, [{"index": 10**9, "delta": {"content": "x"}}]),
    *({"content": "x"}, {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, [0.5, 1, None], [1e39]),
    *({"type": "function_call", "name": "f", "arguments": "{"}, {"type": "reasoning", "encrypted_content": "e"}),
]

KEYS = [
    *("choices", "delta", "message", "index", "content", "role", "finish_reason", "tool_calls", "function", "name", "id"),
    *("arguments", "function_call", "refusal", "reasoning", "reasoning_content", "usage", "error", "code", "status", "type"),
    *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens", "cost", "object", "model"),
    *("created", "created_at", "text", "thinking", "detail", "response", "output", "item", "item_id", "output_index"),
    *("content_index", "summary_index", "summary", "call_id", "encrypted_content", "incomplete_details", "reason", "input"),
    *("namespace", "caller", "extra_content", "data", "embedding", "embeddings", "float", "base64", "values", "vector"),
    *("prompt_tokens_details", "cached_tokens", "completion_tokens_details", "reasoning_tokens", "", "a\u0000", "\ud800"),
]

TYPES = [
    *("response.created", "response.completed", "response.failed", "response.incomplete", "response.cancelled", "error"),
    *("response.output_item.added", "response.output_item.done", "response.output_text.delta", "response.output_text.done"),
    *("response.refusal.delta", "response.reasoning_text.delta", "response.reasoning_summary_text.done"),
    *("response.function_call_arguments.delta", "response.custom_tool_call_input.done", "response.", "response", "."),
]

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
        value = _damaged(value, rand)
        text = json.dumps(value, ensure_ascii=rand.random() < 0.5, separators=rand.choice(((",", ":"), (", ", ": "))))
    except (ValueError, OverflowError, RecursionError):
        return data
    if rand.random() < 0.3:
        text = text.replace('"@@"', rand.choice(TOKENS))
    return text.encode("utf-8", "surrogatepass")


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
            return value | {rand.choice(KEYS): rand.choice((*VALUES, "@@", value))}
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
            return "@@"
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
