"""Chat Completions and the Responses API: one client, the same requests and results."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.errors import (
    InvalidRequestError,
)
from hub.models.catalog import GPT5Point1, GPT6Point1Sol
from hub.models.profile import ModelDeprecationWarning, ModelProfile
from hub.result import LLMResult, ToolCall
from hub.testing import (
    ScriptedEndpoint,
    chat_reply,
    responses_reply,
    status_reply,
)
from hub.upstream.retry import RetryPolicy

HELLO: Any = [{"role": "user", "content": "Hello"}]
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint() as running:
        yield running


@pytest.fixture
async def client(endpoint: ScriptedEndpoint) -> AsyncIterator[OpenAIClient]:
    async with OpenAIClient("m-1", base_url=endpoint.base_url, api_key="EMPTY", retry=ONCE) as running:
        yield running


CALL = ToolCall(id="call_1", name="weather", arguments='{"city": "Paris"}')
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Rain"}


class TestBothApis:
    """Chat Completions and the Responses API."""

    async def both(self, endpoint: ScriptedEndpoint, **call: Any) -> list[LLMResult]:
        tokens = {"reasoning": "Let me see.", "usage": True}
        endpoint.enqueue(chat_reply("Forty two", **tokens), responses_reply("Forty two", **tokens))
        async with OpenAIClient("m", base_url=endpoint.base_url, api_key="EMPTY", retry=ONCE) as client:
            return [await client.invoke(**call, api=api) for api in ("chat", "responses")]

    async def test_give_the_same_result(self, endpoint: ScriptedEndpoint) -> None:
        chat, responses = await self.both(endpoint, messages=HELLO)
        assert (chat.text, chat.reasoning, chat.finish_reason) == ("Forty two", "Let me see.", "stop")
        for name in ("text", "reasoning", "finish_reason", "status", "usage"):
            assert getattr(chat, name) == getattr(responses, name), name

    async def test_take_either_form_of_a_request(self, endpoint: ScriptedEndpoint) -> None:
        await self.both(endpoint, messages=HELLO, max_tokens=5)
        chat, responses = (request.json() for request in endpoint.requests)
        assert chat["max_tokens"] == 5
        assert responses["max_output_tokens"] == 5
        assert [request.path for request in endpoint.requests] == ["/v1/chat/completions", "/v1/responses"]
        assert "include_usage" not in json.dumps(responses)

    async def test_images_and_files_pass_through_both(self, endpoint: ScriptedEndpoint) -> None:
        parts = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        ]
        await self.both(endpoint, messages=[{"role": "user", "content": parts}])
        chat, responses = (request.json() for request in endpoint.requests)
        assert chat["messages"][0]["content"] == parts
        assert [part["type"] for part in responses["input"][0]["content"]] == [
            "input_text",
            "input_image",
            "input_file",
        ]

    async def test_the_profile_says_which(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(responses_reply("Hi"))
        async with OpenAIClient(GPT6Point1Sol, base_url=endpoint.base_url, api_key="EMPTY") as client:
            assert (await client.invoke(messages=HELLO)).text == "Hi"
        assert endpoint.requests[0].path == "/v1/responses"

    async def test_a_call_goes_before_the_client_and_that_before_the_profile(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(chat_reply("a"), responses_reply("b"))
        async with OpenAIClient(GPT6Point1Sol, api="chat", base_url=endpoint.base_url, api_key="EMPTY") as client:
            await client.invoke(messages=HELLO)
            await client.invoke(messages=HELLO, api="responses")
        assert [request.path for request in endpoint.requests] == ["/v1/chat/completions", "/v1/responses"]

    async def test_a_fallback_of_the_other_api_gets_its_own_form(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(status_reply(500), responses_reply("Hi"))
        async with OpenAIClient(
            "m", fallbacks=[GPT6Point1Sol], base_url=endpoint.base_url, api_key="EMPTY", retry=ONCE
        ) as client:
            assert (await client.invoke(messages=HELLO)).text == "Hi"

    async def test_an_api_nobody_knows_is_refused(self, client: OpenAIClient) -> None:
        with pytest.raises(InvalidRequestError, match="api"):
            client.stream(messages=HELLO, api="assistants")

    async def test_messages_and_input_exclude_each_other(self, client: OpenAIClient) -> None:
        with pytest.raises(InvalidRequestError, match="one of them"):
            client.stream(messages=HELLO, input="Hello")


class TestProfiles:
    """What a profile changes of a request."""

    async def body(self, endpoint: ScriptedEndpoint, model: Any, **options: Any) -> Any:
        async with OpenAIClient(model, base_url=endpoint.base_url, api_key="EMPTY", **options) as client:
            await client.invoke(messages=HELLO)
        return endpoint.requests[-1].json()

    async def test_a_class_an_instance_and_a_key_are_the_same_model(self, endpoint: ScriptedEndpoint) -> None:
        for model in (GPT5Point1, GPT5Point1(), "gpt-5.1"):
            assert (await self.body(endpoint, model))["model"] == "gpt-5.1"

    async def test_the_newer_name_of_the_limit_is_used_at_once(self, endpoint: ScriptedEndpoint) -> None:
        body = await self.body(endpoint, GPT5Point1, max_tokens=7)
        assert (body["max_completion_tokens"], "max_tokens" in body) == (7, False)

    async def test_a_default_temperature_is_not_sent_where_there_is_none(self, endpoint: ScriptedEndpoint) -> None:
        fixed = ModelProfile(model_name="m", takes_temperature=False)
        assert "temperature" not in await self.body(endpoint, fixed, temperature=0.5)

    async def test_a_deprecated_model_warns(self, endpoint: ScriptedEndpoint) -> None:
        from datetime import date

        old = ModelProfile(model_name="old-model-of-a-test", deprecated_at=date(2020, 1, 1))
        with pytest.warns(ModelDeprecationWarning, match="old-model-of-a-test"):
            OpenAIClient(old, base_url=endpoint.base_url, api_key="EMPTY")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            OpenAIClient(old, base_url=endpoint.base_url, api_key="EMPTY")

    async def test_attributes_that_are_set_hold_from_the_next_call_on(
        self, client: OpenAIClient, endpoint: ScriptedEndpoint
    ) -> None:
        client.model, client.max_tokens, client.temperature = "m-2", 9, 0.25
        await client.invoke(messages=HELLO)
        body = endpoint.requests[0].json()
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("m-2", 9, 0.25)


class TestConversations:
    """An answer that is sent back."""

    async def test_a_tools_result_goes_back_by_both_apis(self, endpoint: ScriptedEndpoint) -> None:
        for api, reply in (("chat", chat_reply), ("responses", responses_reply)):
            endpoint.enqueue(reply("", tool_calls=[CALL]), reply("Take an umbrella."))
            async with OpenAIClient("m", api=api, base_url=endpoint.base_url, api_key="EMPTY") as client:
                asked = await client.invoke(messages=HELLO)
                result = await client.invoke(messages=[*HELLO, asked.as_message(), RESULT])
            assert result.text == "Take an umbrella."
        chat, responses = endpoint.requests[1].json(), endpoint.requests[3].json()
        assert chat["messages"][1]["tool_calls"][0]["function"]["arguments"] == CALL.arguments
        assert [item.get("type", item.get("role")) for item in responses["input"]][-2:] == [
            "function_call",
            "function_call_output",
        ]

    async def test_reasoning_goes_back_where_it_is_wanted(
        self, client: OpenAIClient, endpoint: ScriptedEndpoint
    ) -> None:
        endpoint.enqueue(chat_reply("Hi", reasoning="Be kind."))
        result = await client.invoke(messages=HELLO)
        assert "reasoning_content" not in result.as_message()
        assert result.as_message(echo_reasoning=True)["reasoning_content"] == "Be kind."

    def test_what_the_endpoint_attached_to_a_call_goes_back_with_it(self) -> None:
        call = ToolCall(id="c", name="f", arguments="{}", extra={"extra_content": {"google": {"sign": "x"}}})
        message = LLMResult(stream_id="s", last_seq=0, status="completed", tool_calls=(call,)).as_message()
        assert message["tool_calls"][0]["extra_content"] == {"google": {"sign": "x"}}
        assert message["content"] is None

    def test_an_empty_answer_is_an_empty_message(self) -> None:
        assert LLMResult(stream_id="s", last_seq=0, status="completed").as_message() == {
            "role": "assistant",
            "content": "",
        }
