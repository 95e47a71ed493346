"""This process's copy of a log that another process writes: how it grows by what arrives. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hub.completion import Completion
from hub.events import Done, EndStatus, LLMEvent, Snapshot
from hub.streams.log import StreamLog

__all__ = ("close", "decode_lines", "extend", "fill", "resync")

_decoder: msgspec.json.Decoder[LLMEvent] = msgspec.json.Decoder(LLMEvent)


def decode_lines(lines: bytes) -> list[LLMEvent]:
    """The events of JSON objects, one a line.

    Raises:
        msgspec.DecodeError: Something in it is no event.
    """
    return _decoder.decode_lines(lines)


def extend(log: StreamLog, events: Sequence[LLMEvent]) -> bool:
    """Add what the copy lacks; whether nothing is missing in between.

    Args:
        log: The copy.
        events: Neighbours, in order, of which it may have some.
    """
    new = [event for event in events if event.seq > log.last_seq]
    if not new:
        return True
    first = new[0]
    begins = first.seq - first.span + 1
    if begins > log.last_seq + 1:
        return False
    if begins <= log.last_seq and isinstance(first, Snapshot):
        # The copy has events that the server lost before another writer took over: they are covered from here on.
        new[0] = msgspec.structs.replace(first, span=first.seq - log.last_seq)
    log.append(new)
    return True


def fill(log: StreamLog, until: int) -> None:
    """Declare that what lies between the copy's last event and position `until`, inclusive, is gone."""
    if until <= log.last_seq:
        return
    result = msgspec.structs.replace(log.result(), last_seq=until)
    gap = Snapshot(stream_id=log.stream_id, seq=until, span=until - log.last_seq, result=result, reason="gap")
    log.append([gap])


def close(log: StreamLog, status: EndStatus, next_seq: int) -> None:
    """End a copy whose `done` is gone from the server: at its last position, with what is known."""
    if log.is_closed:
        return
    fill(log, next_seq - 2)
    completion = Completion(log.stream_id)
    if log.events:
        completion.add(log.snapshot())
    log.append(
        [Done(stream_id=log.stream_id, seq=log.last_seq + 1, status=status, finish_reason=None, usage=completion.usage)]
    )


def resync(log: StreamLog, fresh: StreamLog) -> None:
    """Go on from another telling of the same stream, whose events don't adjoin the copy's: by one snapshot."""
    if fresh.last_seq <= log.last_seq or log.is_closed:
        return
    if fresh.last_seq - fresh.is_closed > log.last_seq:
        log.append([fresh.snapshot(after=log.last_seq, requested=False)])
    if fresh.is_closed:
        log.append(fresh.events[-1:])
