"""The client's answers as dictionaries, and what they cost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.errors import (
    InvalidRequestError,
)
from hub.models.catalog import GPT5Point1, TextEmbedding3Small
from hub.models.pricing import UsageCosts
from hub.models.profile import ModelProfile
from hub.testing import (
    Hang,
    ScriptedEndpoint,
    chat_chunk,
    chat_reply,
    embeddings_reply,
    raw_reply,
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


class TestGetResponse:
    """The dictionary."""

    async def test_it_has_the_answer_and_what_was_asked(self, client: OpenAIClient, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(chat_reply("Hello there", usage=True))
        response = await client.get_response(messages=HELLO, identifier="greeting", seed=3)
        assert response["output"] == "Hello there"
        assert response["error"] == "OK"
        assert response["status"] == "completed"
        assert response["identifier"] == "greeting"
        assert response["params"] == {"model": "m-1", "messages": HELLO, "seed": 3}
        assert response["usage"]["output_tokens"] == 2
        json.dumps(response)

    async def test_a_failure_is_told_in_it(self, client: OpenAIClient, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(status_reply(404, "no such model"))
        response = await client.get_response(messages=HELLO)
        assert response["status"] == "failed"
        assert response["error_code"] == "not_found"
        assert "no such model" in response["error"]

    async def test_without_an_identifier_it_bears_the_stream_id(self, client: OpenAIClient) -> None:
        response = await client.get_response(messages=HELLO)
        assert response["identifier"] == response["stream_id"] != ""

    async def test_an_input_is_the_same_as_a_message(self, client: OpenAIClient, endpoint: ScriptedEndpoint) -> None:
        assert (await client.get_response(input="Hello"))["error"] == "OK"
        assert endpoint.requests[0].json()["messages"] == HELLO

    async def test_attempts_and_backoff_hold_for_the_call(
        self, client: OpenAIClient, endpoint: ScriptedEndpoint
    ) -> None:
        endpoint.enqueue(status_reply(503), status_reply(503), chat_reply("third"))
        response = await client.get_response(messages=HELLO, attempts=3, backoff=0.0)
        assert response["output"] == "third"

    async def test_timeout_holds_for_the_whole_call(self, client: OpenAIClient, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(raw_reply(Hang()))
        response = await client.get_response(messages=HELLO, timeout=0.05)
        assert response["error_code"] == "total_timeout"

    @pytest.mark.parametrize("wrong", [{"attempts": 0}, {"backoff": -1}, {"timeout": 0}, {"attempts": "many"}])
    async def test_limits_that_make_no_sense_are_refused(self, client: OpenAIClient, wrong: Any) -> None:
        with pytest.raises(InvalidRequestError):
            await client.get_response(messages=HELLO, **wrong)

    async def test_the_caches_arguments_are_taken(self, client: OpenAIClient) -> None:
        response = await client.get_response(
            messages=HELLO, cache_response=True, rewrite_cache=True, regen_cache=True, hash_as_identifier=True
        )
        assert response["error"] == "OK"
        assert response["cached"] is False

    async def test_a_model_of_embeddings_gives_vectors(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(embeddings_reply(2, dimensions=4))
        async with OpenAIClient(TextEmbedding3Small, base_url=endpoint.base_url, api_key="EMPTY") as client:
            response = await client.get_response(input=["a", "b"], dimensions=4)
        assert [len(vector) for vector in response["output"]] == [4, 4]
        assert response["error"] == "OK"

    async def test_vectors_that_fail_are_told_in_it(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(status_reply(401))
        async with OpenAIClient(TextEmbedding3Small, base_url=endpoint.base_url, api_key="EMPTY") as client:
            response = await client.get_response(input="a")
        assert (response["output"], response["error_code"]) == (None, "unauthorized")


class TestCosts:
    """What an answer cost."""

    PRICED = ModelProfile(model_name="m", usage_costs=UsageCosts(input=1e-6, output=2e-6, cached_input=1e-7))

    async def cost(self, endpoint: ScriptedEndpoint, usage: Any, model: Any = PRICED, **chunk: Any) -> float | None:
        last = chat_chunk() | {"choices": [], "usage": usage} | chunk
        endpoint.enqueue(raw_reply(sse(chat_chunk(content="Hi"), chat_chunk(finish_reason="stop"), last)))
        async with OpenAIClient(model, base_url=endpoint.base_url, api_key="EMPTY") as client:
            result = await client.invoke(messages=HELLO)
        assert result.usage is not None
        return result.usage.cost_usd

    async def test_cached_tokens_are_billed_once(self, endpoint: ScriptedEndpoint) -> None:
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 60}}
        assert await self.cost(endpoint, usage) == pytest.approx(40e-6 + 60e-7 + 20e-6)

    async def test_what_the_endpoint_says_goes_before_prices(self, endpoint: ScriptedEndpoint) -> None:
        assert await self.cost(endpoint, {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.5}) == 0.5

    async def test_list_prices_do_not_hold_at_a_server_of_ones_own(self, endpoint: ScriptedEndpoint) -> None:
        assert await self.cost(endpoint, {"prompt_tokens": 1, "completion_tokens": 1}, model=GPT5Point1) is None

    async def test_tokens_written_to_the_cache_have_their_price(self, endpoint: ScriptedEndpoint) -> None:
        costs = UsageCosts(input=1e-6, output=2e-6, cache_write=5e-6)
        usage = {"prompt_tokens": 10, "completion_tokens": 0, "prompt_tokens_details": {"cache_write_tokens": 10}}
        model = replace(self.PRICED, usage_costs=costs)
        assert await self.cost(endpoint, usage, model=model) == pytest.approx(50e-6)

    async def test_an_estimate_has_a_price_too(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(chat_reply("Hi"))
        async with OpenAIClient(self.PRICED, base_url=endpoint.base_url, api_key="EMPTY") as client:
            result = await client.invoke(messages=HELLO)
        assert result.usage is not None
        assert result.usage.estimated
        assert result.usage.cost_usd == pytest.approx(
            result.usage.input_tokens * 1e-6 + result.usage.output_tokens * 2e-6
        )
