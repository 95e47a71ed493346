"""Everyone who reads one feed: a round over them writes the same bytes to each that stands at the same cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hub.server.feed import MAX_WRITE_BYTES, Cursor, Feed

__all__ = ("MAX_WRITE_BYTES", "Audience", "Subscriber")

MAX_TICK = 0.05
SUBSCRIBERS_PER_TURN = 200


class Subscriber:
    """One reader of a feed: its transport and its cursor. `finished` is done when it is served or gone."""

    __slots__ = ("cursor", "finished", "is_gone", "is_paused", "transport", "written_at")

    def __init__(self, transport: asyncio.Transport, cursor: Cursor, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.cursor = cursor
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
    """Everyone who reads one feed."""

    def __init__(self, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        self._feed = feed
        self._loop = loop
        self._members: dict[Subscriber, None] = {}
        self._turns: list[Subscriber] = []
        self._is_scheduled = False
        self._has_grown = False
        self._not_before = 0.0
        self._began_at = 0.0
        self._head: Cursor | None = None  # the feed's, until it grows
        self._chunks: dict[Cursor, tuple[bytes, Cursor]] = {}
        self.unwatch: Callable[[], None] = feed.watch(self.wake)

    def __len__(self) -> int:
        return len(self._members)

    def add(self, subscriber: Subscriber) -> None:
        """Serve a subscriber from its cursor on."""
        self._members[subscriber] = None
        self.serve(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        """Serve it no longer."""
        self._members.pop(subscriber, None)

    def members(self) -> list[Subscriber]:
        """Everyone, as they stand now."""
        return list(self._members)

    def wake(self) -> None:
        """The feed has grown: a round over the members begins, once the last one has ended."""
        self._has_grown = True
        self._head = None
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
        head = self._head
        if head is None:
            head = self._head = self._feed.head()
        while subscriber.cursor != head and not subscriber.is_paused and not subscriber.finished.done():
            chunk = self._chunks.get(subscriber.cursor) or self._next_chunk(subscriber.cursor)
            subscriber.transport.write(chunk[0])
            subscriber.cursor = chunk[1]
            subscriber.written_at = self._loop.time()
        if subscriber.cursor == head and self._feed.is_closed:
            subscriber.finish()

    def _next_chunk(self, cursor: Cursor) -> tuple[bytes, Cursor]:
        """The next piece behind a cursor, as it goes out."""
        piece, behind = self._feed.next_piece(cursor)
        chunk = self._feed.wire.piece(piece), behind
        if self._is_scheduled:  # `_end` clears them
            self._chunks[cursor] = chunk
        return chunk

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
