"""Streams in this process's memory: nothing survives it."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Sequence
from itertools import islice

from hub.errors import ClosedError, StaleWriterError, StreamExistsError, StreamNotFoundError
from hub.events import LLMEvent
from hub.streams.base import FIRST_EPOCH, StreamInfo
from hub.streams.cancels import Cancels
from hub.streams.log import StreamLog

__all__ = ("MemoryStreamStore",)


class MemoryStreamStore:
    """Keeps running streams whole, and ended ones for a time and up to a size.

    Args:
        retention_ttl: Seconds that an ended stream is kept.
        retention_bytes: What the logs may weigh together; beyond it the streams that ended first go first. Running
            streams always stay.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        retention_ttl: float = 3600.0,
        retention_bytes: int = 256_000_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._retention_ttl = retention_ttl
        self._retention_bytes = retention_bytes
        self._clock = clock
        self._logs: dict[str, StreamLog] = {}
        # The ids of ended streams in the order they ended, and what all logs weigh.
        self._ended: dict[str, None] = {}
        self._size_bytes = 0
        self._epochs: dict[str, int] = {}
        self._cancels = Cancels()
        self._closed = False

    async def start(self) -> None:
        """Nothing."""
        self._require_open()

    async def create(
        self, stream_id: str, *, model: str | None = None, fingerprint: str | None = None, input_tokens: int = 0
    ) -> int:
        """Make an empty log."""
        self._require_open()
        self._sweep()
        if stream_id in self._logs:
            raise StreamExistsError(stream_id)
        self._logs[stream_id] = StreamLog(
            stream_id, created_at=self._clock(), model=model, fingerprint=fingerprint, input_tokens=input_tokens
        )
        self._epochs[stream_id] = FIRST_EPOCH
        return FIRST_EPOCH

    async def take_over(self, stream_id: str) -> int:
        """Make the caller the stream's writer."""
        self._get(stream_id).is_queued = False
        self._epochs[stream_id] += 1
        return self._epochs[stream_id]

    async def hand_over(self, stream_id: str) -> None:
        """Have the stream wait for a worker, in this process since there is no other."""
        log = self._get(stream_id)
        log.is_queued = log.last_seq < 0 and self._epochs[stream_id] == FIRST_EPOCH

    async def append(self, stream_id: str, events: Sequence[LLMEvent], *, epoch: int) -> None:
        """Add events in order, all or none."""
        log = self._get(stream_id)
        if epoch != self._epochs[stream_id]:
            raise StaleWriterError(stream_id, epoch)
        before = log.size_bytes
        log.append(events)
        self._size_bytes += log.size_bytes - before
        if log.is_closed and log.closed_at is None:
            log.closed_at = self._clock()
            self._ended[stream_id] = None
            self._cancels.forget(stream_id)
        if self._size_bytes > self._retention_bytes:
            self._sweep()

    async def open(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
        """The stream's log."""
        self._sweep()
        return self._get(stream_id)

    async def list(self, *, limit: int = 1_000) -> builtins.list[StreamInfo]:
        """The streams that are kept, newest first."""
        self._require_open()
        self._sweep()
        return [
            StreamInfo(log.stream_id, log.status, log.model, log.created_at, log.last_seq)
            for log in islice(reversed(self._logs.values()), limit)
        ]

    async def cancel(self, stream_id: str) -> None:
        """Tell whoever writes the stream to stop."""
        if not self._get(stream_id).is_closed:
            self._cancels.cancel(stream_id)

    async def watch_cancel(self, stream_id: str, stop: Callable[[], None]) -> Callable[[], None]:
        """Have `stop` called when the stream is to stop."""
        self._get(stream_id)
        return self._cancels.watch(stream_id, stop)

    async def aclose(self) -> None:
        """Forget everything."""
        self._closed = True
        self._logs.clear()
        self._ended.clear()
        self._size_bytes = 0

    def _get(self, stream_id: str) -> StreamLog:
        self._require_open()
        log = self._logs.get(stream_id)
        if log is None:
            raise StreamNotFoundError(stream_id)
        return log

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the store is closed")

    def _sweep(self) -> None:
        """Remove ended streams past their time, and the oldest of them while all weigh too much."""
        horizon = self._clock() - self._retention_ttl
        while self._ended:
            oldest = self._logs[next(iter(self._ended))]
            expired = oldest.closed_at is not None and oldest.closed_at <= horizon
            if not expired and self._size_bytes <= self._retention_bytes:
                return
            del self._ended[oldest.stream_id], self._logs[oldest.stream_id], self._epochs[oldest.stream_id]
            self._size_bytes -= oldest.size_bytes
