"""What the tests of embeddings share: an embedder of a scripted endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
import pytest
from openai import AsyncOpenAI

from hub.embeddings import Embeddings
from hub.errors import EndpointError
from hub.testing import RecordedRequest, Reply, ScriptedEndpoint
from hub.testing.embeddings import embeddings_answer
from hub.upstream.clocks import Timeouts
from hub.upstream.embedding.embedder import Embedder
from hub.upstream.endpoint import Endpoint
from hub.upstream.retry import RetryPolicy
from hub.upstream.transport import AiohttpTransport

T = TypeVar("T")
Handler = Callable[[RecordedRequest], Reply]

KEY = "sk-secret-0123456789"
NO_RETRY = RetryPolicy(attempts=1)
AT_ONCE = RetryPolicy(backoff=0.0)


async def within(awaitable: Awaitable[T], seconds: float = 10.0) -> T:
    async with asyncio.timeout(seconds):
        return await awaitable


@asynccontextmanager
async def sdk_of(endpoint: ScriptedEndpoint, transport: Any = None) -> AsyncIterator[AsyncOpenAI]:
    async with httpx2.AsyncClient(transport=transport or AiohttpTransport()) as http:
        yield AsyncOpenAI(base_url=endpoint.base_url, api_key=KEY, max_retries=0, http_client=http)


def embedder_of(sdk: AsyncOpenAI, **options: Any) -> Embedder:
    endpoint = Endpoint(sdk)
    return Embedder(sdk, url=endpoint.url, redact=endpoint.redact, rand=lambda: 0.0, **options)


async def embed(embedder: Embedder, inputs: Any, **options: Any) -> Embeddings:
    defaults = {"model": "m-1", "timeouts": Timeouts(), "retry": NO_RETRY, "count_tokens": len}
    return await within(embedder.embed(inputs, **{**defaults, **options}))


@asynccontextmanager
async def embedder(
    *replies: Reply, handler: Handler | None = None, **options: Any
) -> AsyncIterator[tuple[Embedder, ScriptedEndpoint]]:
    async with ScriptedEndpoint(*replies, handler=handler) as endpoint, sdk_of(endpoint) as sdk:
        yield embedder_of(sdk, **options), endpoint


async def ask(*replies: Reply, inputs: Any = "a", **options: Any) -> Embeddings:
    """The outcome of one call to an endpoint that answers so."""
    async with embedder(*replies) as (ours, _):
        return await embed(ours, inputs, **options)


async def failure(*replies: Reply, **options: Any) -> EndpointError:
    with pytest.raises(EndpointError) as caught:
        await ask(*replies, **options)
    return caught.value


def sizes(endpoint: ScriptedEndpoint) -> list[int]:
    return [len(request.json()["input"]) for request in endpoint.requests]


def at_most(count: int, refusal: Reply) -> Handler:
    """An endpoint that refuses requests of more inputs."""
    return lambda request: refusal if len(request.json()["input"]) > count else embeddings_answer(request)


def texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]
