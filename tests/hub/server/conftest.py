"""A real server in the test's own event loop, over the scripted endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from hub.answerer import Answering
from hub.client import OpenAIClient
from hub.config import HubSettings
from hub.events import LLMEvent, decode_event
from hub.hub import Hub
from hub.relaying import Relays
from hub.server.edge import Edge
from hub.server.protocol import EdgeProtocol
from hub.server.serve import build_server, listen
from hub.server.websocket_protocol import EdgeWebSocketProtocol
from hub.testing import EchoHandler, ScriptedEndpoint
from hub.upstream.retry import RetryPolicy
from hub.upstream.wire.sse import SSEDecoder

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}

PROTOCOLS: dict[str, type[asyncio.Protocol]] = {
    "edge": EdgeProtocol,
    "httptools": HttpToolsProtocol,
    "h11": H11Protocol,
}

WEBSOCKET_PROTOCOLS: dict[str, type[asyncio.Protocol]] = {
    "edge": EdgeWebSocketProtocol,
    "asgi": WebSocketsSansIOProtocol,
}


@dataclass
class RunningHub:
    """A hub that serves on loopback, and what a test needs of it."""

    url: str
    port: int
    hub: Hub
    edge: Edge
    endpoint: ScriptedEndpoint
    http: httpx2.AsyncClient
    server: Any
    task: asyncio.Task[None]
    headers: dict[str, str] = field(default_factory=dict)
    relays: Relays | None = None

    async def start(self, **body: Any) -> str:
        response = await self.http.post("/v1/streams", json={**HELLO, **body})
        assert response.status_code == 201, response.text
        stream_id: str = response.json()["stream_id"]
        return stream_id

    @asynccontextmanager
    async def subscription(
        self, stream_id: str, *, after: int | None = None, query: str = ""
    ) -> AsyncIterator[AsyncIterator[LLMEvent]]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        async with self.http.stream("GET", f"/v1/streams/{stream_id}/events{query}", headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            yield events_of(response)

    async def read(self, stream_id: str, *, after: int | None = None, query: str = "") -> list[LLMEvent]:
        async with self.subscription(stream_id, after=after, query=query) as events:
            return [event async for event in events]


async def events_of(response: httpx2.Response) -> AsyncIterator[LLMEvent]:
    decoder = SSEDecoder()
    async for data in response.aiter_bytes():
        for frame in decoder.feed(data):
            event = decode_event(frame.data)
            assert frame.event == ("" if event.type == "error" else event.type)
            yield event


StartHub = Callable[..., AbstractAsyncContextManager[RunningHub]]


@asynccontextmanager
async def run_hub(
    *,
    protocol: str = "edge",
    websockets: str = "edge",
    generator: Any = None,
    store: Any = None,
    max_streams: int = 1000,
    relays: Relays | None = None,
    **settings: Any,
) -> AsyncIterator[RunningHub]:
    hub_settings = HubSettings(**{"drain_timeout": 0.0, **settings})
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        endpoint = await stack.enter_async_context(ScriptedEndpoint(handler=EchoHandler(0.0)))
        client = OpenAIClient("scripted", base_url=endpoint.base_url, api_key="EMPTY", retry=RetryPolicy(attempts=1))
        await stack.enter_async_context(client)
        hub = await stack.enter_async_context(Hub(generator or client, store, max_streams=max_streams, relays=relays))
        edge = Edge(heartbeat_interval=hub_settings.heartbeat_interval)
        answering = Answering("scripted", None, "scripted", "The scripted endpoint repeats your words.")
        protocols = {"http": PROTOCOLS[protocol], "ws": WEBSOCKET_PROTOCOLS[websockets]}
        server = build_server(hub, edge, hub_settings, answering, **protocols)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(server.serve(sockets=[listener]))
            async with httpx2.AsyncClient(base_url=url, timeout=20, limits=httpx2.Limits()) as http:
                yield RunningHub(url, port, hub, edge, endpoint, http, server, task, relays=relays)
            server.should_exit = True


@pytest.fixture
def start_hub() -> StartHub:
    """Starts a server; its arguments are fields of `HubSettings`."""
    return run_hub


@pytest.fixture
async def running_hub() -> AsyncIterator[RunningHub]:
    async with run_hub() as running:
        yield running


@pytest.fixture(params=list(PROTOCOLS))
async def any_hub(request: pytest.FixtureRequest) -> AsyncIterator[RunningHub]:
    """The same promises by the edge and by the ordinary way."""
    async with run_hub(protocol=request.param) as running:
        yield running
