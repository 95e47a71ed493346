"""What the observers of a client are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.errors import EndpointError, InvalidRequestError
from hub.observe import Call, Observer, Outcome
from hub.testing import (
    Gate,
    Hang,
    ScriptedEndpoint,
    chat_reply,
    embeddings_reply,
    raw_reply,
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

    async def test_embeddings_bear_their_id_and_tell_of_retries(self, endpoint: ScriptedEndpoint) -> None:
        endpoint.enqueue(status_reply(503), embeddings_reply(1, dimensions=4))
        client, seen = await self.watched(endpoint)
        await client.embedding("a", stream_id="str_mine")
        assert [told[:2] for told in seen.told[:2]] == [("start", "m"), ("retry", 1)]
        assert endpoint.requests[0].headers["x-client-request-id"] == "str_mine"
        await client.aclose()

    async def test_what_is_for_answers_is_refused_for_embeddings(self, endpoint: ScriptedEndpoint) -> None:
        client, _ = await self.watched(endpoint)
        with pytest.raises(InvalidRequestError, match="restart"):
            await client.embedding("a", restart=True)
        await client.aclose()
