"""Tools as models are shown them."""

from __future__ import annotations

from typing import Any

import pytest

from hub.models.tool_text import tools_text

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a place.\nNow.",
    "parameters": {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "City and country"},
            "unit": {"enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "days": {"type": ["integer", "null"]},
            "near": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]},
            "options": {"type": "object", "properties": {"hourly": {"type": "boolean"}}},
            "rest": {"type": "object"},
        },
        "required": ["place"],
    },
}

TEXT = """# Tools

## functions

namespace functions {

// The weather of a place.
// Now.
type get_weather = (_: {
// City and country
place: string,
unit?: "celsius" | "fahrenheit", // default: "celsius"
days?: number | null,
near?: string | number[],
options?: {
hourly?: boolean,
},
rest?: object,
}) => any;

type now = () => any;

} // namespace functions"""


def test_functions_are_shown_as_a_namespace() -> None:
    now = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    assert tools_text([{"type": "function", "function": WEATHER}, now]) == TEXT
    assert tools_text([{"type": "function", **WEATHER}, now]) == TEXT  # as in the Responses API


@pytest.mark.parametrize(
    "tools",
    [[], [{"type": "web_search"}], [None], ["tool"], [{"type": "function", "function": None}], [{"name": 7}]],
    ids=repr,
)
def test_what_is_no_function_adds_nothing(tools: list[Any]) -> None:
    assert tools_text(tools) == ""


@pytest.mark.parametrize("schema", [None, 7, [], {"type": 7}, {"type": [7]}, {"enum": [object()]}, {}])
def test_a_schema_that_makes_no_sense_does_no_harm(schema: Any) -> None:
    tool = {"name": "f", "parameters": {"properties": {"x": schema}, "required": 7}}
    assert "x?: " in tools_text([tool])


def test_a_schema_nested_without_end_is_cut_off() -> None:
    schema: dict[str, Any] = {"type": "array"}
    schema["items"] = schema
    assert len(tools_text([{"name": "f", "parameters": {"properties": {"x": schema}}}])) < 300
