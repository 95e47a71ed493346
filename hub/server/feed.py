"""What subscribers read: the frames of a log from a cursor on, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from hub.formats import sse
from hub.server.wire import SSE, Wire
from hub.streams.log import StreamLog

__all__ = ("Cursor", "Feed", "LogFeed", "begin_at", "position_due", "snapshot_due")

MAX_WRITE_BYTES = 65_536

Cursor: TypeAlias = tuple[int, ...]
"""Where a reader stands; only the feed that gave it knows what it says. Equal ones lack the same bytes."""


class Feed(Protocol):
    """Frames to read. Feeds over the same logs are equal, so that their readers can share the pieces."""

    @property
    def wire(self) -> Wire:
        """How its pieces go out."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether nothing will be added any more."""
        ...

    def head(self) -> Cursor:
        """The cursor behind everything there is so far."""
        ...

    def next_piece(self, cursor: Cursor) -> tuple[bytes, Cursor]:
        """The next frames and the cursor behind them, for a cursor that is not the head.

        A piece is never empty, and has at most `MAX_WRITE_BYTES` unless it is one larger frame.
        """
        ...

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` whenever something was added; returns what ends that."""
        ...


@dataclass(frozen=True, slots=True)
class LogFeed:
    """One log; its readers share the frames as they are.

    Attributes:
        log: The log.
        wire: How its events stand on the connection.
    """

    log: StreamLog
    wire: Wire = SSE

    def begin(self, after: int = -1, *, snapshot: bool = False) -> Cursor:
        """The cursor of a reader that has seen `after`, or that asks for a snapshot of what it has not.

        Raises:
            PositionError: `after` lies beyond the last event.
        """
        return (begin_at(self.log, after, snapshot=snapshot),)

    @property
    def is_closed(self) -> bool:
        """Whether the log is closed."""
        return self.log.is_closed

    def head(self) -> Cursor:
        """Behind the last frame."""
        return (len(self.log.frames),)

    def next_piece(self, cursor: Cursor) -> tuple[bytes, Cursor]:
        """The next frames, or the snapshot that is due."""
        index = cursor[0]
        if index < 0:
            start = self.log.begin(position_due(index), snapshot=True)
            index = start.index
            if start.snapshot is not None:
                return self._as_piece([sse.frame(start.snapshot)]), (index,)
        frames = self.log.frames
        size = 0
        end = index
        while end < len(frames) and (end == index or size + len(frames[end]) <= MAX_WRITE_BYTES):
            size += len(frames[end])
            end += 1
        return self._as_piece(frames[index:end]), (end,)

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after each append."""
        return self.log.watch(wake)

    def _as_piece(self, frames: list[bytes]) -> bytes:
        if self.wire.event is not None:
            frames = [self.wire.event(frame) for frame in frames]
        return frames[0] if len(frames) == 1 else b"".join(frames)


def begin_at(log: StreamLog, after: int, *, snapshot: bool) -> int:
    """The index of the first event behind `after`; a negative number where a snapshot has to come first.

    The snapshot is made when it is written, not before: a reader that waits its turn holds no copy of the answer.

    Raises:
        PositionError: `after` lies beyond the last event.
    """
    index = log.locate(after)
    if index is None or (snapshot and index < len(log.events)):
        return snapshot_due(after)
    return index


def snapshot_due(after: int) -> int:
    """What stands in a cursor for a snapshot of everything behind `after`."""
    return -2 - after


def position_due(index: int) -> int:
    """The position behind which a snapshot is due: undoes `snapshot_due`."""
    return -2 - index
