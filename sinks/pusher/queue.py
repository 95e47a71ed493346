"""What waits to be sent: neighbouring deltas merge as long as they make one message."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hub.errors import InvalidRequestError
from hub.events import LLMEvent, Meta, encode_event, merge, mergeable

__all__ = ("Item", "Queue")

_DELTAS = frozenset({"text_delta", "reasoning_delta", "refusal_delta", "tool_call_delta"})


@dataclass(frozen=True, slots=True)
class Item:
    """An event and its JSON."""

    event: LLMEvent
    data: bytes


@dataclass(slots=True)
class _Run:
    """Neighbours that go as one event, and at most how large its JSON gets."""

    events: list[LLMEvent]
    data: bytes
    size: int
    is_urgent: bool


class Queue:
    """The events that wait, in order; its truth is whether there are any.

    Args:
        max_events: How many may wait, merged ones counted as one.
        max_bytes: Of JSON that may wait, but for what the last one is over.
        max_merged_bytes: Of JSON that merged events may have.

    Raises:
        InvalidRequestError: A bound leaves no room at all.
    """

    def __init__(self, *, max_events: int, max_bytes: int, max_merged_bytes: int) -> None:
        if max_events < 1 or max_bytes < 1:
            raise InvalidRequestError("max_queue and max_queue_bytes are at least 1.")
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_merged_bytes = max_merged_bytes
        self._runs: deque[_Run] = deque()
        self._size = 0
        self._stream_id = ""
        self._last_seq = -1
        self._is_first = True
        self._urgent = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    @property
    def is_urgent(self) -> bool:
        """Whether an event waits that should not: the first delta of an answer, or one that is no delta."""
        return self._urgent > 0

    def prepare(self, event: LLMEvent) -> Item | None:
        """The event as it may be put in; None for a repeat of one that was.

        Raises:
            MalformedEventError: It has no JSON.
        """
        if event.stream_id == self._stream_id and event.seq <= self._last_seq:
            return None
        return Item(event, encode_event(event))

    def takes(self, item: Item) -> bool:
        """Whether there is room."""
        if self._size < self._max_bytes and len(self._runs) < self._max_events:
            return True
        return self._size < self._max_bytes and self._joins(item)

    def put(self, item: Item) -> bool:
        """Put it in, and say whether whoever sends should look."""
        event = item.event
        if event.stream_id != self._stream_id:
            self._stream_id, self._is_first = event.stream_id, True
        self._last_seq = event.seq
        is_delta = event.type in _DELTAS
        is_urgent = not is_delta or self._is_first
        if is_delta or isinstance(event, Meta):
            self._is_first = not is_delta
        had_any = bool(self._runs)
        self._size += len(item.data)
        if self._joins(item):
            self._runs[-1].events.append(event)
            self._runs[-1].size += len(item.data)
        else:
            self._runs.append(_Run([event], item.data, len(item.data), is_urgent))
            self._urgent += is_urgent
        return is_urgent or not had_any

    def pop(self) -> tuple[str, bytes]:
        """Type and JSON of the first one."""
        run = self._runs.popleft()
        self._size -= run.size
        self._urgent -= run.is_urgent
        if len(run.events) == 1:
            return run.events[0].type, run.data
        return run.events[0].type, encode_event(merge(run.events))

    def clear(self) -> None:
        """Forget what waits."""
        self._runs.clear()
        self._size = self._urgent = 0

    def _joins(self, item: Item) -> bool:
        if not self._runs:
            return False
        last = self._runs[-1]
        return last.size + len(item.data) <= self._max_merged_bytes and mergeable(last.events[-1], item.event)
