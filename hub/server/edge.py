"""One feed to many subscribers: pre-framed bytes straight to the transports, each subscriber a cursor.

Through ASGI's `send` a delivery costs about three times as much: a task wakes, a message dict is built, the chunk is
framed anew for everyone. Here a callback writes the same bytes object to every transport that stands at the same
position. What makes it safe: writes of bounded size, a stop at `pause_writing`, rounds that yield to the event loop,
and an end that goes through ASGI, so that the chunked body is closed in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from hub.formats import sse
from hub.server.audience import Audience, Subscriber, chunked
from hub.server.feed import Cursor, Feed
from hub.server.protocol import EdgeProtocol

__all__ = ("Edge",)

DRAIN_RETRY_DELAY = 2.0
"""Seconds after which those who are sent away by a stopping server may come again."""


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

    def enter(self) -> None:
        """A subscriber is admitted; `leave` follows, whatever becomes of it."""
        self._places += 1

    def leave(self) -> None:
        """A subscriber's response has ended."""
        self._places -= 1

    async def serve(self, protocol: EdgeProtocol, feed: Feed, cursor: Cursor) -> bool:
        """Write the feed's frames from the cursor on to the connection, to its end, or until the reader has left.

        The response's headers are sent already, and its end is the caller's to send.

        Returns:
            Whether the feed was served to its end; else the reader has left, or the server is stopping.
        """
        loop = asyncio.get_running_loop()
        subscriber = Subscriber(protocol.transport, cursor, loop)
        audience = self._audiences.get(feed)
        if audience is None:
            audience = self._audiences[feed] = Audience(feed, loop)
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
                    subscriber.transport.write(chunked(sse.retry_frame(DRAIN_RETRY_DELAY)))
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
        heartbeat = chunked(sse.HEARTBEAT)
        for audience in list(self._audiences.values()):
            for subscriber in audience.members():
                idle = not subscriber.is_paused and not subscriber.finished.done()
                if idle and now - subscriber.written_at >= self._interval():
                    subscriber.transport.write(heartbeat)
                    subscriber.written_at = now
        if self._audiences:
            self._timer = loop.call_later(self._interval(), self._look_after)
