"""A subscription over a WebSocket: by the edge where it can be, else through ASGI as anyone would."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from starlette.types import Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from hub.server.edge import Edge
from hub.server.feed import Cursor, LogFeed
from hub.server.websocket_protocol import EdgeWebSocketProtocol, edge_websocket
from hub.server.wire import JSON_LINES, WEBSOCKET
from hub.streams.log import StreamLog

__all__ = ("SUBPROTOCOL", "WebSocketSubscription")

SUBPROTOCOL = "llm-stream-hub"
"""What the hub agrees to where it is offered; a browser that offers a key has to offer one more, to be agreed to."""


@dataclass(frozen=True, slots=True)
class Close:
    """How a WebSocket is closed (RFC 6455, section 7.4, read 2026-11-21).

    Attributes:
        code: The close code.
        reason: At most 123 bytes.
    """

    code: int
    reason: str


WHOLE = Close(1000, "")
UNACCEPTABLE = Close(1003, "This WebSocket is for reading only: DELETE /v1/streams/{id} stops a stream.")
STOPPING = Close(1012, "The hub stops: come again, behind the last event you have.")


@dataclass(frozen=True, slots=True)
class WebSocketSubscription:
    """A log's events as WebSocket messages, from a position on, to its end.

    Attributes:
        edge: Serves the connections it can; it also tells when the server is stopping.
        log: What to read.
        cursor: Where to begin, as a `LogFeed` says it.
        stuck_timeout: Seconds after which a reader that takes nothing is given up.
    """

    edge: Edge
    log: StreamLog
    cursor: Cursor
    stuck_timeout: float

    async def serve(self, websocket: WebSocket) -> None:
        """Accept, send the messages, and close with the code that says why."""
        self.edge.enter()
        is_handed_over = False
        try:
            await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in websocket.scope.get("subprotocols", ()) else None)
            protocol = edge_websocket(websocket.scope)
            if protocol is not None:
                protocol.go_on_with(partial(self._by_edge, protocol))
                is_handed_over = True
            elif (close := await self._by_asgi(websocket)) is not None:
                await websocket.close(close.code, close.reason)
        except WebSocketDisconnect:
            pass  # a reader may leave at any time
        finally:
            if not is_handed_over:
                self.edge.leave()

    async def _by_edge(self, protocol: EdgeWebSocketProtocol, send: Send) -> None:
        try:
            is_whole = await self.edge.serve(protocol, LogFeed(self.log, WEBSOCKET), self.cursor)
        finally:
            self.edge.leave()
        close = WHOLE if is_whole else UNACCEPTABLE if protocol.has_spoken else STOPPING
        # Where the reader has left, uvicorn raises what it then passes over.
        await send({"type": "websocket.close", "code": close.code, "reason": close.reason})

    async def _by_asgi(self, websocket: WebSocket) -> Close | None:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send(websocket))
            listening = tasks.create_task(websocket.receive())
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
            is_sent = sending.done()
            sending.cancel()
            listening.cancel()
        if is_sent:
            return sending.result()
        return UNACCEPTABLE if listening.result()["type"] == "websocket.receive" else None

    async def _send(self, websocket: WebSocket) -> Close | None:
        """Send to the end; returns how to close, None where the reader has left or takes nothing."""
        try:
            async with aclosing(self.edge.read(LogFeed(self.log, JSON_LINES), self.cursor)) as pieces:
                async for piece in pieces:
                    for line in piece.split(b"\n")[:-1]:
                        async with asyncio.timeout(self.stuck_timeout):
                            await websocket.send_text(line.decode())
        except (TimeoutError, WebSocketDisconnect):
            return None
        return STOPPING if self.edge.is_draining else WHOLE
