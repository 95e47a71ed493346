"""What an endpoint is asked for, and what is done when it rejects some of that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import openai
import pytest
from openai.resources.chat.completions import completions

from hub.errors import InvalidRequestError
from hub.testing import Gate, RecordedRequest, Reply, ScriptedEndpoint, chat_reply, status_reply

from .support import HELLO, NO_RETRY, client_of, outcome, within

WHOLE = chat_reply("Hi there")


async def sent(**params: Any) -> Any:
    """The body of a request with these parameters."""
    async with ScriptedEndpoint(WHOLE) as endpoint, client_of(endpoint) as client:
        assert (await outcome(client.stream(messages=HELLO, **params))).status == "completed"
        return endpoint.requests[0].json()


async def test_usage_is_asked_for() -> None:
    body = await sent()
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


async def test_the_callers_own_stream_options_are_kept() -> None:
    options = {"include_usage": False, "continuous_usage_stats": True}
    assert (await sent(stream_options=options))["stream_options"] == options


async def test_parameters_that_the_sdk_does_not_know_go_into_the_body() -> None:
    body = await sent(top_k=7, chat_template_kwargs={"enable_thinking": False}, extra_body={"min_p": 0.1}, seed=1)
    assert (body["top_k"], body["chat_template_kwargs"]["enable_thinking"], body["min_p"], body["seed"]) == (
        7,
        False,
        0.1,
        1,
    )


async def test_large_parameters_go_into_the_body_past_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[Any] = []

    async def walk(data: Any, expected: Any) -> Any:
        walked.append(data)
        return data

    monkeypatch.setattr(completions, "async_maybe_transform", walk)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    body = await sent(tools=tools, stop=["x"], logit_bias={"1": 2}, top_k=7)
    assert {name: body[name] for name in ("messages", "tools", "stop", "logit_bias", "top_k")} == {
        "messages": HELLO,
        "tools": tools,
        "stop": ["x"],
        "logit_bias": {"1": 2},
        "top_k": 7,
    }
    assert [walked[0][name] for name in ("messages", "tools", "stop", "logit_bias")] == [(), *[openai.omit] * 3]


async def test_the_callers_extra_body_goes_before_all() -> None:
    body = await sent(stop=["x"], extra_body={"messages": [], "stop": "y"})
    assert (body["messages"], body["stop"]) == ([], "y")


async def test_an_extra_body_that_is_none_is_refused_at_the_call() -> None:
    with pytest.raises(InvalidRequestError, match="extra_body"):
        await sent(extra_body="x")


async def test_what_json_does_not_know_is_left_to_the_sdk() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    body = await sent(tools={"f": tool}.values(), stop=openai.omit)
    assert body["tools"] == [tool]
    assert "stop" not in body


async def test_messages_may_be_any_mapping() -> None:
    async with ScriptedEndpoint(WHOLE) as endpoint, client_of(endpoint) as client:
        await outcome(client.stream(messages=[MappingProxyType(HELLO[0])]))
        assert endpoint.requests[0].json()["messages"] == HELLO


async def test_compression_is_not_asked_for() -> None:
    async with ScriptedEndpoint(WHOLE) as endpoint, client_of(endpoint) as client:
        await outcome(client.stream(messages=HELLO))
        assert endpoint.requests[0].headers["accept-encoding"] == "identity"


def rejects(name: str, status: int = 400, message: str = "Unrecognized request argument supplied: {}") -> Any:
    """An endpoint that does not know a member of the body."""

    def handle(request: RecordedRequest) -> Reply:
        if name in request.json():
            return status_reply(status, message.format(name))
        return WHOLE

    return handle


@pytest.mark.parametrize("status", [400, 422])
async def test_rejected_stream_options_are_left_out_and_the_endpoint_remembered(status: int) -> None:
    async with (
        ScriptedEndpoint(handler=rejects("stream_options", status)) as endpoint,
        client_of(endpoint, retry=NO_RETRY) as client,
    ):
        for _ in range(3):
            result = await outcome(client.stream(messages=HELLO))
            assert (result.status, result.attempt) == ("completed", 1)
        assert ["stream_options" in request.json() for request in endpoint.requests] == [True, False, False, False]


async def test_streams_that_learn_of_a_rejection_at_once_all_go_on() -> None:
    gate = Gate()
    refusal = replace(status_reply(400, "stream_options is not supported"), before=(gate,))
    async with (
        ScriptedEndpoint(*[refusal] * 5, handler=rejects("stream_options")) as endpoint,
        client_of(endpoint, retry=NO_RETRY) as client,
        asyncio.TaskGroup() as tasks,
    ):
        streams = [tasks.create_task(outcome(client.stream(messages=HELLO))) for _ in range(5)]
        await within(gate.reached(5))
        gate.open()
        assert [(await stream).status for stream in streams] == ["completed"] * 5


async def test_stream_options_of_the_caller_are_not_left_out() -> None:
    async with (
        ScriptedEndpoint(handler=rejects("stream_options")) as endpoint,
        client_of(endpoint) as client,
    ):
        result = await outcome(client.stream(messages=HELLO, stream_options={"include_usage": True}))
    assert (result.error and result.error.code) == "invalid_request"


async def test_a_rejected_max_tokens_goes_under_its_newer_name_for_that_model() -> None:
    message = "Unsupported parameter: '{}' is not supported with this model. Use 'max_completion_tokens' instead."

    def handle(request: RecordedRequest) -> Reply:
        reasoning = request.json()["model"] == "reasoning"
        return rejects("max_tokens", message=message)(request) if reasoning else WHOLE

    async with ScriptedEndpoint(handler=handle) as endpoint, client_of(endpoint, retry=NO_RETRY) as client:
        for model in ("reasoning", "reasoning", "plain"):
            result = await outcome(client.stream(messages=HELLO, model=model, max_tokens=9))
            assert result.status == "completed"
        names = [request.json().keys() & {"max_tokens", "max_completion_tokens"} for request in endpoint.requests]
    assert names == [{"max_tokens"}, {"max_completion_tokens"}, {"max_completion_tokens"}, {"max_tokens"}]


async def test_another_rejection_is_not_answered_by_trying_again() -> None:
    async with ScriptedEndpoint(handler=rejects("temperature")) as endpoint, client_of(endpoint) as client:
        result = await outcome(client.stream(messages=HELLO, temperature=0.5))
        assert len(endpoint.requests) == 1
    assert (result.error and result.error.code) == "invalid_request"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": object()}],
        [{"role": "user", "content": "\ud800"}],
    ],
    ids=["no JSON", "half a character"],
)
async def test_what_cannot_be_sent_is_an_invalid_request(messages: Any) -> None:
    async with ScriptedEndpoint(WHOLE) as endpoint, client_of(endpoint) as client:
        result = await outcome(client.stream(messages=messages))
        assert endpoint.requests == []
    assert (result.error and result.error.code) == "invalid_request"


async def test_a_request_of_megabytes_arrives_whole() -> None:
    large = "x" * 5_000_000
    async with ScriptedEndpoint(WHOLE) as endpoint, client_of(endpoint) as client:
        assert (await outcome(client.stream(messages=[{"role": "user", "content": large}]))).status == "completed"
        assert endpoint.requests[0].json()["messages"][0]["content"] == large
        assert int(endpoint.requests[0].headers["content-length"]) > 5_000_000
