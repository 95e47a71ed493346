"""Embeddings without a model: equal texts have equal vectors, in the format that OpenAI sends."""

from __future__ import annotations

import hashlib
import math
import struct
from array import array
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from hub.testing.replies import Reply, json_reply, status_reply
from hub.testing.request import RecordedRequest

__all__ = ("embeddings_answer", "embeddings_reply", "fake_vector")

DIMENSIONS = 16
_MAX_DIMENSIONS = 8192


class _Request(msgspec.Struct):
    input: str | list[str | list[int] | int]
    model: str = ""
    encoding_format: str = "float"
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=_MAX_DIMENSIONS)] | None = None


def fake_vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """A vector of length 1 that the text alone decides: no meaning is in it, and other texts get other vectors.

    Its values are float32 numbers, so they come through base64 unchanged.
    """
    digest = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    values = [2 * number + 1 for number in struct.unpack(f"<{dimensions}h", digest)]  # odd, so never all 0
    length = math.hypot(*values)
    return array("f", (value / length for value in values)).tolist()


def embeddings_reply(
    vectors: Sequence[Sequence[float]] | int = 1,
    *,
    dimensions: int = DIMENSIONS,
    base64: bool = True,
    model: str = "scripted",
    usage: bool | Mapping[str, Any] = True,
) -> Reply:
    """A whole answer to an embeddings request.

    Args:
        vectors: The vectors, or how many: then each is the `fake_vector` of its number.
        dimensions: Of each vector, where only their number is given.
        base64: Send float32 values as base64, else lists of numbers.
        model: The model that the answer names.
        usage: Its `usage` object; True counts one token for each vector, False leaves it out.
    """
    if isinstance(vectors, int):
        vectors = [fake_vector(str(number), dimensions) for number in range(vectors)]
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if base64 else list(vector)}
        for index, vector in enumerate(vectors)
    ]
    body: dict[str, Any] = {"object": "list", "data": data, "model": model}
    if usage is not False:
        body["usage"] = _usage(len(data)) if usage is True else usage
    return json_reply(body)


def embeddings_answer(request: RecordedRequest, *, dimensions: int = DIMENSIONS, model: str = "scripted") -> Reply:
    """The reply to a request for embeddings: the `fake_vector` of each input, or an error such as OpenAI sends.

    Args:
        request: A `POST /v1/embeddings`; a list of token ids counts as the text of its numbers.
        dimensions: Of each vector, where the request asks for no number of its own.
        model: The name it answers under, whatever model was asked for.
    """
    try:
        asked = msgspec.json.decode(request.body, type=_Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return status_reply(400, f"The body is no embeddings request: {exc}.")
    texts = _texts(asked.input)
    if not texts or not all(texts):
        return status_reply(400, "'input' must not be empty, nor hold an empty text.", param="input")
    if asked.encoding_format not in ("float", "base64"):
        message = f"Invalid value for 'encoding_format': {asked.encoding_format!r}."
        return status_reply(400, message, param="encoding_format")
    tokens = sum(len(text.split()) or 1 for text in texts)
    return embeddings_reply(
        [fake_vector(text, asked.dimensions or dimensions) for text in texts],
        base64=asked.encoding_format == "base64",
        model=model,
        usage=_usage(tokens),
    )


def _texts(value: str | list[str | list[int] | int]) -> list[str]:
    if isinstance(value, str):
        return [value]
    if value and all(isinstance(each, int) for each in value):
        return [_text(value)]
    return [each if isinstance(each, str) else _text(each if isinstance(each, list) else [each]) for each in value]


def _text(token_ids: Sequence[Any]) -> str:
    return " ".join(map(str, token_ids))


def _base64(vector: Sequence[float]) -> str:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}
