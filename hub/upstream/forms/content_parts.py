"""The parts of a message's content in the forms of both APIs. Pure.

Parts: https://platform.openai.com/docs/api-reference/chat/create and …/responses/create (read 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hub.errors import InvalidRequestError

__all__ = ("chat_parts", "input_parts", "output_parts")

_FILE_MEMBERS = ("file_data", "file_id", "filename")


def input_parts(content: Any, where: str) -> list[dict[str, Any]]:
    """The parts of what a user, the system or a tool says, in the Responses API's form.

    Args:
        content: Parts in either form.
        where: What to call them in an error.

    Raises:
        InvalidRequestError: One has no counterpart, or is no part.
    """
    return [_input_part(part, at) for part, at in _numbered(content, where)]


def output_parts(content: Any, where: str) -> list[dict[str, Any]]:
    """The parts of what the assistant said, in the Responses API's form.

    Args:
        content: A text, or parts in either form.
        where: What to call them in an error.

    Raises:
        InvalidRequestError: One has no counterpart, or is no part.
    """
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    return [_output_part(part, at) for part, at in _numbered(content, where)]


def chat_parts(content: Any, where: str, role: str) -> list[dict[str, Any]]:
    """The parts in the form of Chat Completions.

    Args:
        content: Parts in either form.
        where: What to call them in an error.
        role: Who says them: only users say more than text.

    Raises:
        InvalidRequestError: One has no counterpart, or is no part.
    """
    parts = [_chat_part(part, at) for part, at in _numbered(content, where)]
    for part in parts:
        if part["type"] != "text" and role != "user" and (part["type"], role) != ("refusal", "assistant"):
            raise InvalidRequestError(f"{where}: {part['type']} has no place in a message of role {role!r}.")
    return parts


def _numbered(content: Any, where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    if isinstance(content, bytes | str | Mapping) or not isinstance(content, Iterable):
        raise InvalidRequestError(f"{where} must be a text or a list of parts, not {type(content).__name__}.")
    for number, part in enumerate(content):
        if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
            raise InvalidRequestError(f"{where}[{number}] must be a mapping with a 'type'.")
        yield part, f"{where}[{number}]"


def _input_part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": str()}:
            return {**part, "type": "input_text"}
        case {"type": "image_url", "image_url": {"url": str(url)} as image}:
            return {**part, "type": "input_image", "image_url": url, "detail": image.get("detail") or "auto"}
        case {"type": "file", "file": Mapping() as file}:
            return {**_without(part, "file"), **file, "type": "input_file"}
        case {"type": "input_text" | "input_image" | "input_file" | "input_audio"}:
            return dict(part)
        case _:
            raise InvalidRequestError(f"{where} of type {part['type']!r} has no counterpart in the Responses API.")


def _output_part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": str()}:
            return {**part, "type": "output_text"}
        case {"type": "output_text" | "refusal"}:
            return dict(part)
        case _:
            raise InvalidRequestError(f"{where} of type {part['type']!r} has no counterpart in the Responses API.")


def _chat_part(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    match part:
        case {"type": "input_text", "text": str()}:
            return {**part, "type": "text"}
        case {"type": "output_text", "text": str(text)}:  # without annotations and logprobs, which no one sends back
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str(url)}:
            detail = {} if part.get("detail") in (None, "auto") else {"detail": part["detail"]}
            image = {"type": "image_url", "image_url": {"url": url, **detail}}
            return image | _without(part, "type", "image_url", "detail", "file_id")
        case {"type": "input_file"} if part.get("file_url") is None and part.get("detail") in (None, "auto"):
            file = {key: part[key] for key in _FILE_MEMBERS if part.get(key) is not None}
            return {"type": "file", "file": file, **_without(part, "type", "detail", "file_url", *_FILE_MEMBERS)}
        case {"type": "input_audio" | "refusal" | "text" | "image_url" | "file"}:
            return dict(part)
        case _:
            raise InvalidRequestError(f"{where} of type {part['type']!r} has no counterpart in Chat Completions.")


def _without(part: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in names}
