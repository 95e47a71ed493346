"""Answers that are objects, and text in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from hub.client import OpenAIClient
from hub.errors import (
    EndpointError,
    InvalidRequestError,
    OutputTruncatedError,
    OutputValidationError,
    RefusalError,
)
from hub.testing import (
    Close,
    ScriptedEndpoint,
    chat_chunk,
    chat_reply,
    raw_reply,
    responses_reply,
    sse,
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


class City(BaseModel):
    """A city."""

    name: str
    people: int


PARIS = '{"name": "Paris", "people": 2100000}'


class TestObjects:
    """Answers as objects."""

    async def test_invoke_gives_the_object(self, client: OpenAIClient, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(chat_reply(PARIS))
        city = await client.invoke(messages=HELLO, response_model=City)
        assert city == City(name="Paris", people=2_100_000)
        asked = endpoint.requests[0].json()["response_format"]
        assert (asked["type"], asked["json_schema"]["name"]) == ("json_schema", "City")

    async def test_the_responses_api_is_asked_in_its_own_form(
        self, client: OpenAIClient, endpoint: ScriptedEndpoint
    ) -> None:
        endpoint.enqueue(responses_reply(PARIS))
        await client.invoke(input="Where?", response_model=City, api="responses")
        assert endpoint.requests[0].json()["text"]["format"]["name"] == "City"

    async def test_a_stream_gives_growing_objects_and_the_last_is_whole(
        self, client: OpenAIClient, endpoint: ScriptedEndpoint
    ) -> None:
        endpoint.enqueue(chat_reply(['{"name": "Pa', 'ris", "peo', 'ple": 2100000}']))
        stream = client.stream(messages=HELLO, response_model=City)
        partials = [partial async for partial in stream.partials()]
        assert partials[0].name == "Pa"
        assert partials[-1] == await stream.parsed() == City(name="Paris", people=2_100_000)
        assert (await stream.result()).text == PARIS

    async def test_its_events_are_those_of_any_stream(self, client: OpenAIClient, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(chat_reply(PARIS))
        async with client.stream(messages=HELLO, response_model=City) as stream:
            kinds = [event.type async for event in stream]
        assert (kinds[0], kinds[-1]) == ("meta", "done")
        assert (await stream.parsed()).name == "Paris"

    async def test_a_refusal_a_length_stop_and_a_wrong_answer_are_three_errors(
        self, client: OpenAIClient, endpoint: ScriptedEndpoint
    ) -> None:
        refusal = raw_reply(sse(chat_chunk(refusal="I won't."), chat_chunk(finish_reason="stop")))
        endpoint.enqueue(refusal, chat_reply(PARIS[:20], finish_reason="length"), chat_reply('{"name": "Paris"}'))
        for error, text in ((RefusalError, ""), (OutputTruncatedError, PARIS[:20]), (OutputValidationError, None)):
            with pytest.raises(error) as caught:
                await client.invoke(messages=HELLO, response_model=City)
            assert caught.value.text == ('{"name": "Paris"}' if text is None else text)

    async def test_an_endpoint_that_fails_raises_its_own_error(
        self, client: OpenAIClient, endpoint: ScriptedEndpoint
    ) -> None:
        endpoint.enqueue(status_reply(500))
        with pytest.raises(EndpointError, match="500"):
            await client.invoke(messages=HELLO, response_model=City)

    @pytest.mark.parametrize("call", [{"messages": HELLO}, {"messages": iter(HELLO)}, {"input": "Hello"}])
    async def test_asking_again_tells_what_was_wrong(
        self, client: OpenAIClient, endpoint: ScriptedEndpoint, call: Any
    ) -> None:
        endpoint.enqueue(chat_reply('{"name": "Paris"}'), chat_reply(PARIS))
        city = await client.invoke(**call, response_model=City, max_reasks=2, stream_id="str_mine")
        assert city.name == "Paris"
        messages = endpoint.requests[1].json()["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant", "user"]
        assert "people" in messages[2]["content"]
        assert endpoint.requests[1].headers["idempotency-key"] != "str_mine"

    async def test_asking_again_has_a_bound_and_is_off_by_default(
        self, client: OpenAIClient, endpoint: ScriptedEndpoint
    ) -> None:
        endpoint.enqueue(*[chat_reply("{}")] * 5)
        for asked, total in ((0, 1), (1, 3)):
            with pytest.raises(OutputValidationError):
                await client.invoke(messages=HELLO, response_model=City, max_reasks=asked)
            assert len(endpoint.requests) == total

    async def test_max_reasks_without_a_model_and_two_formats_are_refused(self, client: OpenAIClient) -> None:
        with pytest.raises(InvalidRequestError, match="max_reasks"):
            await client.invoke(messages=HELLO, max_reasks=1)
        with pytest.raises(InvalidRequestError, match="response_format"):
            await client.invoke(messages=HELLO, response_model=City, response_format={"type": "json_object"})


class TestText:
    """Text in pieces."""

    async def test_it_never_begins_anew(self, client: OpenAIClient, endpoint: ScriptedEndpoint) -> None:
        with pytest.raises(InvalidRequestError, match="restart"):
            client.generate_streaming(HELLO, restart=True)
        endpoint.enqueue(raw_reply(sse(chat_chunk(content="Half"), done=False), Close()))
        async with OpenAIClient("m", base_url=endpoint.base_url, api_key="EMPTY", restart=True) as restarting:
            pieces = restarting.generate_streaming(HELLO)
            assert await anext(pieces) == "Half"
            with pytest.raises(EndpointError):
                await anext(pieces)
