"""The sink behind which a WebSocket is, with a real server and a real client on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from hub.errors import SinkError, SinkUnavailableError
from hub.events import LLMEvent, decode_event
from sinks.websocket import WebSocketSink

from ..contracts.samples import a_stream, done, meta, text

PATIENCE = 10.0
LARGE = [meta(0), text(1, "x" * 1_000_000), text(2, "\x00😀 שלום\r\n\u2028 "), text(3, ""), done(4)]
MUCH = [meta(0), *(text(number, "x" * 10_000) for number in range(1, 3_000))]


class Site:
    """A server whose WebSocket gets these events; `ending` is what the sink raised, or None once it closed."""

    def __init__(self, events: Sequence[LLMEvent], *, stuck_timeout: float = 30.0) -> None:
        self.ending: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._events = events
        self._stuck_timeout = stuck_timeout

    async def answer(self, websocket: WebSocket) -> None:
        failure: Exception | None = None
        try:
            async with WebSocketSink(websocket, stuck_timeout=self._stuck_timeout) as sink:
                for event in self._events:
                    await sink.send(event)
        except SinkError as exc:
            failure = exc
        self.ending.set_result(failure)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[int]:
        app = Starlette(routes=[WebSocketRoute("/", self.answer)])
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", ws_per_message_deflate=False, timeout_graceful_shutdown=1)
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
                tasks.create_task(server.serve(sockets=[listener]))
                yield listener.getsockname()[1]
                server.should_exit = True


@pytest.mark.parametrize("events", [a_stream("Hello", " world"), LARGE])
async def test_every_event_arrives_and_the_end_is_1000(events: list[LLMEvent]) -> None:
    site = Site(events)
    async with site.served() as port, connect(f"ws://127.0.0.1:{port}", max_size=None) as websocket:
        assert [decode_event(message) async for message in websocket] == events
        assert websocket.close_code == 1000
        assert await site.ending is None


async def test_a_slow_reader_holds_the_producer_back_and_gets_everything() -> None:
    site = Site(MUCH)
    async with site.served() as port, connect(f"ws://127.0.0.1:{port}") as websocket:
        received = [decode_event(await websocket.recv())]
        await asyncio.sleep(0.2)  # the reader is slow: that is what is tested
        assert not site.ending.done()
        while len(received) < len(MUCH):
            received.append(decode_event(await websocket.recv()))
        assert received == MUCH
        assert await site.ending is None
        await websocket.wait_closed()
        assert websocket.close_code == 1011


async def test_a_reader_that_stops_reading_fails_the_sink_after_a_while() -> None:
    site = Site(MUCH, stuck_timeout=0.3)
    async with site.served() as port, connect(f"ws://127.0.0.1:{port}", close_timeout=0.1):
        assert isinstance(await site.ending, SinkUnavailableError)


@pytest.mark.parametrize("is_polite", [True, False])
async def test_a_reader_that_leaves_fails_the_sink(is_polite: bool) -> None:
    site = Site(MUCH)
    async with site.served() as port, connect(f"ws://127.0.0.1:{port}", max_queue=None) as websocket:
        await websocket.recv()
        if is_polite:
            await websocket.close()
        else:
            websocket.transport.abort()
        ending = await site.ending
        assert isinstance(ending, SinkError)
        assert "has left" in str(ending)
