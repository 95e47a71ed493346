"""What was said so far, in the forms of both APIs: the messages of Chat Completions, the items of the Responses API.

Pure, and linear in the number of messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from hub.errors import InvalidRequestError
from hub.upstream.forms.content_parts import chat_parts, input_parts, output_parts

__all__ = ("items_of", "messages_of")

_ROLES = ("user", "system", "developer")
_KEPT_OF_CALLS = ("namespace", "caller")


def items_of(messages: Any) -> list[dict[str, Any]]:
    """The items that stand for these messages.

    A tool call of an earlier answer may bear its `extra`, beside `function`: what that says goes into the items.

    Raises:
        InvalidRequestError: Something in them has no counterpart in the Responses API, or is no message.
    """
    items: list[dict[str, Any]] = []
    custom: set[Any] = set()
    for number, message in enumerate(_listed(messages, "messages")):
        where = f"messages[{number}]"
        for key in ("name", "audio", "function_call"):
            if message.get(key) is not None:
                raise InvalidRequestError(f"{where}.{key} has no counterpart in the Responses API.")
        match message.get("role"):
            case "assistant":
                items += _said(message, where)
                for entry in _entries(message, where):
                    items += _call_items(entry, where)
                    if items[-1]["type"] == "custom_tool_call":
                        custom.add(items[-1]["call_id"])
            case "tool":
                items.append(_output_item(message, custom, where))
            case str(role) if role in _ROLES:
                content = message.get("content")
                parts = content if isinstance(content, str) else input_parts(content, f"{where}.content")
                items.append({"type": "message", "role": role, "content": parts})
            case str(role):
                raise InvalidRequestError(f"{where}: the role {role!r} has no counterpart in the Responses API.")
            case _:
                raise InvalidRequestError(f"{where} must be a mapping with a 'role'.")
    return items


def messages_of(given: Any, *, role: str = "user") -> list[dict[str, Any]]:
    """The messages that stand for an `input`.

    Calls that follow one another, or a message of the assistant, are of one message. Reasoning is left out.

    Args:
        given: A text or items.
        role: Who said it, where it is a text.

    Raises:
        InvalidRequestError: Something in it has no counterpart in Chat Completions, or is no item.
    """
    if isinstance(given, str):
        return [{"role": role, "content": given}]
    messages: list[dict[str, Any]] = []
    for number, item in enumerate(_listed(given, "input")):
        where = f"input[{number}]"
        match item.get("type", "message"):
            case "message":
                messages.append(_message(item, where))
            case "function_call" | "custom_tool_call":
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant", "content": None})
                messages[-1].setdefault("tool_calls", []).append(_entry(item, where))
            case "function_call_output" | "custom_tool_call_output":
                output = item.get("output")
                content = output if isinstance(output, str) else chat_parts(output, f"{where}.output", "tool")
                messages.append({"role": "tool", "tool_call_id": _required(item, "call_id", where), "content": content})
            case "reasoning":
                continue
            case type_:
                raise InvalidRequestError(f"{where} of type {type_!r} has no counterpart in Chat Completions.")
    return messages


def _listed(values: Any, name: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidRequestError(f"{name} must be a list, not {type(values).__name__}.")
    number = -1
    for number, value in enumerate(values):
        # The SDK's own objects, as an earlier answer had them, are pydantic models.
        plain = value.model_dump(exclude_none=True, by_alias=True) if isinstance(value, BaseModel) else value
        if not isinstance(plain, Mapping):
            raise InvalidRequestError(f"{name}[{number}] must be a mapping, not {type(value).__name__}.")
        yield plain
    if number < 0:
        raise InvalidRequestError(f"{name} is empty: at least one message is needed.")


def _said(message: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """The item of what the assistant said; none where it only called tools."""
    content, refusal = message.get("content"), message.get("refusal")
    parts = output_parts(content, f"{where}.content") if content else []
    if refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    if not parts and not message.get("tool_calls"):
        parts = [{"type": "output_text", "text": ""}]
    if parts:
        yield {"type": "message", "role": "assistant", "content": parts}


def _entries(message: Mapping[str, Any], where: str) -> Iterator[Mapping[str, Any]]:
    for number, entry in enumerate(message.get("tool_calls") or ()):
        if not isinstance(entry, Mapping):
            raise InvalidRequestError(f"{where}.tool_calls[{number}] must be a mapping, not {type(entry).__name__}.")
        yield entry


def _call_items(entry: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """The items of a tool call: the reasoning that led to it, and itself."""
    yield from entry.get("reasoning_items") or ()
    kept = {key: entry[key] for key in _KEPT_OF_CALLS if entry.get(key) is not None}
    if entry.get("item_id") is not None:
        kept["id"] = entry["item_id"]
    call_id = _required(entry, "id", f"{where}.tool_calls")
    match entry:
        case {"custom": {"name": str(name), "input": str(text)}}:
            yield {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": text, **kept}
        case {"function": {"name": str(name), "arguments": str(text)}}:
            if entry.get("item_type") == "custom_tool_call":
                yield {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": text, **kept}
            else:
                yield {"type": "function_call", "call_id": call_id, "name": name, "arguments": text, **kept}
        case _:
            raise InvalidRequestError(
                f"{where}.tool_calls must each have a 'function': a 'name' and 'arguments', a text."
            )


def _output_item(message: Mapping[str, Any], custom: set[Any], where: str) -> dict[str, Any]:
    call_id = _required(message, "tool_call_id", where)
    content = message.get("content")
    output = content if isinstance(content, str) else input_parts(content, f"{where}.content")
    type_ = "custom_tool_call_output" if call_id in custom else "function_call_output"
    return {"type": type_, "call_id": call_id, "output": output}


def _message(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    role, content = item.get("role"), item.get("content")
    if role in _ROLES:
        return {"role": role, "content": content if isinstance(content, str) else chat_parts(content, where, role)}
    if role != "assistant":
        raise InvalidRequestError(f"{where} must be a mapping with a 'type', or with a 'role' and a 'content'.")
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    parts = chat_parts(content, f"{where}.content", "assistant")
    texts = [part for part in parts if part["type"] == "text"]
    refusals = "".join(part["refusal"] for part in parts if part["type"] == "refusal")
    message = {"role": "assistant", "content": texts[0]["text"] if len(texts) == 1 else texts or None}
    return {**message, "refusal": refusals} if refusals else message


def _entry(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    call_id, name = _required(item, "call_id", where), _required(item, "name", where)
    if item["type"] == "custom_tool_call":
        text = _required(item, "input", where)
        return {"id": call_id, "type": "custom", "custom": {"name": name, "input": text}}
    function = {"name": name, "arguments": _required(item, "arguments", where)}
    return {"id": call_id, "type": "function", "function": function}


def _required(value: Mapping[str, Any], key: str, where: str) -> str:
    text = value.get(key)
    if not isinstance(text, str):
        raise InvalidRequestError(f"{where} needs {key!r}, a text.")
    return text
