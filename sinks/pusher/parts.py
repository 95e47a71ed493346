"""Parts of large events, until each has all of its own. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from hub.errors import MalformedEventError

__all__ = ("Part", "Parts")

MAX_PARTS = 100_000
"""Parts of one event; ten thousand times 10 KB is more than any event."""


class Part(msgspec.Struct):
    """What a message of type `chunk` says."""

    id: Annotated[str, msgspec.Meta(max_length=100)]
    index: Annotated[int, msgspec.Meta(ge=0)]
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTS)]
    data: str


@dataclass(slots=True)
class _Event:
    count: int
    parts: dict[int, str] = field(default_factory=dict)
    size: int = 0


class Parts:
    """The parts that wait for others of their event. Beyond a bound, the events that wait for longest are dropped.

    Args:
        max_parts: Of several events together, at most; one may have more of its own.
        max_bytes: Bytes of the messages that brought them, at most.
    """

    def __init__(self, *, max_parts: int, max_bytes: int) -> None:
        self._max_parts = max_parts
        self._max_bytes = max_bytes
        self._events: dict[str, _Event] = {}
        self._count = self._size = 0

    def __len__(self) -> int:
        return self._count

    def add(self, part: Part, size: int) -> str | None:
        """The event's JSON, where this was the last missing part of it.

        Args:
            part: The part.
            size: Bytes of the message that brought it.

        Raises:
            MalformedEventError: It is none of its event, or the event is too large.
        """
        event = self._events.get(part.id)
        if part.index >= part.count or (event is not None and event.count != part.count):
            raise MalformedEventError(f"Part {part.index} of {part.count} is none of its event.")
        if event is None:
            event = self._events[part.id] = _Event(part.count)
        if part.index not in event.parts:
            event.parts[part.index] = part.data
            event.size += size
            self._count += 1
            self._size += size
        if len(event.parts) == event.count:
            self._drop(part.id)
            return "".join(event.parts[index] for index in range(event.count))
        while len(self._events) > 1 and (self._count > self._max_parts or self._size > self._max_bytes):
            # What is dropped will be missing, and is told as such.
            self._drop(next(each for each in self._events if each != part.id))
        if self._size > self._max_bytes:
            self._drop(part.id)
            raise MalformedEventError(f"The parts of an event have more than {self._max_bytes:,} bytes.")
        return None

    def _drop(self, id_: str) -> None:
        event = self._events.pop(id_)
        self._count -= len(event.parts)
        self._size -= event.size
