"""Replies in the format of the Responses API, as OpenAI sends it.

Events and their order: https://platform.openai.com/docs/api-reference/responses-streaming (read 2026-11-21).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from hub.result import ToolCall
from hub.testing.chat import words
from hub.testing.replies import Pause, Reply, Step, json_reply, raw_reply

__all__ = ("response_event", "responses_reply", "responses_usage", "whole_response_reply")

_CREATED = 1_800_000_000
_RESPONSE_ID = "resp_scripted"
_INPUT_TOKENS = 7
_FRAGMENT_LENGTH = 8


class _Event:
    """An event before it has its number."""

    def __init__(self, type_: str, *, is_delta: bool = False, **members: Any) -> None:
        self.type = f"response.{type_}"
        self.is_delta = is_delta
        self.members = members


def response_event(type_: str, **members: Any) -> bytes:
    """One event of a stream, as its frame; the frame bears the event's name as OpenAI's do."""
    return b"event: %b\ndata: %b\n\n" % (type_.encode(), msgspec.json.encode({"type": type_, **members}))


def responses_reply(
    text: str | Iterable[str | Step],
    *,
    model: str = "scripted",
    usage: bool | Mapping[str, Any] = True,
    reasoning: str = "",
    refusal: str = "",
    tool_calls: Sequence[ToolCall] = (),
    incomplete_reason: str | None = None,
    error: Mapping[str, Any] | None = None,
    delay: float = 0.0,
    response_id: str = _RESPONSE_ID,
    created: int = _CREATED,
    slice_bytes: int | None = None,
) -> Reply:
    """A stream from `response.created` to the event that ends it, each event a step.

    Args:
        text: The answer: a string goes out a word at a time, the strings of a sequence one at a time. Steps among
            them are carried out where they stand.
        model: The model that the response names.
        usage: The `usage` object of the last event; True counts one token for each piece and 7 for the input, False
            leaves it null.
        reasoning: Sent before the answer, a word at a time, as a summary.
        refusal: Sent after the text, a word at a time.
        tool_calls: Sent after the answer, their arguments in fragments, in this order.
        incomplete_reason: Ends the stream with `response.incomplete` and this reason (`max_output_tokens`,
            `content_filter`); None with `response.completed`.
        error: The `code` and `message` that end the stream with `response.failed`.
        delay: Seconds before each piece.
        response_id: The response's `id`.
        created: The response's `created_at`, in Unix seconds.
        slice_bytes: As in `Reply`.
    """
    pieces = words(text) if isinstance(text, str) else list(text)
    status = "failed" if error is not None else "completed" if incomplete_reason is None else "incomplete"
    items = _items(pieces, reasoning, refusal, tool_calls, "completed" if status == "completed" else "incomplete")
    events = [event for _, item in items for event in item]
    sent = sum(isinstance(event, _Event) and event.is_delta for event in events) + len(tool_calls)
    counted = responses_usage(_INPUT_TOKENS, sent, reasoning_tokens=len(words(reasoning)))
    begun = _response(model, response_id, created)
    ended = begun | {
        "status": status,
        "output": [item for item, _ in items],
        "incomplete_details": None if incomplete_reason is None else {"reason": incomplete_reason},
        "error": error,
        "usage": None if usage is False else counted if usage is True else usage,
    }
    first = [_Event("created", response=begun), _Event("in_progress", response=begun)]
    numbers = itertools.count()
    steps: list[Step] = []
    for event in (*first, *events, _Event(status, response=ended)):
        if not isinstance(event, _Event):
            steps.append(event)
            continue
        if delay and event.is_delta:
            steps.append(Pause(delay))
        steps.append(response_event(event.type, sequence_number=next(numbers), **event.members))
    return raw_reply(*steps, slice_bytes=slice_bytes)


def whole_response_reply(
    text: str,
    *,
    model: str = "scripted",
    usage: Mapping[str, Any] | None = None,
    tool_calls: Sequence[ToolCall] = (),
    response_id: str = _RESPONSE_ID,
    created: int = _CREATED,
) -> Reply:
    """A whole `response` as JSON, as an endpoint answers that does not stream.

    `usage` None counts one token for each word and 7 for the input.
    """
    items = _items(words(text), "", "", tool_calls, "completed")
    response = _response(model, response_id, created) | {
        "status": "completed",
        "output": [item for item, _ in items],
        "usage": responses_usage(_INPUT_TOKENS, len(words(text))) if usage is None else usage,
    }
    return json_reply(response)


def responses_usage(input_tokens: int, output_tokens: int, *, reasoning_tokens: int = 0) -> dict[str, Any]:
    """A `usage` object; the reasoning is part of the output."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": input_tokens + output_tokens,
    }


def _response(model: str, response_id: str, created: int) -> dict[str, Any]:
    return {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _items(
    pieces: Sequence[str | Step], reasoning: str, refusal: str, tool_calls: Sequence[ToolCall], status: str
) -> list[tuple[dict[str, Any], list[_Event | Step]]]:
    """Each item of the output as it is in the end, and the events that bring it."""
    items: list[tuple[dict[str, Any], list[_Event | Step]]] = []
    if reasoning:
        items.append(_reasoning(reasoning, len(items)))
    if pieces or refusal or not tool_calls:
        items.append(_message(pieces, refusal, len(items), status))
    for call in tool_calls:
        items.append(_tool_call(call, len(items)))
    return items


def _reasoning(text: str, index: int) -> tuple[dict[str, Any], list[_Event | Step]]:
    empty = {"id": f"rs_{index}", "type": "reasoning", "summary": []}
    at: dict[str, Any] = {"item_id": empty["id"], "output_index": index, "summary_index": 0}
    part = {"type": "summary_text", "text": text}
    item = empty | {"summary": [part]}
    return item, [
        _Event("output_item.added", output_index=index, item=empty),
        _Event("reasoning_summary_part.added", **at, part=part | {"text": ""}),
        *(_Event("reasoning_summary_text.delta", **at, delta=word, is_delta=True) for word in words(text)),
        _Event("reasoning_summary_text.done", **at, text=text),
        _Event("reasoning_summary_part.done", **at, part=part),
        _Event("output_item.done", output_index=index, item=item),
    ]


def _message(
    pieces: Sequence[str | Step], refusal: str, index: int, status: str
) -> tuple[dict[str, Any], list[_Event | Step]]:
    empty = {"id": f"msg_{index}", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    parts: list[dict[str, Any]] = []
    events: list[_Event | Step] = [_Event("output_item.added", output_index=index, item=empty)]
    at: dict[str, Any] = {"item_id": empty["id"], "output_index": index}
    if pieces or not refusal:
        parts.append({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
        events += _part(parts[-1], "output_text", "text", {**at, "content_index": 0}, pieces, logprobs=[])
    if refusal:
        place = {**at, "content_index": len(parts)}
        parts.append({"type": "refusal", "refusal": refusal})
        events += _part(parts[-1], "refusal", "refusal", place, words(refusal))
    item = empty | {"status": status, "content": parts}
    return item, [*events, _Event("output_item.done", output_index=index, item=item)]


def _part(
    part: Mapping[str, Any], name: str, key: str, at: Mapping[str, Any], pieces: Iterable[str | Step], **more: Any
) -> Iterator[_Event | Step]:
    """The events of one part of a message."""
    yield _Event("content_part.added", **at, part={**part, key: ""})
    for piece in pieces:
        yield _Event(f"{name}.delta", **at, delta=piece, **more, is_delta=True) if isinstance(piece, str) else piece
    yield _Event(f"{name}.done", **at, **{key: part[key]}, **more)
    yield _Event("content_part.done", **at, part=part)


def _tool_call(call: ToolCall, index: int) -> tuple[dict[str, Any], list[_Event | Step]]:
    empty = {
        "id": f"fc_{index}",
        "type": "function_call",
        "status": "in_progress",
        "call_id": call.id,
        "name": call.name,
        "arguments": "",
    }
    at: dict[str, Any] = {"item_id": empty["id"], "output_index": index}
    fragments = (
        call.arguments[start : start + _FRAGMENT_LENGTH] for start in range(0, len(call.arguments), _FRAGMENT_LENGTH)
    )
    item = empty | {"status": "completed", "arguments": call.arguments}
    return item, [
        _Event("output_item.added", output_index=index, item=empty),
        *(_Event("function_call_arguments.delta", **at, delta=part, is_delta=True) for part in fragments),
        _Event("function_call_arguments.done", **at, arguments=call.arguments),
        _Event("output_item.done", output_index=index, item=item),
    ]
