"""The SSE response to a subscription: by the edge where it can be, else through ASGI as anyone would."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.formats import sse
from hub.server.edge import Edge
from hub.server.feed import Cursor, Feed
from hub.server.protocol import EdgeProtocol, edge_protocol

__all__ = ("SubscriptionResponse",)

RETRY_DELAY = 1.0
"""Seconds a browser waits before it connects again."""

# On SIGTERM sse-starlette would cut every stream at once; the server drains by itself, and ends each one in order.
AppStatus.enable_automatic_graceful_drain = False


class SubscriptionResponse(Response):
    """A feed's events as SSE, from a cursor on, to its end.

    Args:
        edge: Serves the connections it can; it also tells when the server is stopping.
        feed: What to read.
        cursor: Where to begin.
        heartbeat_interval: Seconds of silence after which a comment is sent.
        headers: Further headers.
    """

    def __init__(
        self,
        edge: Edge,
        feed: Feed,
        cursor: Cursor,
        *,
        heartbeat_interval: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status_code=200, headers={**sse.HEADERS, **(headers or {})}, media_type=sse.MEDIA_TYPE)
        self._edge = edge
        self._feed = feed
        self._cursor = cursor
        self._heartbeat_interval = heartbeat_interval
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        protocol = edge_protocol(scope)
        self._edge.enter()
        is_handed_over = False
        try:
            if protocol is None:
                await self._by_asgi(scope, receive, send)
            else:
                await self._begin(protocol, send)
                is_handed_over = True
        finally:
            if not is_handed_over:
                self._edge.leave()

    async def _begin(self, protocol: EdgeProtocol, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": sse.retry_frame(RETRY_DELAY), "more_body": True})
        protocol.go_on_with(partial(_serve_and_end, self._edge, protocol, self._feed, self._cursor))

    async def _by_asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = EventSourceResponse(
            self._frames(),
            headers={name: value for name, value in self.headers.items() if name != "content-type"},
            ping=self._heartbeat_interval,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
            sep="\n",
        )
        await response(scope, receive, send)

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        yield sse.retry_frame(RETRY_DELAY)
        async with aclosing(self._edge.read(self._feed, self._cursor)) as pieces:
            async for piece in pieces:
                yield piece


async def _serve_and_end(edge: Edge, protocol: EdgeProtocol, feed: Feed, cursor: Cursor, send: Send) -> None:
    try:
        await edge.serve(protocol, feed, cursor)
    finally:
        edge.leave()
    await send({"type": "http.response.body", "body": b"", "more_body": False})
