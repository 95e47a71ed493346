"""The reading side: a channel's messages as events, in order and each once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from hub.errors import MalformedEventError, SequenceGapError
from hub.events import Done, LLMEvent, Snapshot, decode_event
from sinks.pusher.messages import CHUNK

__all__ = ("Assembler",)

MAX_CHUNKS = 100_000
"""Parts of one event; ten thousand times 10 KB is more than any event."""


class _Kind(msgspec.Struct):
    type: str


class _Chunk(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(max_length=100)]
    index: Annotated[int, msgspec.Meta(ge=0)]
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHUNKS)]
    data: str


_kind = msgspec.json.Decoder(_Kind)
_chunk = msgspec.json.Decoder(_Chunk)


@dataclass(slots=True)
class _Stream:
    """Where the reader stands in one stream, and what came too early, by its first position."""

    seq: int = -1
    is_done: bool = False
    early: dict[int, LLMEvent] = field(default_factory=dict)


class Assembler:
    """Joins the parts of large events, passes over repeats, and holds what comes before its turn.

    A channel may carry several streams, one after another or at once. Pusher keeps nothing for whoever was not there:
    where events are missing, `missing` says which, and `add_event` takes them, or a `snapshot` in their place, from
    anywhere else, such as the hub's HTTP API.

    Args:
        max_waiting: Events, and parts of events, that wait for others, at most.
        max_streams: Streams that are remembered, also after their end, to know a repeat.
    """

    def __init__(self, *, max_waiting: int = 1_000, max_streams: int = 100) -> None:
        self._max_waiting = max_waiting
        self._max_streams = max_streams
        self._chunks: dict[str, dict[int, str]] = {}
        self._streams: dict[str, _Stream] = {}

    def add(self, data: str | bytes) -> list[LLMEvent]:
        """The events that may be read now that this message has come, in order: often one, maybe none.

        Args:
            data: The message's data, as it came.

        Raises:
            MalformedEventError: It is neither an event nor a part of one.
            SequenceGapError: More than `max_waiting` events wait for one that doesn't come.
        """
        try:
            if _kind.decode(data).type != CHUNK:
                return self.add_event(decode_event(data))
            whole = self._joined(_chunk.decode(data))
        except (msgspec.DecodeError, UnicodeError) as exc:
            raise MalformedEventError(f"Not a message of ours: {exc}") from exc
        return [] if whole is None else self.add_event(decode_event(whole))

    def add_event(self, event: LLMEvent) -> list[LLMEvent]:
        """The events that may be read now that this one has come from elsewhere, in order.

        Raises:
            SequenceGapError: More than `max_waiting` events wait for one that doesn't come.
        """
        stream = self._stream(event.stream_id)
        first = event.seq - event.span + 1
        # A snapshot may comprise the end, and yet does not stand for `done`: every reader gets that one.
        is_late = event.seq <= stream.seq
        if stream.is_done or (is_late and not isinstance(event, Done)):
            return []
        if is_late or first == stream.seq + 1 or isinstance(event, Snapshot):
            return self._read(stream, event)
        # Too early; or it merges what is known with what is not, and a snapshot has to stand for it.
        known = stream.early.get(first)
        if known is None or known.seq < event.seq:
            stream.early[first] = event
        if len(stream.early) > self._max_waiting:
            raise SequenceGapError(stream.seq + 1, min(stream.early))
        return []

    def missing(self, stream_id: str) -> tuple[int, int] | None:
        """First and last position that events which have come wait for; None where none wait.

        A `snapshot` at the last one, or later, lets them be read.
        """
        stream = self._streams.get(stream_id)
        if stream is None or not stream.early:
            return None
        first = min(stream.early)
        # One that straddles the reader's position waits for a snapshot that comprises it.
        return stream.seq + 1, first - 1 if first > stream.seq + 1 else stream.early[first].seq

    def _stream(self, stream_id: str) -> _Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            if len(self._streams) >= self._max_streams:
                ended = (each for each, known in self._streams.items() if known.is_done)
                del self._streams[next(ended, next(iter(self._streams)))]
            stream = self._streams[stream_id] = _Stream()
        return stream

    def _read(self, stream: _Stream, event: LLMEvent) -> list[LLMEvent]:
        """This event, and those that waited for it."""
        ready = [event]
        while (following := stream.early.pop(ready[-1].seq + 1, None)) is not None:
            ready.append(following)
        stream.seq = ready[-1].seq
        ready += [early for early in stream.early.values() if isinstance(early, Done) and early.seq <= stream.seq]
        stream.early = {first: early for first, early in stream.early.items() if early.seq > stream.seq}
        stream.is_done = isinstance(ready[-1], Done)
        return ready

    def _joined(self, chunk: _Chunk) -> str | None:
        """The whole that this was the last missing part of."""
        if chunk.index >= chunk.count:
            raise MalformedEventError(f"Part {chunk.index} of {chunk.count} is none.")
        parts = self._chunks.setdefault(chunk.id, {})
        parts[chunk.index] = chunk.data
        if len(parts) == chunk.count:
            del self._chunks[chunk.id]
            return "".join(parts[index] for index in range(chunk.count))
        while len(self._chunks) > 1 and sum(map(len, self._chunks.values())) > max(self._max_waiting, chunk.count):
            # What is dropped will be missing, and is told as such.
            del self._chunks[next(each for each in self._chunks if each != chunk.id)]
        return None
