"""A real model and tools: a call, its result, the answer; and a model that should call and doesn't."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.client import OpenAIClient
from hub.events import ToolCallDelta
from hub.testing import check_grammar
from tests.real.support import REAL, WEATHER

pytestmark = REAL

PARIS: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
STORY: list[Any] = [{"role": "user", "content": "Tell me a long story about a dragon."}]


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_call_goes_out_and_its_result_becomes_the_answer(client: OpenAIClient, api: Any) -> None:
    asked = await client.invoke(messages=PARIS, tools=[WEATHER], max_tokens=80, api=api)
    (call,) = asked.tool_calls
    assert (call.name, msgspec.json.decode(call.arguments)) == ("get_weather", {"city": "Paris"})
    assert (asked.status, asked.finish_reason, asked.text) == ("completed", "tool_calls", "")
    function = {"name": call.name, "arguments": call.arguments}
    told = [
        *PARIS,
        {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": call.id, "content": "9 degrees, rain"},
    ]
    answer = await client.invoke(messages=told, tools=[WEATHER], max_tokens=40, api=api)
    assert (answer.status, answer.finish_reason, answer.tool_calls) == ("completed", "stop", ())
    assert "9 degrees" in answer.text


async def test_a_real_call_comes_in_pieces_and_is_named_in_the_first(client: OpenAIClient) -> None:
    events = [event async for event in client.stream(messages=PARIS, tools=[WEATHER], max_tokens=80)]
    check_grammar(events)
    first, *rest = [event for event in events if isinstance(event, ToolCallDelta)]
    assert first.name == "get_weather"
    assert first.id
    assert len(rest) > 1
    assert {(delta.index, delta.id, delta.name) for delta in rest} == {(0, None, None)}


async def test_a_call_that_is_required_and_never_comes_ends_at_the_limit_without_one(client: OpenAIClient) -> None:
    result = await client.invoke(messages=STORY, tools=[WEATHER], tool_choice="required", max_tokens=12)
    assert (result.status, result.finish_reason, result.error) == ("completed", "length", None)
    assert result.tool_calls == ()
    assert result.text
    assert result.usage is not None
    assert result.usage.output_tokens == 12


async def test_a_call_that_the_limit_cuts_off_says_so(client: OpenAIClient) -> None:
    result = await client.invoke(messages=PARIS, tools=[WEATHER], max_tokens=17)
    assert (result.status, result.finish_reason) == ("completed", "length")
    (call,) = result.tool_calls
    assert call.name == "get_weather"
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(call.arguments)


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_with_tools_switched_off_none_is_called(client: OpenAIClient, api: Any) -> None:
    result = await client.invoke(messages=PARIS, tools=[WEATHER], tool_choice="none", max_tokens=12, api=api)
    assert (result.status, result.tool_calls) == ("completed", ())
    assert result.text
