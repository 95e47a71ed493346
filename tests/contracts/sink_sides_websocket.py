"""The sink behind which a WebSocket is, with a server in memory that can be held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket

from hub.events import LLMEvent, decode_event
from sinks.websocket import WebSocketSink

from .sink_sides import Side


class Peer:
    """The server of one WebSocket, and its reader: what it was told, and what it lets through."""

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.websocket = WebSocket({"type": "websocket"}, self._receive, self._send)
        self._free = asyncio.Event()
        self._free.set()
        self._has_left = False

    def hold(self, held: bool) -> None:
        """Take nothing while `held`."""
        (self._free.clear if held else self._free.set)()

    def leave(self) -> None:
        """Close the connection without a word."""
        self._has_left = True
        self._free.set()

    def events(self) -> list[LLMEvent]:
        return [decode_event(message["text"]) for message in self.told if message["type"] == "websocket.send"]

    @property
    def code(self) -> int | None:
        """How it was closed; None while it is open."""
        return next((message["code"] for message in self.told if message["type"] == "websocket.close"), None)

    async def _receive(self) -> Message:
        return {"type": "websocket.disconnect" if self._has_left else "websocket.connect"}

    async def _send(self, message: Message) -> None:
        await self._free.wait()
        if self._has_left:
            raise ConnectionResetError
        self.told.append(message)


@asynccontextmanager
async def websocket() -> AsyncIterator[Side]:
    peer = Peer()
    async with WebSocketSink(peer.websocket) as sink:
        yield Side(sink, peer.events, peer.hold, bound=0)


@asynccontextmanager
async def websocket_left() -> AsyncIterator[Any]:
    peer = Peer()
    async with WebSocketSink(peer.websocket) as sink:
        peer.leave()
        yield sink


@asynccontextmanager
async def websocket_stuck() -> AsyncIterator[Any]:
    peer = Peer()
    async with WebSocketSink(peer.websocket, stuck_timeout=0.5) as sink:
        peer.hold(True)
        yield sink


def unentered_websocket() -> Any:
    return WebSocketSink(Peer().websocket)


SIDES = (websocket,)
FAILING = (websocket_left, websocket_stuck)
UNENTERED = (unentered_websocket,)
