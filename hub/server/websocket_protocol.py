"""uvicorn's WebSocket protocol, which lets the edge write past ASGI, and bounds what a peer can hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from hub.server.audience import MAX_WRITE_BYTES, Audience, Subscriber
from hub.server.outlet import Outlet

__all__ = ("MAX_MESSAGE_BYTES", "EdgeWebSocketProtocol", "edge_websocket")

MAX_MESSAGE_BYTES = 4_096
"""What a reader's message may weigh: it has nothing to say."""

_EXTENSION = "hub.edge"


class EdgeWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, for sockets that only read, which lets the edge write to its transport.

    The edge writes whole frames without compression, so those that uvicorn writes (pongs, the close) go between them.

    Attributes:
        has_spoken: Whether the peer sent a message while it was served.
    """

    stuck_timeout: ClassVar[float] = 30.0
    """Seconds after which a connection that takes no byte of what is written is aborted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what is buffered."""
        super().connection_made(transport)
        self.has_spoken = False
        self._rest: Callable[[Send], Awaitable[None]] | None = None
        self._outlet = Outlet(self.transport, self.loop, self.stuck_timeout)
        self.transport.set_write_buffer_limits(high=MAX_WRITE_BYTES)

    def handle_connect(self, event: Request) -> None:
        """Make this protocol known to the application."""
        self.app = partial(self._run, self.app)
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][_EXTENSION] = {"protocol": self}

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        rest, self._rest = self._rest, None
        if rest is not None:
            await rest(send)

    def go_on_with(self, rest: Callable[[Send], Awaitable[None]]) -> None:
        """Give the accepted connection to `rest`, which runs once the application has returned, as over HTTP."""
        self._rest = rest

    def data_received(self, data: bytes) -> None:
        """Also refuse a head that can't be read, and hear at once when the connection is about to end."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # uvicorn would leave the refusal that is ready unsent, and the connection open.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
        if self.transport.is_closing():
            self._outlet.lose()
            self._outlet.watch()

    async def send(self, message: ASGISendEvent) -> None:
        """Carry out what the application says."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # uvicorn takes a refusal for a handshake that the application forgot, and logs an error for each.
            self.handshake_complete = True

    def send_receive_event_to_app(self) -> None:
        """Take a message as the end of the subscription: it is for reading only."""
        subscriber = self._outlet.subscriber
        if subscriber is None:
            super().send_receive_event_to_app()
            return
        self.frames = []
        self.has_spoken = True
        subscriber.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever serves this connection."""
        super().connection_lost(exc)
        self._outlet.close()

    def pause_writing(self) -> None:
        """The peer takes no more for now. Nor is it heard: it would get pongs, and they have to wait somewhere."""
        super().pause_writing()
        self._outlet.pause()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer takes bytes again."""
        super().resume_writing()
        self._outlet.resume()
        if not self.transport.is_closing() and not self.read_paused:
            self.transport.resume_reading()

    def attach(self, subscriber: Subscriber, audience: Audience) -> bool:
        """The edge writes from now on; False where the peer has left, or has spoken, already."""
        self.has_spoken = not self.queue.empty()
        if self.has_spoken or self.close_sent or self.transport.is_closing():
            return False
        self._outlet.attach(subscriber, audience, is_paused=not self.writable.is_set())
        return True

    def detach(self) -> None:
        """The edge writes no more: what is left to write is bounded in time, whether or not the peer reads it."""
        self._outlet.detach()
        self._outlet.watch()


def edge_websocket(scope: Scope) -> EdgeWebSocketProtocol | None:
    """The connection the edge may write to; None under a server that was not given `EdgeWebSocketProtocol`."""
    protocol = scope.get("extensions", {}).get(_EXTENSION, {}).get("protocol")
    return protocol if isinstance(protocol, EdgeWebSocketProtocol) else None
