"""What the next writer of a stream says first, after a crash."""

from __future__ import annotations

import msgspec

from hub.events import Snapshot
from hub.streams.log import StreamLog

__all__ = ("LOST_POSITIONS", "takeover")

LOST_POSITIONS = 65_536
"""Positions that a crash may have taken back after readers saw them; a take-over leaves so many free."""


def takeover(stream: StreamLog) -> Snapshot | None:
    """What a new writer has to say first, after a crash: everything so far, far enough ahead.

    A crash may take back events that readers have seen. Their positions lie inside the snapshot's span.

    Returns:
        None for a log in which nothing has been said, or that has ended.
    """
    if stream.last_seq < 0 or stream.is_closed:
        return None
    span = LOST_POSITIONS + 1
    seq = stream.last_seq + span
    result = msgspec.structs.replace(stream.result(), last_seq=seq)
    return Snapshot(stream_id=stream.stream_id, seq=seq, span=span, result=result, reason="takeover")
