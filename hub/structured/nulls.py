"""Takes out of an answer the nulls that stand for "left out".

A strict schema makes every member required, so one with a default is offered as nullable, and a model that has nothing
to say there answers null. Where the type itself knows no null, that member is taken out before validation, and so gets
its default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ("admits_null", "branches", "drop_nulls")

Schema = Mapping[str, Any]


def branches(schema: Any, defs: Mapping[str, Any]) -> list[Schema]:
    """The alternatives that a schema amounts to, unions and references resolved, each once; none has an `anyOf`."""
    return list(_branches(schema, defs, set()))


def _branches(schema: Any, defs: Mapping[str, Any], seen: set[str]) -> Iterator[Schema]:
    if not isinstance(schema, Mapping):
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        # Once each: types that contain each other would else double the alternatives at every level of a value.
        if reference not in seen:
            seen.add(reference)
            yield from _branches(defs.get(reference.removeprefix("#/$defs/")), defs, seen)
        return
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives is None and len(schema.get("allOf", ())) == 1:
        alternatives = schema["allOf"]
    if alternatives is None:
        yield schema
        return
    for alternative in alternatives:
        yield from _branches(alternative, defs, seen)


def admits_null(schema: Any, defs: Mapping[str, Any]) -> bool:
    """Whether null is a value of the schema; one that says nothing of types admits it."""
    return any(_is_nullable(branch) for branch in branches(schema, defs))


def _is_nullable(branch: Schema) -> bool:
    if "const" in branch:
        return branch["const"] is None
    if "enum" in branch:
        return None in branch["enum"]
    named = branch.get("type")
    return named is None or named == "null" or (isinstance(named, list) and "null" in named)


def drop_nulls(value: Any, schema: Any, defs: Mapping[str, Any]) -> Any:
    """The value without the members that are null, may be left out, and may not be null.

    In a union, only where every alternative that fits the value agrees.

    Args:
        value: Parsed JSON; stays as it is.
        schema: Its schema, as pydantic makes it for validation.
        defs: The schema's `$defs`.
    """
    if isinstance(value, dict):
        return _of_object(value, schema, defs)
    if isinstance(value, list):
        return _of_array(value, schema, defs)
    return value


def _of_object(value: dict[str, Any], schema: Any, defs: Mapping[str, Any]) -> dict[str, Any]:
    fitting = [each for each in branches(schema, defs) if _fits(value, each)]
    kept = {}
    for key, item in value.items():
        if item is None and fitting and all(_is_void(key, each, defs) for each in fitting):
            continue
        kept[key] = drop_nulls(item, {"anyOf": [_member(key, each) for each in fitting]}, defs)
    return kept


def _of_array(value: list[Any], schema: Any, defs: Mapping[str, Any]) -> list[Any]:
    arrays = [each for each in branches(schema, defs) if each.get("type") == "array"]
    return [
        drop_nulls(item, {"anyOf": [_item(number, each) for each in arrays]}, defs) for number, item in enumerate(value)
    ]


def _fits(value: Mapping[str, Any], branch: Schema) -> bool:
    """Whether an object may be meant for this alternative, going by its keys and its constants."""
    if branch.get("type") != "object" or not set(branch.get("required", ())) <= value.keys():
        return False
    properties = branch.get("properties", {})
    for key, item in value.items():
        if key not in properties:
            if branch.get("additionalProperties") in (None, False):
                return False
        elif "const" in properties[key] and item != properties[key]["const"] and item is not None:
            return False
    return True


def _is_void(key: str, branch: Schema, defs: Mapping[str, Any]) -> bool:
    properties = branch.get("properties", {})
    return key in properties and key not in branch.get("required", ()) and not admits_null(properties[key], defs)


def _member(key: str, branch: Schema) -> Any:
    return branch.get("properties", {}).get(key, branch.get("additionalProperties"))


def _item(number: int, branch: Schema) -> Any:
    places = branch.get("prefixItems", ())
    return places[number] if number < len(places) else branch.get("items")
