"""One feed to many subscribers: pre-framed bytes straight to the transports, each subscriber a cursor.

Through ASGI's `send` a delivery costs about three times as much: a task wakes, a message dict is built, the chunk is
framed anew for everyone. Here a callback writes the same bytes object to every transport that stands at the same
position. What makes it safe: writes of bounded size, a stop at `pause_writing`, rounds that yield to the event loop,
and an end that goes through ASGI, so that the chunked body is closed in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from hub.server.audience import Audience, Subscriber
from hub.server.feed import Cursor, Feed

__all__ = ("Connection", "Edge")


class Connection(Protocol):
    """A connection that the edge may write to, past ASGI."""

    transport: asyncio.Transport

    def attach(self, subscriber: Subscriber, audience: Audience) -> bool:
        """The edge writes from now on; False where there is nobody to write to any more."""
        ...

    def detach(self) -> None:
        """The edge writes no more."""
        ...


class Edge:
    """Serves every subscriber of this process; its length is their number.

    Args:
        heartbeat_interval: Seconds of silence after which a subscriber gets a comment.
    """

    def __init__(self, *, heartbeat_interval: float = 15.0) -> None:
        self._heartbeat_interval = heartbeat_interval
        self._audiences: dict[Feed, Audience] = {}
        self._ordinary: set[asyncio.Event] = set()
        self._places = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_draining = False

    def __len__(self) -> int:
        return self._places

    @property
    def is_draining(self) -> bool:
        """Whether the subscribers were let go, or will be as they come."""
        return self._is_draining

    def enter(self) -> None:
        """A subscriber is admitted; `leave` follows, whatever becomes of it."""
        self._places += 1

    def leave(self) -> None:
        """A subscriber's response has ended."""
        self._places -= 1

    async def serve(self, connection: Connection, feed: Feed, cursor: Cursor) -> bool:
        """Write what the feed has from the cursor on to the connection, to its end, or until the reader has left.

        What opens the response is sent already, and its end is the caller's to send.

        Returns:
            Whether the feed was served to its end; else the reader has left, or the server is stopping.
        """
        loop = asyncio.get_running_loop()
        subscriber = Subscriber(connection.transport, cursor, loop)
        audience = self._audiences.get(feed)
        if audience is None:
            audience = self._audiences[feed] = Audience(feed, loop)
        if self._timer is None:
            self._timer = loop.call_later(self._interval(), self._look_after)
        if not connection.attach(subscriber, audience) or self._is_draining:
            subscriber.finish()
        try:
            audience.add(subscriber)
            await subscriber.finished
        finally:
            connection.detach()
            audience.remove(subscriber)
            if not len(audience):
                audience.unwatch()
                self._audiences.pop(feed, None)
        return feed.is_closed and subscriber.cursor == feed.head() and not subscriber.is_gone

    async def read(self, feed: Feed, cursor: Cursor) -> AsyncGenerator[bytes, None]:
        """The feed's frames from the cursor on, in pieces of what is there, for readers that take the ordinary way.

        Ends with the feed, or when the server is stopping.
        """
        more = asyncio.Event()
        self._ordinary.add(more)
        unwatch = feed.watch(more.set)
        try:
            while not self._is_draining:
                if cursor != feed.head():
                    piece, cursor = feed.next_piece(cursor)
                    yield piece
                elif feed.is_closed:
                    return
                else:
                    more.clear()
                    await more.wait()
            if feed.wire.farewell:
                yield feed.wire.farewell
        finally:
            unwatch()
            self._ordinary.discard(more)

    def drain(self) -> None:
        """Let every subscriber go: what it lacks it gets elsewhere, or here again later."""
        self._is_draining = True
        for feed, audience in self._audiences.items():
            farewell = feed.wire.piece(feed.wire.farewell)
            for subscriber in audience.members():
                if subscriber.is_paused:
                    subscriber.transport.abort()  # it would not hear of an end either
                elif not subscriber.finished.done():
                    subscriber.transport.write(farewell)
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
        for feed, audience in list(self._audiences.items()):
            heartbeat = feed.wire.piece(feed.wire.heartbeat)
            for subscriber in audience.members():
                idle = not subscriber.is_paused and not subscriber.finished.done()
                if idle and now - subscriber.written_at >= self._interval():
                    subscriber.transport.write(heartbeat)
                    subscriber.written_at = now
        if self._audiences:
            self._timer = loop.call_later(self._interval(), self._look_after)
