"""Tools as the text that models of OpenAI's are shown, so that their tokens can be counted. Pure.

The form is the one OpenAI published for its open models: a namespace of functions with TypeScript types
(developers.openai.com/cookbook/articles/openai-harmony, read 2026-11-21). Other models' forms are not published.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ("tools_text",)

_TYPES = {"integer": "number", "object": "object", "array": "any[]"}
"""Names that differ in TypeScript; arrays and objects whose schema says no more."""

MAX_DEPTH = 32
"""Schemas nested deeper are cut off: their depth may not exhaust the interpreter's stack."""


def tools_text(tools: Iterable[Any]) -> str:
    """The text that stands for these tools, in the form of Chat Completions or of the Responses API.

    What is no function (a search tool that runs at the endpoint) is left out: what it adds is not published.
    """
    functions = [text for tool in tools if (text := _function(tool))]
    if not functions:
        return ""
    body = "\n\n".join(functions)
    return f"# Tools\n\n## functions\n\nnamespace functions {{\n\n{body}\n\n}} // namespace functions"


def _function(tool: Any) -> str:
    if not isinstance(tool, Mapping):
        return ""
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str):
        return ""
    parameters = function.get("parameters")
    has_any = isinstance(parameters, Mapping) and parameters.get("properties")
    argument = f"_: {_type(parameters, 0)}" if has_any else ""
    return "\n".join([*_comment(function), f"type {name} = ({argument}) => any;"])


def _comment(schema: Mapping[Any, Any]) -> Iterator[str]:
    description = schema.get("description")
    if isinstance(description, str) and description:
        yield from (f"// {line}" for line in description.splitlines())


def _type(schema: Any, depth: int) -> str:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return "any"
    if isinstance(choices := schema.get("enum"), list):
        return " | ".join(json.dumps(choice, ensure_ascii=False, default=str) for choice in choices)
    for key in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(key), list):
            return " | ".join(_type(option, depth + 1) for option in options)
    if isinstance(properties := schema.get("properties"), Mapping):
        return _object(properties, schema.get("required"), depth)
    if "items" in schema:
        return f"{_type(schema['items'], depth + 1)}[]"
    names = schema.get("type")
    listed = names if isinstance(names, list) else [names]
    return " | ".join(_TYPES.get(name, name) if isinstance(name, str) else "any" for name in listed)


def _object(properties: Mapping[Any, Any], required: Any, depth: int) -> str:
    lines = ["{"]
    for name, schema in properties.items():
        if isinstance(schema, Mapping):
            lines += _comment(schema)
        mark = "" if isinstance(required, list) and name in required else "?"
        lines.append(f"{name}{mark}: {_type(schema, depth + 1)},{_default(schema)}")
    return "\n".join([*lines, "}"])


def _default(schema: Any) -> str:
    if not isinstance(schema, Mapping) or "default" not in schema:
        return ""
    return f" // default: {json.dumps(schema['default'], ensure_ascii=False, default=str)}"
