"""JSON Schemas as endpoints take them: OpenAI's strict subset, and grammars of local servers.

Strict mode knows the types, `enum`, `const`, `anyOf`, `$ref` and `$defs` (recursion too), and of the constraints
`pattern`, nine formats, the bounds of numbers and the lengths of arrays. It wants an object at the root, every object
closed and every member required; `default`, `oneOf`, `allOf` and words beside a `$ref` are refused. Source:
https://developers.openai.com/api/docs/guides/structured-outputs (supported schemas), as quoted by
https://github.com/pydantic/pydantic-ai/pull/2420 and https://jsonschemaprofiles.unitvectorylabs.com/schemas/openai
(February 2026), read on 2026-11-21.
llama.cpp's server refuses `{"$ref": "#"}`, so a recursive root is written out and kept in `$defs` (tried 2026-11-21).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hub.structured.nulls import admits_null

__all__ = ("WRAPPED", "loose_schema", "object_schema", "obstacle", "strict_schema")

WRAPPED = "value"
"""The one member of the object that stands for a type which is no object itself."""

_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"))
_BOUNDS = ("multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "minItems", "maxItems")
_KEPT = frozenset(("type", "enum", "const", "description", "required", "pattern", "format", "$ref", *_BOUNDS))
# What strict mode can't enforce, the model is told in words; validation checks it either way.
_SAID = frozenset(("minLength", "maxLength", "uniqueItems", "examples", "default"))
_SAID_CHARS = 120
_CONDITIONS = ("allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas")
_REFUSED = frozenset(
    (*_CONDITIONS, "patternProperties", "propertyNames", "unevaluatedProperties", "prefixItems", "contains")
)
_TYPED = frozenset(("type", "$ref", "anyOf", "enum", "const"))
_NAMED = frozenset(("properties", "$defs", "patternProperties"))
_LISTED = frozenset(("anyOf", "allOf", "prefixItems"))
_NESTED = frozenset(("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"))
_NOISE = frozenset(("title", "discriminator", "$schema"))
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def object_schema(schema: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The schema with an object at its root, and whether it had to be wrapped in one for that.

    Args:
        schema: As pydantic makes it.
    """
    defs = schema.get("$defs", {})
    root = {key: value for key, value in schema.items() if key != "$defs"}
    target = root
    while "$ref" in target:
        target = {**defs[target["$ref"].removeprefix("#/$defs/")], **{k: v for k, v in target.items() if k != "$ref"}}
    is_wrapped = target.get("type") != "object"
    if is_wrapped:
        target = {"type": "object", "properties": {WRAPPED: root}, "required": [WRAPPED]}
        if "description" in root:
            target["description"] = root["description"]
    return ({**target, "$defs": defs} if defs else target), is_wrapped


def loose_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without what only costs tokens, unions written as `anyOf`: for endpoints that take it as it is."""
    cleaned: dict[str, Any] = _clean(schema)
    return cleaned


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in the strict subset; `obstacle` must have found nothing in it."""
    return _strict(_clean(schema), schema.get("$defs", {}))


def obstacle(schema: Mapping[str, Any]) -> str | None:
    """Why the schema has no strict form: a place and a reason; None where it has one."""
    return next(_obstacles(_clean(schema), "the root"), None)


def _clean(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    alone = node.get("allOf", ())
    if len(alone) == 1:
        node = {**alone[0], **{key: value for key, value in node.items() if key != "allOf"}}
    cleaned: dict[str, Any] = {}
    for key, value in node.items():
        if key in _NOISE:
            continue
        name = "anyOf" if key == "oneOf" else key
        cleaned[name] = _descend(name, value, _clean)
    if "$ref" in cleaned and len(cleaned) > 1:
        cleaned = {"anyOf": [{"$ref": cleaned.pop("$ref")}], **cleaned}
    return _typed(cleaned)


def _descend(key: str, value: Any, change: Any) -> Any:
    """A keyword's value with the schemas in it changed."""
    if key in _NAMED:
        return {name: change(each) for name, each in value.items()}
    if key in _LISTED:
        return [change(each) for each in value]
    return change(value) if key in _NESTED else value


def _typed(node: dict[str, Any]) -> dict[str, Any]:
    """A list of constants with the type it belongs to; constants of several types as a union."""
    if "type" in node or not ("enum" in node or "const" in node):
        return node
    values = node["enum"] if "enum" in node else [node["const"]]
    by_type: dict[str, list[Any]] = {}
    for value in values:
        by_type.setdefault(_JSON_TYPES.get(type(value), "object"), []).append(value)
    rest = {key: value for key, value in node.items() if key not in ("enum", "const")}
    if len(by_type) == 1:
        return {"type": next(iter(by_type)), **node}
    unions = [{"type": named} if named == "null" else {"type": named, "enum": each} for named, each in by_type.items()]
    return {"anyOf": unions, **rest}


def _strict(node: Any, defs: Mapping[str, Any]) -> dict[str, Any]:
    strict: dict[str, Any] = {}
    said = []
    for key, value in node.items():
        if key in _SAID or (key in ("format", "pattern") and not _is_known(key, value)):
            said += _words(key, value)
        elif key == "properties":
            strict[key] = {name: _member(name, each, node, defs) for name, each in value.items()}
        elif key in _KEPT or key in _NAMED or key in _LISTED or key == "items":
            strict[key] = _descend(key, value, lambda each: _strict(each, defs))
    if said:
        strict["description"] = " ".join([*filter(None, [node.get("description")]), f"({'; '.join(said)})"])
    if node.get("type") == "object":
        strict.setdefault("properties", {})
        strict["required"] = list(strict["properties"])
        strict["additionalProperties"] = False
    if "$ref" in strict and len(strict) > 1:
        strict = {"anyOf": [{"$ref": strict.pop("$ref")}], **strict}
    return strict


def _member(name: str, member: Any, owner: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """A member's strict form: one that may be left out is nullable instead."""
    strict = _strict(member, defs)
    # A constant is most often the tag of a union, which null would leave without.
    if name in owner.get("required", ()) or "const" in strict or admits_null(member, defs):
        return strict
    if "anyOf" in strict:
        return {**strict, "anyOf": [*strict["anyOf"], {"type": "null"}]}
    described = {"description": strict.pop("description")} if "description" in strict else {}
    return {"anyOf": [strict, {"type": "null"}], **described}


def _is_known(key: str, value: Any) -> bool:
    """Whether grammars know the format, or take the pattern: whole, and without looking around."""
    if key == "format":
        return value in _FORMATS
    return bool(re.fullmatch(r"\^.*\$", value, re.DOTALL)) and not re.search(r"\(\?(?!:)", value)


def _words(key: str, value: Any) -> list[str]:
    if key == "default" and value is None:
        return []
    text = json.dumps(value, ensure_ascii=False)
    return [f"{key}: {text}"] if len(text) <= _SAID_CHARS else []


def _obstacles(node: Any, place: str) -> Iterator[str]:
    if not isinstance(node, Mapping) or not _TYPED & node.keys():
        yield f"{place} may be anything"
        return
    for key in sorted(_REFUSED & node.keys()):
        yield f"{place} uses {key}"
    if node.get("type") == "object" and node.get("additionalProperties", False) is not False:
        yield f"{place} takes any key"
    if node.get("type") == "array" and "prefixItems" not in node:
        yield from _obstacles(node.get("items"), f"the items of {place}")
    for name, each in [*node.get("properties", {}).items(), *node.get("$defs", {}).items()]:
        yield from _obstacles(each, name)
    for each in node.get("anyOf", ()):
        yield from _obstacles(each, place)
