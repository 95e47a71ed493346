"""Replies in the Chat Completions format, as OpenAI sends it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hub.result import ToolCall
from hub.testing.replies import Pause, Reply, Step, json_reply, raw_reply, sse

__all__ = ("chat_chunk", "chat_reply", "completion_reply", "usage_counts", "words")

_CREATED = 1_800_000_000
_RESPONSE_ID = "chatcmpl-scripted"
_PROMPT_TOKENS = 7
_FRAGMENT_LENGTH = 8


def chat_chunk(
    *,
    model: str = "scripted",
    response_id: str = _RESPONSE_ID,
    created: int = _CREATED,
    choice: int = 0,
    finish_reason: str | None = None,
    **delta: Any,
) -> dict[str, Any]:
    """One `chat.completion.chunk` of one choice with this delta, for use with `sse`."""
    return {
        "id": response_id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [{"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }


def chat_reply(
    text: str | Iterable[str | Step],
    *,
    model: str = "scripted",
    usage: bool | Mapping[str, Any] = False,
    finish_reason: str | None = None,
    reasoning: str = "",
    tool_calls: Sequence[ToolCall] = (),
    delay: float = 0.0,
    response_id: str = _RESPONSE_ID,
    created: int = _CREATED,
    slice_bytes: int | None = None,
) -> Reply:
    """A stream from its role chunk to `[DONE]`, each frame a step.

    Args:
        text: The answer: a string goes out a word at a time, the strings of a sequence one at a time. Steps among
            them are carried out where they stand.
        model: The model that the chunks name.
        usage: The `usage` object of a last chunk without choices; True counts one token for each piece and 7 for
            the prompt, False leaves that chunk out.
        finish_reason: None means `tool_calls` where there are some, else `stop`.
        reasoning: Sent before the answer, a word at a time, as `reasoning_content`.
        tool_calls: Sent after the answer, their arguments in fragments, numbered in this order.
        delay: Seconds before each piece.
        response_id: The `id` of every chunk.
        created: The `created` of every chunk, in Unix seconds.
        slice_bytes: As in `Reply`.
    """
    pieces = words(text) if isinstance(text, str) else list(text)
    content = [*_reasoning(reasoning), *_content(pieces), *_tool_calls(tool_calls)]
    if finish_reason is None:
        finish_reason = "tool_calls" if tool_calls else "stop"
    start = {"role": "assistant", "content": None if tool_calls and not pieces else "", "refusal": None}
    # Where usage was asked for, OpenAI sends `usage: null` in every chunk but the last.
    unknown = {} if usage is False else {"usage": None}

    def frame(delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        chunk = chat_chunk(model=model, response_id=response_id, created=created, finish_reason=finish_reason, **delta)
        return sse(chunk | unknown, done=False)

    steps: list[Step] = [frame(start)]
    for delta in content:
        if isinstance(delta, dict):
            steps += (Pause(delay), frame(delta)) if delay else (frame(delta),)
        else:
            steps.append(delta)
    steps.append(frame({}, finish_reason))
    if usage is not False:
        sent = sum(isinstance(delta, dict) for delta in content)
        counted = usage_counts(_PROMPT_TOKENS, sent, reasoning_tokens=len(words(reasoning)))
        last = chat_chunk(model=model, response_id=response_id, created=created)
        steps.append(sse(last | {"choices": [], "usage": counted if usage is True else usage}, done=False))
    return raw_reply(*steps, sse(), slice_bytes=slice_bytes)


def completion_reply(
    text: str,
    *,
    model: str = "scripted",
    usage: Mapping[str, Any] | None = None,
    response_id: str = _RESPONSE_ID,
    created: int = _CREATED,
) -> Reply:
    """A whole `chat.completion` as JSON, as an endpoint answers that does not stream.

    `usage` None counts one token for each word and 7 for the prompt.
    """
    message = {"role": "assistant", "content": text, "refusal": None}
    return json_reply(
        {
            "id": response_id,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": usage_counts(_PROMPT_TOKENS, len(words(text))) if usage is None else usage,
        }
    )


def usage_counts(prompt_tokens: int, completion_tokens: int, *, reasoning_tokens: int = 0) -> dict[str, Any]:
    """A `usage` object; the reasoning is part of the completion."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
    }


def words(text: str) -> list[str]:
    """The text in pieces as models make them: a word and the space before it. Joined, they are the text."""
    return re.findall(r"\s*\S+|\s+", text)


def _reasoning(text: str) -> Iterator[dict[str, Any]]:
    for word in words(text):
        yield {"reasoning_content": word}


def _content(pieces: Iterable[str | Step]) -> Iterator[dict[str, Any] | Step]:
    for piece in pieces:
        yield {"content": piece} if isinstance(piece, str) else piece


def _tool_calls(calls: Iterable[ToolCall]) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(calls):
        named = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield {"tool_calls": [named]}
        for start in range(0, len(call.arguments), _FRAGMENT_LENGTH):
            fragment = call.arguments[start : start + _FRAGMENT_LENGTH]
            yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}
