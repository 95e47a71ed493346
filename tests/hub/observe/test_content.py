"""Prompts and answers in the conventions' form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.observe.content import input_content, output_content
from tests.hub.observe.samples import an_outcome


def messages(params: dict[str, Any]) -> Any:
    return json.loads(input_content(params)["gen_ai.input.messages"])


def text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}


CALL = {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'}
RESPONSE = {"type": "tool_call_response", "id": "call_1", "response": "rain"}


def test_a_conversation_of_chat_completions_is_told_in_order() -> None:
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    assert messages(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Weather?"}, {"type": "image_url"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "function": function}]},
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            ]
        }
    ) == [
        {"role": "system", "parts": [text("Be brief.")]},
        {"role": "user", "parts": [text("Weather?"), {"type": "image_url"}]},
        {"role": "assistant", "parts": [CALL]},
        {"role": "tool", "parts": [RESPONSE]},
    ]


def test_a_conversation_of_the_responses_api_is_told_in_the_same_form() -> None:
    params = {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        ],
    }
    assert json.loads(input_content(params)["gen_ai.system_instructions"]) == [text("Be brief.")]
    assert messages(params) == [
        {"role": "user", "parts": [text("Weather?")]},
        {"role": "assistant", "parts": [{"type": "reasoning"}]},
        {"role": "assistant", "parts": [CALL]},
        {"role": "tool", "parts": [RESPONSE]},
    ]


def test_a_plain_input_is_what_the_user_said() -> None:
    assert messages({"input": "Hi"}) == [{"role": "user", "parts": [text("Hi")]}]


def test_the_bytes_of_a_picture_are_not_told() -> None:
    url = {"url": "data:image/png;base64,AAAA"}
    content = input_content({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]})
    assert "AAAA" not in content["gen_ai.input.messages"]


@pytest.mark.parametrize("params", [{}, {"input": 7}, {"messages": None}])
def test_a_request_without_a_conversation_tells_none(params: dict[str, Any]) -> None:
    assert input_content(params) == {}


def test_values_that_are_no_json_are_told_by_their_type() -> None:
    assert messages({"messages": [{"role": "tool", "tool_call_id": "c", "content": object()}, "no message"]}) == [
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "object"}]}
    ]


@pytest.mark.parametrize(
    ("finish_reasons", "word"),
    [(("stop",), "stop"), (("tool_calls", "stop"), "tool_call"), (("other",), "error"), ((), "error")],
)
def test_an_answer_s_end_is_told_in_the_schema_s_words(finish_reasons: tuple[str, ...], word: str) -> None:
    content = output_content(an_outcome(text="Yes.", finish_reasons=finish_reasons))
    (message,) = json.loads(content["gen_ai.output.messages"])
    assert message == {"role": "assistant", "parts": [text("Yes.")], "finish_reason": word}


def test_an_answer_of_tool_calls_alone_has_no_text() -> None:
    content = output_content(an_outcome(text="", finish_reasons=("tool_calls",)))
    assert json.loads(content["gen_ai.output.messages"])[0]["parts"] == []


def test_an_answer_that_was_not_kept_or_never_came_is_not_told() -> None:
    assert output_content(an_outcome()) == {}
    assert output_content(an_outcome(text="", finish_reasons=())) == {}
