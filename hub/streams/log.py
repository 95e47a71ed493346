"""One stream's log in this process: every event, encoded once; a reader is a position in it."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

import msgspec

from hub.completion import Completion
from hub.errors import PositionError, SequenceGapError
from hub.events import EndStatus, LLMEvent, Snapshot
from hub.formats import sse
from hub.result import Failure, LLMResult, StreamStatus

__all__ = ("Position", "StreamLog")

MAX_READ_EVENTS = 256


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader begins: at the event at `index`, after `snapshot` where there is one."""

    index: int
    snapshot: Snapshot | None = None


class StreamLog:
    """The events of one stream so far, in order, and whoever waits for more.

    Readers share the encoded frames and hold nothing but an index, so a slow one costs only its own lag.

    Args:
        stream_id: The stream.
        created_at: When it was made, in Unix seconds.
        model: The model asked for, until `meta` names the one that answers.
        fingerprint: A digest of the request; None where none was given.
        input_tokens: About how many tokens the prompt has; 0 where that isn't known.

    Attributes:
        events: Every event.
        frames: Each event's SSE frame, at the same index.
        size_bytes: What the frames weigh; the events in memory weigh about as much again.
        is_closed: `done` is in the log.
        is_queued: Nobody writes it yet: it waits for a worker. Its first event ends that.
    """

    def __init__(
        self,
        stream_id: str,
        *,
        created_at: float,
        model: str | None = None,
        fingerprint: str | None = None,
        input_tokens: int = 0,
    ) -> None:
        self.stream_id = stream_id
        self.fingerprint = fingerprint
        self.input_tokens = input_tokens
        self.created_at = created_at
        self.closed_at: float | None = None
        self.events: list[LLMEvent] = []
        self.frames: list[bytes] = []
        self.size_bytes = 0
        self.is_closed = False
        self.is_queued = False
        self._ends: list[int] = []
        self._completion = Completion(stream_id, model=model, input_tokens=input_tokens)
        self._watchers: set[Callable[[], None]] = set()

    @property
    def last_seq(self) -> int:
        """The last event's position; -1 before the first."""
        return self._completion.last_seq

    @property
    def status(self) -> StreamStatus:
        """The stream's status."""
        return "queued" if self.is_queued else self._completion.status

    @property
    def model(self) -> str | None:
        """The model that answers, or is asked; None where unknown."""
        return self._completion.model

    def append(self, events: Sequence[LLMEvent]) -> None:
        """Add events, all or none, and wake who waits. Repeats are passed over, nothing follows `done`.

        Raises:
            SequenceGapError: Events are missing between the last one and these, or among them.
            MalformedEventError: One of them has no JSON.
        """
        new = self.unknown(events)
        if not new:
            return
        # All are encoded before any is added: one that can't be must leave nothing behind.
        for event, frame in zip(new, [sse.frame(event) for event in new], strict=True):
            self._completion.add(event)
            self.events.append(event)
            self.frames.append(frame)
            self._ends.append(event.seq)
            self.size_bytes += len(frame)
        self.is_closed = new[-1].type == "done"
        self.is_queued = False
        for wake in tuple(self._watchers):
            wake()

    def result(self) -> LLMResult:
        """Everything so far, folded."""
        result = self._completion.result()
        return msgspec.structs.replace(result, status="queued") if self.is_queued else result

    def ending(self, status: EndStatus, error: Failure | None = None) -> list[LLMEvent]:
        """The events that end this log where it is, whatever it holds; nothing where it has ended."""
        return self._completion.ending(status, error)

    def abandoned(self) -> list[LLMEvent]:
        """What is due before another attempt follows one that comes to nothing."""
        return self._completion.abandoned()

    def snapshot(self, *, after: int = -1, requested: bool = True) -> Snapshot:
        """Everything so far as one event, for a reader that has seen `after`; all but `done` of a closed log.

        There has to be something behind `after`; `begin` says whether there is.
        """
        result = self.result()
        if self.is_closed:
            result = _without_end(result, self.events[-1].seq - self.events[-1].span)
        return Snapshot(
            stream_id=self.stream_id,
            seq=result.last_seq,
            span=result.last_seq - max(after, -1),
            result=result,
            reason="requested" if requested else "gap",
        )

    def begin(self, after: int = -1, *, snapshot: bool = False) -> Position:
        """Where a reader begins that has seen `after`, or that asks for a snapshot of what it has not.

        A reader whose position lies inside a merged event gets a snapshot too: what it lacks can't be cut out. One
        that lacks nothing, or only `done`, gets none.

        Raises:
            PositionError: `after` lies beyond the last event.
        """
        index = self.locate(after)
        rest = len(self.events) - self.is_closed
        if index is not None and not (snapshot and index < rest):
            return Position(index)
        return Position(rest, self.snapshot(after=after, requested=index is not None))

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

    def unknown(self, events: Sequence[LLMEvent]) -> list[LLMEvent]:
        """Those of the events that come next, through `done`; those that the log has already are passed over.

        Raises:
            SequenceGapError: Events are missing between the last one and these, or among them.
        """
        new: list[LLMEvent] = []
        expected = self.last_seq + 1
        for event in events:
            if self.is_closed or (new and new[-1].type == "done"):
                break
            if event.seq < expected:
                continue
            if event.seq - event.span + 1 != expected:
                raise SequenceGapError(expected, event.seq - event.span + 1)
            new.append(event)
            expected = event.seq + 1
        return new

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
            snapshot: Begin with one `snapshot` of everything so far, but `done`, instead of the events one by one.

        Raises:
            PositionError: `after` lies beyond the last event.
        """
        position = self.begin(after, snapshot=snapshot)
        index = position.index
        if position.snapshot is not None:
            yield position.snapshot
        while True:
            await self.wait(index)
            batch = self.events[index : index + MAX_READ_EVENTS]
            if not batch:
                return
            index += len(batch)
            for event in batch:
                yield event


def _without_end(result: LLMResult, last_seq: int) -> LLMResult:
    """The fold of an ended stream as it was before `done`."""
    return msgspec.structs.replace(
        result,
        last_seq=last_seq,
        status="running",
        finish_reason=None,
        finish_reasons=(),
        raw_finish_reason=None,
        choices=tuple(msgspec.structs.replace(choice, finish_reason=None) for choice in result.choices),
    )
