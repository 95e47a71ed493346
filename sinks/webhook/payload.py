"""What one request says: the events of a batch, as many as fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import msgspec

from hub.errors import MalformedEventError
from hub.events import LLMEvent, TextDelta, merge_neighbours, mergeable, new_stream_id
from hub.sink.base import carried_text
from sinks.outbox import Waiting

__all__ = ("Batch", "events_of", "fitting", "freeze")

TYPE: Literal["llm.events"] = "llm.events"

_MERGED_BYTES = 32
"""By how much a merged event's head is longer than its first one's, at most: a `span`, more digits."""


class _Data(msgspec.Struct):
    stream_id: str
    events: list[LLMEvent]


class _Payload(msgspec.Struct):
    type: Literal["llm.events"]
    timestamp: str
    data: _Data


class Batch(NamedTuple):
    """A request's id and body, the same however often it is sent."""

    id: str
    body: bytes


_decoder = msgspec.json.Decoder(_Payload)


def freeze(events: Sequence[LLMEvent], now: float) -> Batch:
    """A batch of events of one stream, neighbouring deltas merged; `now` is in Unix seconds."""
    # A random id: one made of the stream's could be chosen by somebody else, which the scheme warns of.
    return Batch(new_stream_id().replace("str_", "msg_"), _body(events[0].stream_id, merge_neighbours(events), now))


def events_of(body: bytes) -> list[LLMEvent]:
    """The events of a body.

    Raises:
        MalformedEventError: It is no such body.
    """
    try:
        return _decoder.decode(body).data.events
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise MalformedEventError(f"Not a webhook of events: {exc}") from exc


def fitting(waiting: Iterable[Waiting], *, max_bytes: int, max_events: int) -> int:
    """How many of those that wait, from the first on, make one batch of one stream, neighbours merged.

    At least one, however large it is.

    Args:
        waiting: One at least.
        max_bytes: Of the body.
        max_events: In the body, once merged.
    """
    count = events = size = 0
    previous: LLMEvent | None = None
    for each in waiting:
        if previous is None:
            size = len(_body(each.event.stream_id, [], 0.0))
        elif each.event.stream_id != previous.stream_id:
            break
        if previous is not None and mergeable(previous, each.event):
            size += _carried_bytes(each)
        else:
            events += 1
            size += len(each.data) + _MERGED_BYTES
        if count and (size > max_bytes or events > max_events):
            break
        count += 1
        previous = each.event
    return count


def _body(stream_id: str, events: list[LLMEvent], now: float) -> bytes:
    timestamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return msgspec.json.encode(_Payload(TYPE, timestamp, _Data(stream_id, events)))


def _carried_bytes(waiting: Waiting) -> int:
    """By how much an event makes the one longer that it is merged into, at most."""
    if isinstance(waiting.event, TextDelta) and waiting.event.logprobs is not None:
        return len(waiting.data)
    return len(msgspec.json.encode(carried_text(waiting.event)))
