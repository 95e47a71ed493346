"""Everyone who reads one log: a round over them writes the same bytes to each that stands at the same position."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hub.streams.log import StreamLog

__all__ = ("Audience", "Subscriber", "chunked", "next_piece")

MAX_WRITE_BYTES = 65_536
MAX_TICK = 0.05
SUBSCRIBERS_PER_TURN = 200


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


def next_piece(frames: list[bytes], index: int) -> tuple[bytes, int]:
    """The next frames in one piece of bounded size, and the index after them."""
    size = 0
    end = index
    while end < len(frames) and (end == index or size + len(frames[end]) <= MAX_WRITE_BYTES):
        size += len(frames[end])
        end += 1
    return frames[index] if end == index + 1 else b"".join(frames[index:end]), end


def _chunk(frames: list[bytes], index: int) -> tuple[bytes, int]:
    """The same as one HTTP chunk."""
    piece, end = next_piece(frames, index)
    return chunked(piece), end


def chunked(data: bytes) -> bytes:
    """As one chunk of a chunked HTTP body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
