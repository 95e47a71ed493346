"""What one append adds to a log, as a store that outlives the process keeps it: an event's JSON a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.events import LLMEvent, Meta, Snapshot, decode_event, encode_event
from hub.formats import sse
from hub.streams.log import StreamLog

__all__ = ("Batch", "batch_of", "events_of_lines", "next_batch")


@dataclass(frozen=True, slots=True)
class Batch:
    """The events that come next in a log, none of which it has.

    Attributes:
        events: At least one; `done` is the last one of its log.
        lines: Each event's JSON, with line breaks between them.
        size_bytes: What their frames weigh: the log's `size_bytes` grows by so much.
        model: The model that answers, where they say so.
    """

    events: Sequence[LLMEvent]
    lines: bytes
    size_bytes: int
    model: str | None


def next_batch(log: StreamLog, events: Sequence[LLMEvent]) -> Batch | None:
    """What of the events the log lacks, through `done`; None where it has them all, or has ended.

    Raises:
        SequenceGapError: Events are missing between the log's last one and these, or among them.
        MalformedEventError: One of them has no JSON.
    """
    new = log.unknown(events)
    return batch_of(new) if new else None


def batch_of(events: Sequence[LLMEvent]) -> Batch:
    """These events as one batch.

    Raises:
        MalformedEventError: One of them has no JSON.
    """
    lines = b"\n".join([encode_event(event) for event in events])
    return Batch(events, lines, sum(len(sse.frame(event)) for event in events), _model(events))


def events_of_lines(lines: bytes) -> list[LLMEvent]:
    """The events of a batch's lines.

    Raises:
        MalformedEventError: A line is no event.
    """
    return [decode_event(line) for line in lines.split(b"\n")]


def _model(events: Sequence[LLMEvent]) -> str | None:
    for event in reversed(events):
        model = event.model if isinstance(event, Meta) else event.result.model if isinstance(event, Snapshot) else None
        if model is not None:
            return model
    return None
