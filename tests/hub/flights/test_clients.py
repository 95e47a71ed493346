"""Clients of several processes that ask real endpoints, with retries and fallbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.errors import EndpointError
from hub.flights.over_streams import StreamFlights
from hub.testing import Gate, ScriptedEndpoint, chat_reply, status_reply
from hub.upstream.retry import RetryPolicy

from .support import Register, Store

HELLO = [{"role": "user", "content": "Hello"}]


@asynccontextmanager
async def two_clients(endpoint: ScriptedEndpoint, **options: Any) -> AsyncIterator[list[OpenAIClient]]:
    register, store = Register(), Store()
    async with AsyncExitStack() as stack:
        clients = [
            OpenAIClient(
                "model-a",
                base_url=endpoint.base_url,
                api_key="EMPTY",
                limiter="none",
                observers=[],
                retry=RetryPolicy(attempts=2, backoff=0.0),
                cache_backend="memory",
                cache_flights=StreamFlights(store, register),
                **options,
            )
            for _ in range(2)
        ]
        for client in clients:
            await stack.enter_async_context(client)
        yield clients


def asking(client: OpenAIClient, **options: Any) -> asyncio.Task[Any]:
    options = {"hash_as_identifier": True, "cache_response": True, **options}
    return asyncio.create_task(client.stream(messages=HELLO, **options).result())


async def test_an_answer_that_was_followed_is_stored_under_its_digest() -> None:
    gate = Gate()
    async with ScriptedEndpoint(chat_reply([gate, "Hello"])) as endpoint, two_clients(endpoint) as clients:
        tasks = [asking(client) for client in clients]
        await gate.reached()
        gate.open()
        assert [(await task).text for task in tasks] == ["Hello", "Hello"]
        assert [(await asking(client)).cached for client in clients] == [True, True]
        assert len(endpoint.requests) == 1


async def test_a_fallback_s_answer_that_was_followed_is_not_stored_under_a_digest() -> None:
    gate = Gate()
    async with (
        ScriptedEndpoint(status_reply(500), chat_reply([gate, "Hello"])) as endpoint,
        two_clients(endpoint, fallbacks=["model-b"], cool_down=0) as clients,
    ):
        tasks = [asking(client) for client in clients]
        await gate.reached()
        gate.open()
        assert [(await task).text for task in tasks] == ["Hello", "Hello"]
        assert [request.json()["model"] for request in endpoint.requests] == ["model-a", "model-b"]
        assert [client.cache.counts.stored for client in clients if client.cache is not None] == [0, 0]


async def test_text_in_pieces_is_shared_too_and_breaks_off_where_its_process_is_lost() -> None:
    gate = Gate()
    async with (
        ScriptedEndpoint(chat_reply(["Hel", gate, "lo"]), chat_reply("Hello again")) as endpoint,
        two_clients(endpoint) as (first, second),
    ):
        leading = asking(first)
        await gate.reached()
        pieces = second.generate_streaming(HELLO, hash_as_identifier=True, cache_response=True)
        assert await anext(pieces) == "Hel"
        await first.aclose()
        with pytest.raises(EndpointError, match="is gone"):
            await anext(pieces)
        assert len(endpoint.requests) == 1
        assert (await leading).status == "failed"
