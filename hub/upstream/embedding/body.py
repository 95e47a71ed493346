"""The body of an embeddings response, in the shapes endpoints give it, as float32 buffers. Pure.

The usual shape is decoded by msgspec straight from base64 to bytes: a thousand vectors of 1,536 dimensions in some
10 ms, where NumPy could save nothing. Everything else takes the generic way.
"""

from __future__ import annotations

import math
import sys
from array import array
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from hub.errors import EndpointError, endpoint_error
from hub.models.usage import parse_usage
from hub.result import TokenUsage
from hub.upstream import failures
from hub.upstream.wire.loose_json import decode_json

__all__ = ("EmbeddingBody", "decode_embeddings")

_TOP_BYTE = 3 if sys.byteorder == "little" else 0
_VECTORS = ("data", "embeddings", "embedding")
_BLANKS = b"\xef\xbb\xbf \t\r\n"

SMALL_BODY_BYTES = 1_000_000
"""A body up to this long is read whatever it holds, since it may be an error."""

MAX_CONTAINERS_AN_INPUT = 16
"""Objects and arrays that a longer one may have for each input, and as many again; the usual shape has two."""


@dataclass(frozen=True, slots=True)
class EmbeddingBody:
    """What one response holds.

    Attributes:
        buffers: The vectors in the order of the request's inputs, as float32 values in this machine's byte order.
        model: The name the endpoint gives; None where it gives none.
        usage: What it reports; None where it reports nothing.
    """

    buffers: list[bytes]
    model: str | None
    usage: TokenUsage | None


class _Item(msgspec.Struct, gc=False):
    embedding: bytes | list[float]  # bytes are base64 in JSON
    index: int | None = None


class _Body(msgspec.Struct):
    data: list[_Item]
    model: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_decode_usual = msgspec.json.Decoder(_Body).decode


def decode_embeddings(body: bytes | bytearray, count: int) -> EmbeddingBody:
    """The vectors of a response to `count` inputs: all of them, of one length, each number finite.

    Raises:
        EndpointError: There are others or none; or the body reports an error, or is something else.
    """
    if len(body) > SMALL_BODY_BYTES and body.count(b"[") + body.count(b"{") > MAX_CONTAINERS_AN_INPUT * (count + 1):
        raise failures.malformed(f"far more entries than vectors for {count} inputs")
    try:
        usual = _decode_usual(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_unusual(bytes(body), count)
    if usual.error:
        raise failures.from_payload({"error": usual.error})
    _check_count(usual.data, count)
    buffers = [_buffer(item.embedding) for item in usual.data]
    return EmbeddingBody(
        _in_order(buffers, [item.index for item in usual.data], count), usual.model or None, _usage(usual.usage)
    )


def _decode_unusual(body: bytes, count: int) -> EmbeddingBody:
    value = _json(body)
    top = value if isinstance(value, Mapping) else {}
    found = next((top[name] for name in _VECTORS if isinstance(top.get(name), list)), None)
    if top.get("error") or top.get("object") == "error" or (top and found is None):
        raise failures.from_payload(top)
    items = value if found is None else found
    if not isinstance(items, list):
        raise failures.malformed("JSON without vectors")
    if items and isinstance(items[0], int | float):  # {"embedding": [0.1, …]}: one vector by itself
        items = [items]
    _check_count(items, count)
    buffers = [_buffer(_values(item)) for item in items]
    indices = [item.get("index") if isinstance(item, Mapping) else None for item in items]
    model = top.get("model")
    return EmbeddingBody(
        _in_order(buffers, indices, count),
        model if isinstance(model, str) and model else None,
        _usage(top.get("usage")),
    )


def _json(body: bytes) -> Any:
    text = body.lstrip(_BLANKS)
    if not text:
        raise failures.truncated("its body is empty")
    if text.startswith(b"<"):
        raise _no_embeddings("a page of HTML or XML came")
    try:
        return decode_json(text)
    except ValueError as exc:
        if not text.startswith((b"{", b"[")):
            raise _no_embeddings("what came is no JSON") from exc
        if "truncated" in _reason(text):
            raise failures.truncated("the JSON has no end") from exc
        raise failures.malformed("the body is no JSON") from exc


def _reason(text: bytes) -> str:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        return str(exc)
    return ""


def _no_embeddings(detail: str) -> EndpointError:
    return endpoint_error(f"The endpoint did not send embeddings: {detail}.", code="not_a_stream")


def _values(item: Any) -> bytes | list[Any]:
    """One vector, out of whatever it is wrapped in."""
    if isinstance(item, Mapping):
        item = next((item[name] for name in ("embedding", "values", "vector") if name in item), None)
    if isinstance(item, Mapping):
        item = next((item[name] for name in ("float", "base64", "values") if name in item), None)
    if isinstance(item, list) and item and isinstance(item[0], list):
        if len(item) > 1:
            raise failures.malformed("a vector for each token instead of one for the input; the model needs pooling")
        item = item[0]
    if isinstance(item, list):
        if bool in set(map(type, item)):  # which Python takes for a number
            raise failures.malformed("a vector with something in it that is no number")
        return item
    if isinstance(item, str):
        try:
            return b64decode(item + "=" * (-len(item) % 4), validate=True)
        except ValueError as exc:
            raise failures.malformed("a vector that is neither a list of numbers nor base64") from exc
    raise failures.malformed("an entry that has no vector")


def _buffer(values: bytes | list[Any]) -> bytes:
    """The vector as float32 values in this machine's byte order."""
    if not values:
        raise failures.malformed("an empty vector")
    if isinstance(values, bytes):
        if len(values) % 4:
            raise failures.malformed(f"a vector of {len(values)} bytes, which are no float32 values")
        buffer = values if sys.byteorder == "little" else _swapped(values)
    else:
        try:
            buffer = array("f", values).tobytes()
        except (TypeError, OverflowError) as exc:
            raise failures.malformed("a vector with something in it that is no number") from exc
    if not _is_finite(buffer):
        raise failures.malformed("a vector with NaN or an infinite number in it")
    return buffer


def _swapped(values: bytes) -> bytes:
    swapped = array("f", values)
    swapped.byteswap()
    return swapped.tobytes()


def _is_finite(buffer: bytes) -> bool:
    # NaN and the infinities have an exponent of ones, so a top byte of 7F or FF; other numbers only above 1.7e38.
    top = buffer[_TOP_BYTE::4]
    return (b"\x7f" not in top and b"\xff" not in top) or all(map(math.isfinite, memoryview(buffer).cast("f")))


def _check_count(entries: Sequence[Any], count: int) -> None:
    if len(entries) != count:
        raise failures.malformed(f"{len(entries)} vectors for {count} inputs")


def _in_order(buffers: list[bytes], indices: Sequence[Any], count: int) -> list[bytes]:
    if any(len(buffer) != len(buffers[0]) for buffer in buffers):
        raise failures.malformed("vectors of different lengths")
    kinds = set(map(type, indices))
    if kinds <= {type(None)} or (kinds == {int} and list(indices) == list(range(count))):
        return buffers
    places: list[bytes | None] = [None] * count
    for index, buffer in zip(indices, buffers, strict=True):
        if type(index) is not int or not 0 <= index < count or places[index] is not None:
            raise failures.malformed("vectors whose indices are missing, repeated or out of range")
        places[index] = buffer
    return [buffer for buffer in places if buffer is not None]


def _usage(usage: Any) -> TokenUsage | None:
    """The counts; None where there are none, or zeros in their place (LM Studio)."""
    if not isinstance(usage, Mapping):
        return None
    if usage.get("prompt_tokens") is None and usage.get("input_tokens") is None:  # Voyage
        usage = {**usage, "prompt_tokens": usage.get("total_tokens")}
    counts = parse_usage(usage)
    return counts if counts is not None and counts.total_tokens > 0 else None
