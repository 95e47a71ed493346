"""The client's calls in all their forms: dictionaries, both APIs, objects, embeddings, costs, observers."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
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
from hub.models.catalog import GPT5Point1, GPT6Point1Sol, TextEmbedding3Small
from hub.models.pricing import UsageCosts
from hub.models.profile import ModelDeprecationWarning, ModelProfile
from hub.observe import Call, Observer, Outcome
from hub.result import LLMResult
from hub.testing import (
    Close,
    Gate,
    Hang,
    ScriptedEndpoint,
    chat_chunk,
    chat_reply,
    embeddings_reply,
    raw_reply,
    responses_reply,
    sse,
    status_reply,
)
from hub.upstream.retry import RetryPolicy

HELLO: Any = [{"role": "user", "content": "Hello"}]
ONCE = RetryPolicy(attempts=1)


class City(BaseModel):
    """A city."""

    name: str
    people: int


PARIS = '{"name": "Paris", "people": 2100000}'


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint() as running:
        yield running


@pytest.fixture
async def client(endpoint: ScriptedEndpoint) -> AsyncIterator[OpenAIClient]:
    async with OpenAIClient("m-1", base_url=endpoint.base_url, api_key="EMPTY", retry=ONCE) as running:
        yield running


class Seen(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def on_start(self, call: Call) -> None:
        self.told.append(("start", call.model, call.attempts))

    def on_first_content(self, call: Call) -> None:
        self.told.append(("content", call.first_content_at is not None))

    def on_retry(self, call: Call, error: EndpointError, delay: float) -> None:
        self.told.append(("retry", call.attempts, error.code))

    def on_end(self, call: Call, outcome: Outcome) -> None:
        self.told.append(("end", call.model, call.attempts, outcome))

    @property
    def outcome(self) -> Outcome:
        (outcome,) = [each[-1] for each in self.told if each[0] == "end"]
        assert isinstance(outcome, Outcome)
        return outcome


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


class TestObservers:
    """What an observer is told."""

    async def watched(self, endpoint: ScriptedEndpoint, **options: Any) -> tuple[OpenAIClient, Seen]:
        seen = Seen()
        options = {"retry": RetryPolicy(backoff=0.0), **options}
        return OpenAIClient("m", base_url=endpoint.base_url, api_key="EMPTY", observers=[seen], **options), seen

    async def test_a_call_is_told_from_its_start_to_its_end(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(status_reply(503), chat_reply("Hi", usage=True, model="m-2026"))
        client, seen = await self.watched(endpoint)
        result = await client.invoke(messages=HELLO)
        assert [told[:3] for told in seen.told[:3]] == [
            ("start", "m", 1),
            ("retry", 1, "endpoint_error"),
            ("content", True),
        ]
        assert seen.told[3][:3] == ("end", "m", 2)
        outcome = seen.outcome
        assert (outcome.status, outcome.model, outcome.finish_reasons) == ("completed", "m-2026", ("stop",))
        assert outcome.usage == result.usage
        assert outcome.text is None
        await client.aclose()

    async def test_a_fallback_is_told_with_its_model(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(status_reply(503), chat_reply("Hi"))
        client, seen = await self.watched(endpoint, fallbacks=["m-2"])
        await client.invoke(messages=HELLO)
        assert seen.told[-1][:3] == ("end", "m-2", 2)
        await client.aclose()

    async def test_content_is_kept_for_those_who_want_it(self, endpoint: ScriptedEndpoint) -> None:
        client, seen = await self.watched(endpoint)
        await client.aclose()
        seen.wants_content = True
        async with OpenAIClient("m", base_url=endpoint.base_url, api_key="EMPTY", observers=[seen]) as client:
            endpoint.enqueue(chat_reply("Hello there"))
            await client.invoke(messages=HELLO)
        assert seen.outcome.text == "Hello there"

    async def test_a_failure_is_told_and_nobody_answered(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(status_reply(401, "bad key"))
        client, seen = await self.watched(endpoint)
        await client.invoke(messages=HELLO)
        assert seen.outcome.status == "failed"
        assert seen.outcome.model is None
        assert seen.outcome.failure is not None
        assert seen.outcome.failure.code == "unauthorized"
        await client.aclose()

    async def test_a_stream_left_early_and_a_cancelled_task_end_once(self, endpoint: ScriptedEndpoint) -> None:
        gate = Gate()
        endpoint.enqueue(chat_reply(["Hi", Hang()]), raw_reply(gate, Hang()))
        client, seen = await self.watched(endpoint)
        async with client.stream(messages=HELLO) as stream:
            async for event in stream:
                if event.type == "text_delta":
                    break
        asking = asyncio.create_task(client.invoke(messages=HELLO))
        await gate.reached()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert [told[-1].status for told in seen.told if told[0] == "end"] == ["cancelled", "cancelled"]
        await client.aclose()

    async def test_the_endpoints_own_id_of_a_request_is_told(self, endpoint: ScriptedEndpoint) -> None:
        reply = chat_reply("Hi")
        endpoint.enqueue(replace(reply, headers={**reply.headers, "X-Request-Id": "req_7"}))
        client, seen = await self.watched(endpoint)
        await client.invoke(messages=HELLO)
        assert seen.outcome.request_id == "req_7"
        await client.aclose()

    async def test_embeddings_are_told_with_tokens_and_failures(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(embeddings_reply(1, dimensions=4), status_reply(401))
        client, seen = await self.watched(endpoint)
        await client.embedding("a", dimensions=4)
        assert seen.outcome.status == "completed"
        assert seen.outcome.usage is not None
        seen.told.clear()
        with pytest.raises(EndpointError):
            await client.embedding("a")
        assert seen.outcome.failure is not None
        await client.aclose()

    async def test_a_key_that_an_endpoint_quotes_is_told_nowhere(self, endpoint: ScriptedEndpoint) -> None:
        key = "kEy.withNoKnownPrefix.0123456789"
        endpoint.enqueue(status_reply(503, f"no {key}"), status_reply(401, f"no {key}"))
        seen = Seen()
        async with OpenAIClient(
            "m", base_url=endpoint.base_url, api_key=key, observers=[seen], retry=RetryPolicy(backoff=0.0)
        ) as client:
            result = await client.invoke(messages=HELLO)
        assert key not in repr(seen.told) + repr(result)
