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
from typing import Any, ClassVar

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hub.formats import sse
from hub.streams.log import StreamLog

__all__ = ("Edge", "EdgeProtocol", "edge_protocol")

MAX_WRITE_BYTES = 65_536
MAX_TICK = 0.05
SUBSCRIBERS_PER_TURN = 200
MAX_PIPELINED = 8
DRAIN_RETRY_DELAY = 2.0
"""Seconds after which those who are sent away by a stopping server may come again."""
MAX_HEAD_BYTES = 65_536
HEAD_TIMEOUT = 20.0
_EXTENSION = "hub.edge"


class Subscriber:
    """One reader of one log: its transport and its position. `finished` is done when it is served or gone."""

    __slots__ = ("finished", "index", "is_gone", "is_paused", "transport", "written_at")

    def __init__(self, transport: asyncio.Transport, index: int, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.index = index
        self.is_paused = False
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
        while subscriber.index < size and not subscriber.is_paused and not subscriber.finished.done():
            chunk = self._chunks.get(subscriber.index)
            if chunk is None:
                chunk = _chunk(log.frames, subscriber.index)
                if self._is_scheduled:  # `_end` clears them
                    self._chunks[subscriber.index] = chunk
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
    """

    def __init__(self, *, heartbeat_interval: float = 15.0) -> None:
        self._heartbeat_interval = heartbeat_interval
        self._audiences: dict[StreamLog, Audience] = {}
        self._ordinary: set[asyncio.Event] = set()
        self._places = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_draining = False

    def __len__(self) -> int:
        return self._places

    def enter(self) -> None:
        """A subscriber is admitted; `leave` follows, whatever becomes of it."""
        self._places += 1

    def leave(self) -> None:
        """A subscriber's response has ended."""
        self._places -= 1

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
                if index < len(log.frames):
                    piece, index = _piece(log.frames, index)
                    yield piece
                elif log.is_closed:
                    return
                else:
                    more.clear()
                    await more.wait()
            yield sse.retry_frame(DRAIN_RETRY_DELAY)
        finally:
            unwatch()
            self._ordinary.discard(more)

    def drain(self) -> None:
        """Let every subscriber go: what it lacks it gets elsewhere, or here again later."""
        self._is_draining = True
        for audience in self._audiences.values():
            for subscriber in audience.members():
                if subscriber.is_paused:
                    subscriber.transport.abort()  # it would not hear of an end either
                elif not subscriber.finished.done():
                    subscriber.transport.write(_framed(sse.retry_frame(DRAIN_RETRY_DELAY)))
                subscriber.finish()
        for more in self._ordinary:
            more.set()

    def _interval(self) -> float:
        return self._heartbeat_interval / 2

    def _look_after(self) -> None:
        """Heartbeats for the silent; runs while anyone is subscribed."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        heartbeat = _framed(sse.HEARTBEAT)
        for audience in list(self._audiences.values()):
            for subscriber in audience.members():
                idle = not subscriber.is_paused and not subscriber.finished.done()
                if idle and now - subscriber.written_at >= self._interval():
                    subscriber.transport.write(heartbeat)
                    subscriber.written_at = now
        if self._audiences:
            self._timer = loop.call_later(self._interval(), self._look_after)


class EdgeProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, which lets the edge write to its transport."""

    # Slots, since with further names the instance's dict would no longer share its keys: 1.5 KB a connection.
    __slots__ = ("_audience", "_head_bytes", "_head_timer", "_rest", "_running", "_stuck_timer", "_subscriber")

    stuck_timeout: ClassVar[float] = 30.0
    """Seconds after which a connection that takes no byte of what is written is aborted."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bound what is buffered, and the time until the first request."""
        self._subscriber: Subscriber | None = None
        self._audience: Audience | None = None
        self._running: RequestResponseCycle | None = None
        self._rest: Callable[[Send], Awaitable[None]] | None = None
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._stuck_timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=MAX_WRITE_BYTES)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Bound the head of a request, in bytes and in time."""
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.abort)
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
        for timer in (self._head_timer, self._stuck_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        if self._subscriber is not None:
            self._subscriber.leave()

    def pause_writing(self) -> None:
        """The peer takes no more for now: for how long without a single byte is bounded."""
        super().pause_writing()
        self._watch_writing(self.transport.get_write_buffer_size())
        if self._subscriber is not None:
            self._subscriber.is_paused = True

    def resume_writing(self) -> None:
        """The peer takes bytes again: go on from the cursor."""
        super().resume_writing()
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None
        if self._subscriber is not None and self._audience is not None:
            self._subscriber.is_paused = False
            self.loop.call_soon(self._audience.serve, self._subscriber)

    def _watch_writing(self, left_bytes: int) -> None:
        self._stuck_timer = self.loop.call_later(self.stuck_timeout, self._check_writing, left_bytes)

    def _check_writing(self, left_bytes: int) -> None:
        """Abort a connection whose peer has taken nothing since the last look; a slow one may take its time."""
        left_now = self.transport.get_write_buffer_size()
        if left_now < left_bytes:
            self._watch_writing(left_now)
        else:
            self.transport.abort()

    def attach(self, subscriber: Subscriber, audience: Audience) -> bool:
        """The edge writes from now on; False where the connection is lost already."""
        if self.transport.is_closing() or self.parser is None:
            return False
        if self.flow.write_paused:
            subscriber.is_paused = True
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


def _piece(frames: list[bytes], index: int) -> tuple[bytes, int]:
    """The next frames in one piece of bounded size, and the index after them."""
    size = 0
    end = index
    while end < len(frames) and (end == index or size + len(frames[end]) <= MAX_WRITE_BYTES):
        size += len(frames[end])
        end += 1
    return frames[index] if end == index + 1 else b"".join(frames[index:end]), end


def _chunk(frames: list[bytes], index: int) -> tuple[bytes, int]:
    """The same as one HTTP chunk."""
    piece, end = _piece(frames, index)
    return _framed(piece), end


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
