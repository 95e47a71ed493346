"""A tool, and a choice among tools, in the forms of both APIs: Chat Completions nests what the Responses API doesn't.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.errors import InvalidRequestError

__all__ = ("flat_choice", "flat_tool", "nested_choice", "nested_tool")

_MEMBERS = ("type", "name", "description", "parameters", "strict", "format")


def flat_tool(tool: Any, where: str) -> Any:
    """The tool in the Responses API's form, which it may be in already.

    Args:
        tool: In either form.
        where: What to call it in an error.

    Raises:
        InvalidRequestError: It is no tool.
    """
    match tool:
        case {"type": "function", "function": Mapping() as function}:
            # There, what is left out means strict.
            parameters = function.get("parameters") or {"type": "object", "properties": {}}
            return {"type": "function", **function, "parameters": parameters, "strict": bool(function.get("strict"))}
        case {"type": "custom", "custom": Mapping() as custom}:
            grammar = {"format": _flat_grammar(custom["format"])} if "format" in custom else {}
            return {"type": "custom", **custom, **grammar}
        case {"type": str()}:
            return tool
        case _:
            raise InvalidRequestError(f"{where} must be a mapping with a 'type'.")


def nested_tool(tool: Any, where: str) -> Any:
    """The tool in the form of Chat Completions, which it may be in already.

    Args:
        tool: In either form.
        where: What to call it in an error.

    Raises:
        InvalidRequestError: It is no tool, or one that the endpoint of a Responses API runs itself.
    """
    match tool:
        case {"type": "function", "function": _} | {"type": "custom", "custom": _}:
            return tool
        case {"type": "function" | "custom" as type_, "name": str()}:
            members = {key: value for key, value in tool.items() if value is not None and key != "type"}
            for key in [key for key in members if key not in _MEMBERS]:
                raise InvalidRequestError(f"{where}.{key} has no counterpart in Chat Completions.")
            if not members.get("strict"):
                members.pop("strict", None)
            if "format" in members:
                members["format"] = _nested_grammar(members["format"])
            return {"type": type_, type_: members}
        case {"type": str(type_)}:
            raise InvalidRequestError(f"{where} of type {type_!r} has no counterpart in Chat Completions.")
        case _:
            raise InvalidRequestError(f"{where} must be a mapping with a 'type'.")


def flat_choice(choice: Any) -> Any:
    """`tool_choice` in the Responses API's form, which it may be in already."""
    match choice:
        case {"type": "function", "function": Mapping() as named} | {"type": "custom", "custom": Mapping() as named}:
            return {"type": choice["type"], **named}
        case {"type": "allowed_tools", "allowed_tools": Mapping() as allowed}:
            return {"type": "allowed_tools", **allowed, "tools": [flat_choice(each) for each in allowed["tools"]]}
        case _:
            return choice


def nested_choice(choice: Any) -> Any:
    """`tool_choice` in the form of Chat Completions, which it may be in already.

    Raises:
        InvalidRequestError: It chooses a tool that the endpoint of a Responses API runs itself.
    """
    match choice:
        case str() | {"type": "function", "function": _} | {"type": "custom", "custom": _}:
            return choice
        case {"type": "allowed_tools", "allowed_tools": _}:
            return choice
        case {"type": "function" | "custom" as type_, "name": str()}:
            return {"type": type_, type_: _without(choice, "type")}
        case {"type": "allowed_tools", "tools": list(tools)}:
            nested = [nested_choice(each) for each in tools]
            return {"type": "allowed_tools", "allowed_tools": {**_without(choice, "type"), "tools": nested}}
        case {"type": str(type_)}:
            raise InvalidRequestError(f"tool_choice of type {type_!r} has no counterpart in Chat Completions.")
        case _:
            raise InvalidRequestError("tool_choice must be a text or a mapping with a 'type'.")


def _flat_grammar(format_: Any) -> Any:
    match format_:
        case {"type": "grammar", "grammar": Mapping() as grammar}:
            return {"type": "grammar", **grammar}
        case _:
            return format_


def _nested_grammar(format_: Any) -> Any:
    match format_:
        case {"type": "grammar", "definition": _}:
            return {"type": "grammar", "grammar": _without(format_, "type")}
        case _:
            return format_


def _without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}
