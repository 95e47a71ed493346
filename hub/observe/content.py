"""A call's prompts and answer as JSON in the form of OpenTelemetry's conventions; only for those who ask for it. Pure.

The form is that of the JSON Schemas of release 1.41.0. Spans bear it as a string: backends that take structured
attributes are few as yet. Text and tool calls are kept; of images, audio and files only that there was one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hub.observe.base import Outcome

__all__ = ("input_content", "output_content")

_FINISH_REASONS = {"tool_calls": "tool_call", "other": "error"}
"""Ours that the schema calls by another word."""


def input_content(params: Mapping[str, Any]) -> dict[str, str]:
    """The attributes that hold what was asked, from a request of either API; empty for other requests."""
    attributes = {}
    if isinstance(instructions := params.get("instructions"), str):
        attributes["gen_ai.system_instructions"] = _json([_text_part(instructions)])
    asked = params.get("messages", params.get("input"))
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    if isinstance(asked, Iterable):
        attributes["gen_ai.input.messages"] = _json([_message(each) for each in asked if isinstance(each, Mapping)])
    return attributes


def output_content(outcome: Outcome) -> dict[str, str]:
    """The attribute that holds the answer; empty where it wasn't kept, or nothing came of it."""
    if outcome.text is None or not (outcome.text or outcome.finish_reasons):
        return {}
    reason = outcome.finish_reasons[0] if outcome.finish_reasons else "other"
    message = {
        "role": "assistant",
        "parts": [_text_part(outcome.text)] if outcome.text else [],
        "finish_reason": _FINISH_REASONS.get(reason, reason),
    }
    return {"gen_ai.output.messages": _json([message])}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    kind, content = message.get("type"), message.get("content")
    if kind == "function_call":
        return {"role": "assistant", "parts": [_tool_call(message.get("call_id"), message)]}
    if kind == "function_call_output":
        return {"role": "tool", "parts": [_tool_response(message.get("call_id"), message.get("output"))]}
    role = message.get("role", "assistant")  # the Responses API's other items are the model's own
    if role == "tool":
        return {"role": role, "parts": [_tool_response(message.get("tool_call_id"), content)]}
    parts = _parts(content)
    for call in message.get("tool_calls") or ():
        parts.append(_tool_call(call.get("id"), call.get("function") or {}))
    return {"role": role, "parts": parts or ([{"type": kind}] if kind else [])}


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [_text_part(content)]
    return [_part(each) for each in content] if isinstance(content, list | tuple) else []


def _part(part: Any) -> dict[str, Any]:
    if not isinstance(part, Mapping):
        return _text_part(str(part))
    text = part.get("text", part.get("refusal"))
    return _text_part(text) if isinstance(text, str) else {"type": str(part.get("type"))}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _tool_call(call_id: Any, function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool_call",
        "id": call_id,
        "name": str(function.get("name")),
        "arguments": function.get("arguments"),
    }


def _tool_response(call_id: Any, output: Any) -> dict[str, Any]:
    return {"type": "tool_call_response", "id": call_id, "response": output}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=lambda strange: type(strange).__name__)
