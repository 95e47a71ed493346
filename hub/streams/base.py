"""What a store of streams promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hub.events import LLMEvent
from hub.result import StreamStatus
from hub.streams.log import StreamLog

__all__ = ("StreamInfo", "StreamStore")


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream in a list. `created_at` is in Unix seconds; `last_seq` is -1 before the first event."""

    stream_id: str
    status: StreamStatus
    model: str | None
    created_at: float
    last_seq: int


class StreamStore(Protocol):
    """Keeps the logs of streams. Every method may be called from any task at any time.

    All raise `StoreError` where the store itself fails, `StreamNotFoundError` for a stream that isn't there, and
    `ClosedError` after `aclose`. A running stream is never removed. Whoever holds the log of a removed stream reads
    on: what it has stays.
    """

    async def create(self, stream_id: str, *, model: str | None = None) -> int:
        """Make an empty log and return the epoch its writer has to name.

        Raises:
            StreamExistsError: The id is taken.
        """
        ...

    async def append(self, stream_id: str, events: Sequence[LLMEvent], *, epoch: int) -> None:
        """Add events in order, all or none. Repeats are passed over; after `done` nothing is added.

        A call that was cancelled may have added its events: they are appended again, unchanged, and known as repeats.

        Raises:
            SequenceGapError: The first event isn't the next one, or events are missing among them.
            MalformedEventError: One of the events has no JSON.
            StoreError: Another writer has taken over: `epoch` is not the stream's.
        """
        ...

    async def open(self, stream_id: str) -> StreamLog:
        """The stream's log, which goes on growing while the stream runs."""
        ...

    async def list(self) -> Sequence[StreamInfo]:
        """Every stream that is kept, newest first."""
        ...

    async def aclose(self) -> None:
        """Release what is held; a second call does nothing."""
        ...
