"""uvicorn's HTTP/1.1 protocol, which lets the edge write past ASGI, and bounds what a peer can hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hub.server.audience import MAX_WRITE_BYTES, Audience, Subscriber
from hub.server.outlet import Outlet

__all__ = ("EdgeProtocol", "edge_protocol")

MAX_PIPELINED = 8
MAX_HEAD_BYTES = 65_536
_EXTENSION = "hub.edge"


class EdgeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, which lets the edge write to its transport."""

    # Slots, since with further names the instance's dict would no longer share its keys: 1.5 KB a connection.
    __slots__ = ("_head_bytes", "_head_timer", "_outlet", "_rest", "_running")

    request_timeout: ClassVar[float] = 20.0
    """Seconds that the head of a request may take to come."""

    stuck_timeout: ClassVar[float] = 30.0
    """Seconds after which a connection that takes no byte of what is written is aborted."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bound what is buffered, and the time until the first request."""
        self._running: RequestResponseCycle | None = None
        self._rest: Callable[[Send], Awaitable[None]] | None = None
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._outlet = Outlet(transport, self.loop, self.stuck_timeout)
        transport.set_write_buffer_limits(high=MAX_WRITE_BYTES)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Bound the head of a request, in bytes and in time."""
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(self.request_timeout, self.transport.abort)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_complete(self) -> None:
        """The next request's head may begin."""
        self._head_bytes = 0
        super().on_message_complete()

    def on_message_begin(self) -> None:
        """Make this protocol known to the application."""
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"protocol": self}}

    def on_headers_complete(self) -> None:
        """Go on reading behind a subscription, for a bounded number of further requests."""
        self._head_bytes = -1
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()
        if self._outlet.subscriber is not None and len(self.pipeline) < MAX_PIPELINED:
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, partial(self._run, app))

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        rest, self._rest = self._rest, None
        if rest is not None:
            await rest(send)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol, unless an answer is still being written to it."""
        if self._running is not None and not self._running.response_complete:
            # Its bytes would go between the messages, and whoever writes it would not hear that the peer has left.
            self.transport.abort()
            return
        if self.parser.get_http_version() != "1.1":
            # An older one has no upgrade (RFC 6455, section 4.1, read 2026-11-21), and a proxy of its time would keep
            # what follows for itself.
            self.send_400_response("A WebSocket takes HTTP/1.1.")
            return
        self._outlet.close()
        super().handle_websocket_upgrade()
        if self.flow.write_paused:
            # Much of an earlier answer has not been taken yet, and the transport says so only once.
            self.transport.get_protocol().pause_writing()

    def go_on_with(self, rest: Callable[[Send], Awaitable[None]]) -> None:
        """Give the rest of the response, begun already, to `rest`, which runs once the application has returned.

        A subscription waits for minutes; inside the application, its middleware and routing would wait with it, and
        their frames weigh more than everything else about a subscriber.
        """
        self._rest = rest

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever serves this connection: uvicorn tells only the newest of several pipelined requests."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self._outlet.close()

    def pause_writing(self) -> None:
        """The peer takes no more for now."""
        super().pause_writing()
        self._outlet.pause()

    def resume_writing(self) -> None:
        """The peer takes bytes again."""
        super().resume_writing()
        self._outlet.resume()

    def attach(self, subscriber: Subscriber, audience: Audience) -> bool:
        """The edge writes from now on; False where the connection is lost already."""
        if self.transport.is_closing() or self.parser is None:
            return False
        self._outlet.attach(subscriber, audience, is_paused=self.flow.write_paused)
        # A pipelined request pauses reading, and who doesn't read doesn't see the peer go.
        self.flow.resume_reading()
        return True

    def detach(self) -> None:
        """The edge writes no more."""
        self._outlet.detach()


def edge_protocol(scope: Scope) -> EdgeProtocol | None:
    """The connection the edge may write to for this request; None where the ordinary way has to be taken.

    That is: anything but an HTTP/1.1 GET without TLS under a server that was given `EdgeProtocol`.
    """
    protocol = scope.get("extensions", {}).get(_EXTENSION, {}).get("protocol")
    if not isinstance(protocol, EdgeProtocol) or scope["http_version"] != "1.1" or scope["method"] != "GET":
        return None
    return None if scope["scheme"] != "http" else protocol
