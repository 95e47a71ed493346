"""What goes into a stream's log in one piece. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hub.events import (
    ApprovalRequest,
    Done,
    LLMEvent,
    Meta,
    Snapshot,
    ToolResult,
    encode_event,
)
from hub.result import StreamStatus
from hub.streams.log import StreamLog

__all__ = ("Batch", "batches_from", "next_batch", "status_after")

MAX_BATCH_EVENTS = 500
MAX_BATCH_BYTES = 256_000
"""What is sent in one piece at most where a log is written anew; what is appended goes in one piece, whatever it is."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring events, in the form in which they are sent.

    Attributes:
        events: The events.
        first_seq: The first position they stand for.
        last_seq: The last one.
        seqs: Their positions, where some stand for several; else empty.
        body: Their JSON, one a line.
        status: The stream's, once they are in its log.
        model: The model that answers; None where they don't say.
        is_last: They end with `done`.
    """

    events: Sequence[LLMEvent]
    first_seq: int
    last_seq: int
    seqs: bytes
    body: bytes
    status: StreamStatus
    model: str | None
    is_last: bool


def next_batch(log: StreamLog, events: Sequence[LLMEvent]) -> Batch | None:
    """Those of the events that the log lacks, through `done`; None where it lacks none.

    Raises:
        SequenceGapError: Events are missing between the log's last one and these, or among them.
        MalformedEventError: One of them has no JSON.
    """
    new = log.unknown(events)
    return _batch(new, [encode_event(event) for event in new], status_after(log, new)) if new else None


def batches_from(log: StreamLog, index: int) -> Iterator[Batch]:
    """The log's own events from the one at `index` on, in pieces."""
    while index < len(log.events):
        events: list[LLMEvent] = []
        lines: list[bytes] = []
        size = 0
        while index < len(log.events) and len(events) < MAX_BATCH_EVENTS and size < MAX_BATCH_BYTES:
            events.append(log.events[index])
            lines.append(encode_event(events[-1]))
            size += len(lines[-1])
            index += 1
        yield _batch(events, lines, log.status if index == len(log.events) else "running")


def status_after(log: StreamLog, new: Sequence[LLMEvent]) -> StreamStatus:
    """The status that the log will have with these events."""
    status: StreamStatus = "running" if log.is_queued else log.status
    pending: set[str] | None = None  # the calls that wait for a person, as far as that had to be looked up
    for event in new:
        match event:
            case Done():
                return event.status
            case Snapshot():
                status, pending = event.result.status, set()
            case Meta():
                status, pending = "running", set()
            case ApprovalRequest():
                pending = _pending(log) if pending is None else pending
                pending.add(event.id)
                status = "waiting"
            case ToolResult():
                pending = _pending(log) if pending is None else pending
                pending.discard(event.id)
                if status == "waiting" and not pending:
                    status = "running"
            case _:
                pass
    return status


def _pending(log: StreamLog) -> set[str]:
    """The calls of a log that wait for a person."""
    asked: set[str] = set()
    answered: set[str] = set()
    if log.status == "waiting":
        for event in reversed(log.events):
            match event:
                case Meta() | Snapshot():
                    break
                case ApprovalRequest() if event.id not in answered:
                    asked.add(event.id)
                case ToolResult():
                    answered.add(event.id)
                case _:
                    pass
    return asked


def _batch(events: Sequence[LLMEvent], lines: Sequence[bytes], status: StreamStatus) -> Batch:
    first, last = events[0], events[-1]
    first_seq = first.seq - first.span + 1
    is_plain = last.seq - first_seq + 1 == len(events)
    return Batch(
        events=events,
        first_seq=first_seq,
        last_seq=last.seq,
        seqs=b"" if is_plain else b" ".join([b"%d" % event.seq for event in events]),
        body=b"\n".join(lines),
        status=status,
        model=_model(events),
        is_last=last.type == "done",
    )


def _model(events: Sequence[LLMEvent]) -> str | None:
    model = None
    for event in events:
        if event.type == "meta":
            model = event.model if event.model is not None else model
        elif event.type == "snapshot":
            model = event.result.model if event.result.model is not None else model
    return model
