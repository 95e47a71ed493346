"""What the body of a request may say, and its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from hub.server.problem import ProblemError

__all__ = ("StreamRequest", "read_body", "read_stream_request")

MAX_DISCARDED_BYTES = 100_000_000
"""How much of a body that is too large is read and thrown away, so that its sender gets to read the answer."""


_SINKS = (
    'sinks: at most 16 names, such as "live", or objects, such as {"name": "chat", "channel": "42"}, with up to 64 and '
    "164 characters"
)


class Message(BaseModel):
    """One message of a conversation, in Chat Completions' form; further members go through as they are."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[dict[str, Any]], Field(max_length=2_000)] | None = None


class NamedSink(BaseModel):
    """A sink of the hub's own, by its name, and what is filled in for its `{channel}`."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=64)]
    channel: Annotated[str, Field(min_length=1, max_length=164)] | None = None


class StreamRequest(BaseModel):
    """The body of `POST /v1/streams`: parameters of Chat Completions that shape the answer, and where it goes."""

    model_config = ConfigDict(extra="forbid")

    # The bounds on lists are far above any use; checking and sending a million members would hold up everyone.
    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    stop: str | Annotated[list[str], Field(max_length=64)] | None = None
    seed: int | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=10_000)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=1_000)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    identifier: Annotated[str, Field(max_length=200)] | None = None
    sinks: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=64)] | NamedSink], Field(max_length=16)] | None
    ) = None

    def arguments(self) -> dict[str, Any]:
        """The arguments for `Hub.start`: what the request says, and nothing it leaves out."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


async def read_stream_request(request: Request, *, max_bytes: int, timeout: float) -> StreamRequest:
    """The body of `POST /v1/streams`, checked; bounds as for `read_body`.

    Raises:
        ProblemError: 413, 415, 400 for what is no JSON, 422 for JSON of another shape.
    """
    # A page of another origin can send text/plain unasked, JSON only with leave, which it doesn't get.
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ProblemError(415, "Send the request as JSON, with 'Content-Type: application/json'.")
    body = await read_body(request, max_bytes=max_bytes, timeout=timeout)
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ProblemError(400, f"The body is no JSON: {exc}") from exc
    try:
        return StreamRequest.model_validate(data)
    except ValidationError as exc:
        raise ProblemError(422, _sentences(exc)) from exc


async def _parts_in_time(request: Request, timeout: float) -> AsyncGenerator[bytes, None]:
    parts = request.stream()
    while True:
        try:
            part = await asyncio.wait_for(anext(parts), timeout)
        except StopAsyncIteration:
            return
        except TimeoutError:
            detail = f"No further part of the body came for {timeout:g} s."
            raise ProblemError(408, detail, {"Connection": "close"}) from None
        yield part


async def read_body(request: Request, *, max_bytes: int, timeout: float) -> bytes:
    """The request's body.

    Args:
        request: Whose body has not been read.
        max_bytes: How large it may be.
        timeout: Seconds to wait for each next part of it.

    Raises:
        ProblemError: 413 where it is larger than `max_bytes`, 408 where it doesn't come.
    """
    parts: list[bytes] = []
    size = 0
    announced = request.headers.get("content-length", "0")
    too_large = announced.isdigit() and int(announced) > max_bytes
    try:
        async for part in _parts_in_time(request, timeout):
            size += len(part)
            too_large = too_large or size > max_bytes
            if too_large:
                parts.clear()
                if size > MAX_DISCARDED_BYTES:
                    break
            else:
                parts.append(part)
    except ClientDisconnect as exc:
        raise ProblemError(400, "The body ended early.") from exc
    if too_large:
        raise ProblemError(413, f"The body is larger than {max_bytes:,} bytes.", {"Connection": "close"})
    return b"".join(parts)


def _sentences(exc: ValidationError) -> str:
    sentences: list[str] = []
    for error in exc.errors(include_input=False, include_url=False)[:5]:
        if error["loc"][:1] == ("sinks",):  # which may be of two shapes: each would have errors of its own
            if _SINKS not in sentences:
                sentences.append(_SINKS)
            continue
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
        message = "unknown member" if error["type"] == "extra_forbidden" else error["msg"]
        sentences.append(f"{where or 'body'}: {message}")
    return "; ".join(sentences) + "."
