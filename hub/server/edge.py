"""One log to many subscribers: pre-framed bytes straight to the transports, each subscriber a cursor.

Through ASGI's `send` a delivery costs about three times as much: a task wakes, a message dict is built, the chunk is
framed anew for everyone. Here a callback writes the same bytes object to every transport that stands at the same
position. What makes it safe: writes of bounded size, a stop at `pause_writing`, rounds that yield to the event loop,
and an end that goes through ASGI, so that the chunked body is closed in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hub.formats import sse
from hub.streams.log import MAX_READ_EVENTS, StreamLog

__all__ = ("Edge", "EdgeProtocol", "edge_protocol")

MAX_WRITE_BYTES = 65_536
MAX_TICK = 0.05
SUBSCRIBERS_PER_TURN = 200
MAX_PIPELINED = 8
_EXTENSION = "hub.edge"


class Subscriber:
    """One reader of one log: its transport and its position. `finished` is done when it is served or gone."""

    __slots__ = ("finished", "index", "is_gone", "paused_at", "transport", "written_at")

    def __init__(self, transport: asyncio.Transport, index: int, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.index = index
        self.paused_at: float | None = None
        self.written_at = loop.time()
        # Not an asyncio.Event: that holds a deque, 760 bytes a subscriber.
        self.finished: asyncio.Future[None] = loop.create_future()
        self.is_gone = False

    def finish(self) -> None:
        """It is served, or has to go."""
        if not self.finished.done():
            self.finished.set_result(None)

    def leave(self) -> None:
        """The connection is lost."""
        self.is_gone = True
        self.finish()


class Audience:
    """Everyone who reads one log."""

    def __init__(self, log: StreamLog, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._members: dict[Subscriber, None] = {}
        self._turns: list[Subscriber] = []
        self._is_scheduled = False
        self._has_grown = False
        self._not_before = 0.0
        self._began_at = 0.0
        self._chunks: dict[int, tuple[bytes, int]] = {}
        self.unwatch: Callable[[], None] = log.watch(self.wake)

    def __len__(self) -> int:
        return len(self._members)

    def add(self, subscriber: Subscriber) -> None:
        """Serve a subscriber from its position on."""
        self._members[subscriber] = None
        self.serve(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        """Serve it no longer."""
        self._members.pop(subscriber, None)

    def members(self) -> list[Subscriber]:
        """Everyone, as they stand now."""
        return list(self._members)

    def wake(self) -> None:
        """The log has grown: a round over the members begins, once the last one has ended."""
        self._has_grown = True
        if self._is_scheduled:
            return
        self._is_scheduled = True
        wait = self._not_before - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._begin)
        else:
            self._loop.call_soon(self._begin)

    def serve(self, subscriber: Subscriber) -> None:
        """Write what one subscriber lacks, as far as its connection takes it."""
        log = self._log
        size = len(log.frames)
        while subscriber.index < size and subscriber.paused_at is None and not subscriber.finished.done():
            chunk = self._chunks.get(subscriber.index)
            if chunk is None:
                chunk = self._chunks[subscriber.index] = _chunk(log.frames, subscriber.index)
            subscriber.transport.write(chunk[0])
            subscriber.index = chunk[1]
            subscriber.written_at = self._loop.time()
        if log.is_closed and subscriber.index >= size:
            subscriber.finish()

    def _begin(self) -> None:
        self._has_grown = False
        self._turns = list(self._members)
        self._chunks.clear()
        self._began_at = self._loop.time()
        self._turn()

    def _turn(self) -> None:
        """Serve the next members, and leave the loop to others before the rest."""
        turn, self._turns = self._turns[:SUBSCRIBERS_PER_TURN], self._turns[SUBSCRIBERS_PER_TURN:]
        for subscriber in turn:
            self.serve(subscriber)
        # Also after the last turn: the loop hands to the kernel what was written once its callbacks have run, and
        # that is where most of a round's time goes.
        self._loop.call_soon(self._turn if self._turns else self._end)

    def _end(self) -> None:
        self._is_scheduled = False
        self._chunks.clear()
        # Where rounds take long, neighbouring events wait for one another and leave in one write.
        now = self._loop.time()
        self._not_before = now + min(MAX_TICK, now - self._began_at)
        if self._has_grown:
            self.wake()


class Edge:
    """Serves every subscriber of this process; its length is their number.

    Args:
        heartbeat_interval: Seconds of silence after which a subscriber gets a comment.
        stuck_timeout: Seconds after which a connection that takes no bytes is aborted.
    """

    def __init__(self, *, heartbeat_interval: float = 15.0, stuck_timeout: float = 30.0) -> None:
        self._heartbeat_interval = heartbeat_interval
        self._stuck_timeout = stuck_timeout
        self._audiences: dict[StreamLog, Audience] = {}
        self._ordinary: set[asyncio.Event] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_draining = False

    def __len__(self) -> int:
        return sum(map(len, self._audiences.values())) + len(self._ordinary)

    async def serve(self, protocol: EdgeProtocol, log: StreamLog, index: int) -> bool:
        """Write the log's frames from `index` on to the connection, until its end, or until the reader has left.

        The response's headers are sent already, and its end is the caller's to send.

        Returns:
            Whether the log was served to its end; else the reader has left, or the server is stopping.
        """
        loop = asyncio.get_running_loop()
        subscriber = Subscriber(protocol.transport, index, loop)
        audience = self._audiences.get(log)
        if audience is None:
            audience = self._audiences[log] = Audience(log, loop)
        if self._timer is None:
            self._timer = loop.call_later(self._interval(), self._look_after)
        if not protocol.attach(subscriber, audience) or self._is_draining:
            subscriber.finish()
        try:
            audience.add(subscriber)
            await subscriber.finished
        finally:
            protocol.detach()
            audience.remove(subscriber)
            if not len(audience):
                audience.unwatch()
                self._audiences.pop(log, None)
        return log.is_closed and subscriber.index >= len(log.frames) and not subscriber.is_gone

    async def read(self, log: StreamLog, index: int) -> AsyncGenerator[bytes, None]:
        """The log's frames from `index` on, in pieces of what is there, for readers that take the ordinary way.

        Ends with the log, or when the server is stopping.
        """
        more = asyncio.Event()
        self._ordinary.add(more)
        unwatch = log.watch(more.set)
        try:
            while not self._is_draining:
                piece = log.frames[index : index + MAX_READ_EVENTS]
                if piece:
                    index += len(piece)
                    yield b"".join(piece)
                elif log.is_closed:
                    return
                else:
                    more.clear()
                    await more.wait()
        finally:
            unwatch()
            self._ordinary.discard(more)

    def drain(self) -> None:
        """Let every subscriber go: what it lacks it gets elsewhere, or here again later."""
        self._is_draining = True
        for audience in self._audiences.values():
            for subscriber in audience.members():
                subscriber.finish()
        for more in self._ordinary:
            more.set()

    def _interval(self) -> float:
        return min(self._heartbeat_interval, self._stuck_timeout) / 2

    def _look_after(self) -> None:
        """Heartbeats for the silent, an end for the stuck; runs while anyone is subscribed."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        heartbeat = _framed(sse.HEARTBEAT)
        for audience in list(self._audiences.values()):
            for subscriber in audience.members():
                if subscriber.paused_at is not None:
                    if now - subscriber.paused_at >= self._stuck_timeout:
                        subscriber.transport.abort()
                elif now - subscriber.written_at >= self._interval() and not subscriber.finished.done():
                    subscriber.transport.write(heartbeat)
                    subscriber.written_at = now
        if self._audiences:
            self._timer = loop.call_later(self._interval(), self._look_after)


class EdgeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, which lets the edge write to its transport."""

    # Slots, since with further names the instance's dict would no longer share its keys: 1.5 KB a connection.
    __slots__ = ("_audience", "_rest", "_running", "_subscriber")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bound what is buffered, and the time until the first request."""
        self._subscriber: Subscriber | None = None
        self._audience: Audience | None = None
        self._running: RequestResponseCycle | None = None
        self._rest: Callable[[Send], Awaitable[None]] | None = None
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=MAX_WRITE_BYTES)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        """Make this protocol known to the application."""
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"protocol": self}}

    def on_headers_complete(self) -> None:
        """Go on reading behind a subscription, for a bounded number of further requests."""
        super().on_headers_complete()
        if self._subscriber is not None and len(self.pipeline) < MAX_PIPELINED:
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, partial(self._run, app))

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        rest, self._rest = self._rest, None
        if rest is not None:
            await rest(send)

    def go_on_with(self, rest: Callable[[Send], Awaitable[None]]) -> None:
        """Give the rest of the response, begun already, to `rest`, which runs once the application has returned.

        A subscription waits for minutes; inside the application, its middleware and routing would wait with it, and
        their frames weigh more than everything else about a subscriber.
        """
        self._rest = rest

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever serves this connection: uvicorn tells only the newest of several pipelined requests."""
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        if self._subscriber is not None:
            self._subscriber.leave()

    def pause_writing(self) -> None:
        """The peer takes no more for now."""
        super().pause_writing()
        if self._subscriber is not None:
            self._subscriber.paused_at = self.loop.time()

    def resume_writing(self) -> None:
        """The peer takes bytes again: go on from the cursor."""
        super().resume_writing()
        if self._subscriber is not None and self._audience is not None:
            self._subscriber.paused_at = None
            self.loop.call_soon(self._audience.serve, self._subscriber)

    def attach(self, subscriber: Subscriber, audience: Audience) -> bool:
        """The edge writes from now on; False where the connection is lost already."""
        if self.transport.is_closing() or self.parser is None:
            return False
        if self.flow.write_paused:
            subscriber.paused_at = self.loop.time()
        self._subscriber, self._audience = subscriber, audience
        # A pipelined request pauses reading, and who doesn't read doesn't see the peer go.
        self.flow.resume_reading()
        return True

    def detach(self) -> None:
        """The edge writes no more."""
        self._subscriber = self._audience = None


def edge_protocol(scope: Scope) -> EdgeProtocol | None:
    """The connection the edge may write to for this request; None where the ordinary way has to be taken.

    That is: anything but an HTTP/1.1 GET without TLS under a server that was given `EdgeProtocol`.
    """
    protocol = scope.get("extensions", {}).get(_EXTENSION, {}).get("protocol")
    if not isinstance(protocol, EdgeProtocol) or scope["http_version"] != "1.1" or scope["method"] != "GET":
        return None
    return None if scope["scheme"] != "http" else protocol


def _chunk(frames: list[bytes], index: int) -> tuple[bytes, int]:
    """The next frames as one HTTP chunk of bounded size, and the index after them."""
    size = 0
    end = index
    while end < len(frames) and (end == index or size + len(frames[end]) <= MAX_WRITE_BYTES):
        size += len(frames[end])
        end += 1
    return _framed(frames[index] if end == index + 1 else b"".join(frames[index:end])), end


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
