"""The reading side: a channel's messages as events, in order and each once."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from hub.errors import MalformedEventError, SequenceGapError
from hub.events import Done, LLMEvent, Snapshot, decode_event
from sinks.pusher.messages import CHUNK
from sinks.pusher.parts import Part, Parts

__all__ = ("Assembler",)


class _Kind(msgspec.Struct):
    type: str


_kind = msgspec.json.Decoder(_Kind)
_part = msgspec.json.Decoder(Part)


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
    anywhere else, such as a hub's `GET /v1/streams/{id}/events?after=…`. What comes on the channel meanwhile is held. A
    snapshot may end inside an event that was merged for the channel; the single events behind it, up to that one's
    end, then stand for it.

    Args:
        max_waiting: Events that wait for others, at most; and parts of several events, of which one may have more.
        max_part_bytes: Bytes of the messages whose parts wait for others, at most.
        max_streams: Streams that are remembered, also after their end, to know a repeat.
    """

    def __init__(self, *, max_waiting: int = 1_000, max_part_bytes: int = 32_000_000, max_streams: int = 100) -> None:
        self._max_waiting = max_waiting
        self._max_streams = max_streams
        self._parts = Parts(max_parts=max_waiting, max_bytes=max_part_bytes)
        self._streams: dict[str, _Stream] = {}

    def add(self, data: str | bytes) -> list[LLMEvent]:
        """The events that may be read now that this message has come, in order: often one, maybe none.

        Args:
            data: The message's data, as it came.

        Raises:
            MalformedEventError: It is neither an event nor a part of one; or the event is larger than may wait.
            SequenceGapError: More than `max_waiting` events wait for one that doesn't come.
        """
        try:
            if _kind.decode(data).type != CHUNK:
                return self.add_event(decode_event(data))
            size = len(data if isinstance(data, bytes) else data.encode())
            whole = self._parts.add(_part.decode(data), size)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
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
        # Too early; or it merges what is known with what is not, and something else has to stand for it.
        known = stream.early.get(first)
        if known is None or known.seq < event.seq:
            stream.early[first] = event
        if len(stream.early) > self._max_waiting:
            raise SequenceGapError(stream.seq + 1, min(stream.early))
        return []

    def position(self, stream_id: str) -> int:
        """The last position that was read of this stream; -1 for none."""
        stream = self._streams.get(stream_id)
        return -1 if stream is None else stream.seq

    def is_done(self, stream_id: str) -> bool:
        """Whether this stream's `done` was read, behind which nothing comes."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.is_done

    def missing(self, stream_id: str) -> tuple[int, int] | None:
        """First and last position that events which have come wait for; None where none wait.

        The events at these let them be read, or a `snapshot` at the last one, or later. Where the first of them merges
        what was read with what was not, these are the positions of it that were not.
        """
        stream = self._streams.get(stream_id)
        if stream is None or not stream.early:
            return None
        first = min(stream.early)
        # One that straddles the reader's position waits for whatever reaches its end.
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
