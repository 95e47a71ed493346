"""Several logs as one feed: each in its own order, none of them starved by another.

A frame's `id` says where the reader then stands in all of them, so that it resumes with the last one it saw. An `id`
line counts when its block is dispatched, and the last one of a block wins: every block needs its own, in the place of
the log's. What was encoded once, the event and its data, goes out as it is.
https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation (read 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hub.formats import sse
from hub.server.feed import MAX_WRITE_BYTES, Cursor, begin_at, position_due
from hub.server.positions import format_position
from hub.server.wire import SSE, Wire
from hub.streams.log import StreamLog

__all__ = ("MergedFeed",)


@dataclass(frozen=True, slots=True)
class MergedFeed:
    """Several logs. Of `n` that have something to read, each gives a frame or more in any `n` pieces.

    A cursor has the number of the log that begins the next piece, then the index in each log.

    Attributes:
        logs: The logs, in the order of the positions in an `id`.
    """

    logs: tuple[StreamLog, ...]
    wire: ClassVar[Wire] = SSE

    def begin(self, after: Sequence[int], *, snapshot: bool = False) -> Cursor:
        """The cursor of a reader that has seen these positions, or that asks for snapshots of what it has not.

        Raises:
            PositionError: A position lies beyond the last event of its log.
        """
        starts = zip(self.logs, after, strict=True)
        return (0, *(begin_at(log, position, snapshot=snapshot) for log, position in starts))

    @property
    def is_closed(self) -> bool:
        """Whether all logs are closed."""
        return self.logs[0].is_closed and all(log.is_closed for log in self.logs)

    def head(self) -> Cursor:
        """Behind the last frame of each log."""
        return (0, *[len(log.frames) for log in self.logs])

    def next_piece(self, cursor: Cursor) -> tuple[bytes, Cursor]:
        """The next frames of all logs in turn, or the next snapshot that is due."""
        turn, *indices = cursor
        if min(indices) < 0 and (snapshot := self._snapshot(indices)) is not None:
            return snapshot, (turn, *indices)
        waiting = [number for number, log in enumerate(self.logs) if indices[number] < len(log.frames)]
        if turn:
            waiting.sort(key=lambda number: number < turn)
        share = MAX_WRITE_BYTES // len(waiting)
        piece = b""
        for number in waiting:
            # The first frame of a piece may be of any size; one that doesn't fit behind others begins the next piece.
            run = self._run(number, indices, first=MAX_WRITE_BYTES - len(piece) if piece else None, rest=share)
            if not run:
                return piece, (number, *indices)
            piece += run
        return piece, (0, *indices)

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after each append to any of the logs."""
        ends = [log.watch(wake) for log in self.logs]

        def unwatch() -> None:
            for end in ends:
                end()

        return unwatch

    def _run(self, number: int, indices: list[int], *, first: int | None, rest: int) -> bytes:
        """The next frames of one log, whose index moves behind them.

        Args:
            number: Which log.
            indices: Where the reader stands.
            first: What the first frame may weigh; None for whatever it does.
            rest: What all may weigh together if they are more than one.
        """
        log, index = self.logs[number], indices[number]
        around = self._around(number, indices)
        blocks: list[bytes] = []
        size = 0
        while index < len(log.frames):
            block = _block(around, log.events[index].seq, log.frames[index])
            size += len(block)
            if (first is not None and size > first) or (blocks and size > rest):
                break
            blocks.append(block)
            index += 1
        indices[number] = index
        return b"".join(blocks)

    def _snapshot(self, indices: list[int]) -> bytes | None:
        """The frame of the first snapshot that is due, whose log's index moves behind it; None where none is needed."""
        for number, index in enumerate(indices):
            if index < 0:
                start = self.logs[number].begin(position_due(index), snapshot=True)
                indices[number] = start.index
                if start.snapshot is not None:
                    return _block(self._around(number, indices), start.snapshot.seq, sse.frame(start.snapshot))
        return None

    def _around(self, number: int, indices: list[int]) -> tuple[bytes, bytes]:
        """The `id` line of one log's frames, up to its own position and behind it."""
        positions = [
            b"%d" % log.events[index - 1].seq if index > 0 else format_position(position_due(index) if index else -1)
            for log, index in zip(self.logs, indices, strict=True)
        ]
        positions[number] = b"\n"  # in no position, so it marks the place
        before, _, behind = b".".join(positions).partition(b"\n")
        return b"id: " + before, behind


def _block(around: tuple[bytes, bytes], seq: int, frame: bytes) -> bytes:
    """A log's frame under the `id` of several."""
    return b"%b%d%b%b" % (around[0], seq, around[1], frame[frame.index(b"\n") :])
