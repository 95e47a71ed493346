"""How far a reader is in each stream of a channel. Pure."""

from __future__ import annotations

from enum import Enum, auto

from hub.events import LLMEvent

__all__ = ("Place", "Positions")

MAX_STREAMS = 10_000
"""Streams that a reader remembers; the one that was silent for longest is forgotten first."""


class Place(Enum):
    """Where an event stands, seen from what came before it."""

    NEXT = auto()
    """It adjoins."""
    REPEAT = auto()
    """It was there already."""
    BEYOND = auto()
    """Events are missing before it, or it stands for some that were there and some that were not."""


class Positions:
    """The last position of each stream; streams begin at 0."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def last(self, stream_id: str) -> int:
        """The last position that was taken; -1 where none was."""
        return self._last.get(stream_id, -1)

    def place(self, event: LLMEvent) -> Place:
        """Where an event stands. A snapshot stands for everything before it, so that nothing can be missing."""
        last = self._last.get(event.stream_id, -1)
        if event.seq <= last:
            return Place.REPEAT
        if event.seq - event.span == last or event.type == "snapshot":
            return Place.NEXT
        return Place.BEYOND

    def take(self, stream_id: str, seq: int) -> None:
        """Everything up to a position is there."""
        self._last.pop(stream_id, None)
        self._last[stream_id] = seq
        if len(self._last) > MAX_STREAMS:
            del self._last[next(iter(self._last))]
