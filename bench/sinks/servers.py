"""Contenders that serve: the reader connects, and then has its events pushed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

__all__ = ("sse_by_hand", "sse_sink", "websocket_by_hand", "websocket_sink")

Put = Callable[[Any], Awaitable[object]]


@asynccontextmanager
async def sse_sink(port: str) -> AsyncIterator[Put]:
    """Ours, as a response's body."""
    from sinks.sse import SSESink

    sink = SSESink()
    connected = asyncio.Event()

    async def events(_: Request) -> Response:
        connected.set()
        return StreamingResponse(sink, media_type="text/event-stream")

    async with _serving(Route("/", events), port):
        await connected.wait()
        yield sink.send


@asynccontextmanager
async def sse_by_hand(port: str) -> AsyncIterator[Put]:
    """A queue that sse-starlette's response empties."""
    from sse_starlette import EventSourceResponse

    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(256)
    connected = asyncio.Event()

    async def frames() -> AsyncIterator[dict[str, str]]:
        while True:
            item = await queue.get()
            yield {"id": str(item["seq"]), "event": item["type"], "data": json.dumps(item)}

    async def events(_: Request) -> Response:
        connected.set()
        return EventSourceResponse(frames())

    async with _serving(Route("/", events), port):
        await connected.wait()
        yield queue.put


@asynccontextmanager
async def websocket_sink(port: str) -> AsyncIterator[Put]:
    """Ours."""
    from sinks.websocket import WebSocketSink

    connected: asyncio.Future[Put] = asyncio.get_running_loop().create_future()

    async def answer(websocket: WebSocket) -> None:
        async with WebSocketSink(websocket) as sink:
            connected.set_result(sink.send)
            await asyncio.Event().wait()

    async with _serving(WebSocketRoute("/", answer), port):
        yield await connected


def websocket_by_hand(encode: Callable[[Any], str]) -> Callable[[str], AbstractAsyncContextManager[Put]]:
    """Starlette's WebSocket, with this for the JSON."""

    @asynccontextmanager
    async def opened(port: str) -> AsyncIterator[Put]:
        connected: asyncio.Future[Put] = asyncio.get_running_loop().create_future()

        async def answer(websocket: WebSocket) -> None:
            await websocket.accept()
            connected.set_result(lambda item: websocket.send_text(encode(item)))
            await asyncio.Event().wait()

        async with _serving(WebSocketRoute("/", answer), port):
            yield await connected

    return opened


@asynccontextmanager
async def _serving(route: BaseRoute, port: str) -> AsyncIterator[None]:
    """It ends with the process: whoever reads is never told goodbye."""
    config = uvicorn.Config(
        Starlette(routes=[route]), port=int(port), lifespan="off", log_level="error", access_log=False, http="httptools"
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(uvicorn.Server(config).serve())
        yield
