"""What a store of streams promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hub.events import LLMEvent
from hub.result import StreamStatus
from hub.streams.log import StreamLog

__all__ = ("FIRST_EPOCH", "StreamInfo", "StreamStore")

FIRST_EPOCH = 1
"""The epoch of whoever made a stream: as long as it stands nobody has taken the stream over."""


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

    A stream has one writer, which its epoch names. In a store of several processes every process may read every
    stream, and stop it; the log that `open` gives is then this process's copy, which follows.
    """

    async def start(self) -> None:
        """Do now what the first call would have to do: connect, make what is missing, end what a crash left open.

        Raises:
            StoreError: The store can't be used.
        """
        ...

    async def create(
        self, stream_id: str, *, model: str | None = None, fingerprint: str | None = None, input_tokens: int = 0
    ) -> int:
        """Make an empty log and return the epoch its writer has to name.

        Args:
            stream_id: The stream.
            model: The model asked for, until `meta` names the one that answers.
            fingerprint: A digest of the request, which the log has too: tells a repeated request from another one.
            input_tokens: About how many tokens the prompt has, for the `usage` of an attempt whose writer is lost; 0
                where that isn't known.

        Raises:
            StreamExistsError: The id is taken.
        """
        ...

    async def take_over(self, stream_id: str) -> int:
        """Make the caller the stream's writer, and return the epoch it has to name from now on.

        Whoever wrote before gets a `StaleWriterError` at its next `append`. A queued stream runs from then on.
        """
        ...

    async def hand_over(self, stream_id: str) -> None:
        """Whoever made the stream won't write it, a worker will: from now on its log here follows that one.

        The stream is `queued` until somebody takes it over or its first event comes. Where either has happened
        already its status stays.
        """
        ...

    async def append(self, stream_id: str, events: Sequence[LLMEvent], *, epoch: int) -> None:
        """Add events in order, all or none. Repeats are passed over; after `done` nothing is added.

        A call that was cancelled may have added its events: they are appended again, unchanged, and known as repeats.

        Raises:
            SequenceGapError: The first event isn't the next one, or events are missing among them.
            MalformedEventError: One of the events has no JSON.
            StaleWriterError: Another writer has taken over: `epoch` is not the stream's.
        """
        ...

    async def open(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
        """The stream's log, which goes on growing while the stream runs.

        Args:
            stream_id: The stream.
            at_least: A position that a reader has seen: the log holds it too, unless there is no such position.
        """
        ...

    async def list(self, *, limit: int = 1_000) -> Sequence[StreamInfo]:
        """The streams that are kept, newest first, and at most so many."""
        ...

    async def cancel(self, stream_id: str) -> None:
        """Tell whoever writes the stream, in whichever process, to stop; at an ended one nothing happens."""
        ...

    async def watch_cancel(self, stream_id: str, stop: Callable[[], None]) -> Callable[[], None]:
        """Have `stop` called when the stream is to stop, at once where it was told so before; returns what ends that.

        It may be called more than once, and is called in the event loop.
        """
        ...

    async def aclose(self) -> None:
        """Release what is held; a second call does nothing."""
        ...
