"""One stream's log in this process: every event, encoded once; a reader is a position in it."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence

from hub.completion import Completion
from hub.errors import PositionError, SequenceGapError
from hub.events import LLMEvent, Snapshot
from hub.formats import sse
from hub.result import LLMResult, StreamStatus

__all__ = ("StreamLog",)

MAX_READ_EVENTS = 256


class StreamLog:
    """The events of one stream so far, in order, and whoever waits for more.

    Readers share the encoded frames and hold nothing but an index, so a slow one costs only its own lag.

    Args:
        stream_id: The stream.
        created_at: When it was made, in Unix seconds.
        model: The model asked for, until `meta` names the one that answers.

    Attributes:
        events: Every event.
        frames: Each event's SSE frame, at the same index.
        size_bytes: What the frames weigh; the events in memory weigh about as much again.
        is_closed: `done` is in the log.
    """

    def __init__(self, stream_id: str, *, created_at: float, model: str | None = None) -> None:
        self.stream_id = stream_id
        self.created_at = created_at
        self.closed_at: float | None = None
        self.events: list[LLMEvent] = []
        self.frames: list[bytes] = []
        self.size_bytes = 0
        self.is_closed = False
        self._model = model
        self._ends: list[int] = []
        self._completion = Completion()
        self._watchers: set[Callable[[], None]] = set()

    @property
    def last_seq(self) -> int:
        """The last event's position; -1 before the first."""
        return self._completion.last_seq

    @property
    def status(self) -> StreamStatus:
        """The stream's status."""
        return self._completion.status

    @property
    def model(self) -> str | None:
        """The model that answers, as far as known."""
        return self._completion.model or self._model

    def append(self, events: Sequence[LLMEvent]) -> None:
        """Add events and wake who waits. Repeats are passed over, nothing follows `done`.

        Raises:
            SequenceGapError: Events are missing between the last one and these; none of them is added.
        """
        expected = self.last_seq + 1
        new = [event for event in events if event.seq >= expected]
        if self.is_closed or not new:
            return
        for event in new:
            if event.seq - event.span + 1 != expected:
                raise SequenceGapError(expected, event.seq - event.span + 1)
            expected = event.seq + 1
        for event in new:
            frame = sse.frame(event)
            self._completion.add(event)
            self.events.append(event)
            self.frames.append(frame)
            self._ends.append(event.seq)
            self.size_bytes += len(frame)
        self.is_closed = new[-1].type == "done"
        for wake in tuple(self._watchers):
            wake()

    def result(self) -> LLMResult:
        """Everything so far, folded."""
        result = self._completion.result()
        return (
            result
            if result.stream_id
            else LLMResult(stream_id=self.stream_id, last_seq=-1, status="running", model=self._model)
        )

    def snapshot(self, *, after: int = -1, requested: bool = True) -> Snapshot:
        """Everything so far as one event, for a reader that has seen `after`."""
        last_seq = self.last_seq
        return Snapshot(
            stream_id=self.stream_id,
            seq=last_seq,
            span=last_seq - after,
            result=self.result(),
            reason="requested" if requested else "gap",
        )

    def locate(self, after: int) -> int | None:
        """The index of the first event behind position `after`; None where `after` lies inside a merged event.

        Raises:
            PositionError: `after` lies beyond the last event.
        """
        if after > self.last_seq:
            raise PositionError(after, self.last_seq)
        index = bisect_right(self._ends, after)
        if index < len(self.events):
            event = self.events[index]
            if event.seq - event.span + 1 <= after:
                return None
        return index

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after each append; returns what ends that."""
        self._watchers.add(wake)
        return lambda: self._watchers.discard(wake)

    async def wait(self, index: int) -> None:
        """Return once there is an event at `index`, or the log is closed."""
        if index < len(self.events) or self.is_closed:
            return
        more = asyncio.Event()
        unwatch = self.watch(more.set)
        try:
            while index >= len(self.events) and not self.is_closed:
                more.clear()
                await more.wait()
        finally:
            unwatch()

    async def read(self, *, after: int = -1, snapshot: bool = False) -> AsyncGenerator[LLMEvent, None]:
        """Every event behind `after`, then those to come, through `done`.

        Args:
            after: The last position the reader has; -1 for none.
            snapshot: Begin with one `snapshot` of everything so far instead of the events one by one.

        Raises:
            PositionError: `after` lies beyond the last event.
        """
        if snapshot and self.events:
            index = len(self.events)
            yield self.snapshot()
        elif (found := self.locate(after)) is None:
            index = len(self.events)
            yield self.snapshot(after=after, requested=False)
        else:
            index = found
        while True:
            await self.wait(index)
            batch = self.events[index : index + MAX_READ_EVENTS]
            if not batch:
                return
            index += len(batch)
            for event in batch:
                yield event
