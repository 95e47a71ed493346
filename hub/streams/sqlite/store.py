"""Streams in a file, which outlive the process: one process at a time, no server beside it."""

from __future__ import annotations

import asyncio
import builtins
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from hub.errors import (
    ClosedError,
    InvalidRequestError,
    StaleWriterError,
    StoreError,
    StreamExistsError,
    StreamNotFoundError,
)
from hub.events import Done, LLMEvent
from hub.streams.base import FIRST_EPOCH, StreamInfo
from hub.streams.batch import Batch, batch_of, next_batch
from hub.streams.cancels import Cancels
from hub.streams.log import StreamLog
from hub.streams.recent import RecentLogs
from hub.streams.sqlite import rows
from hub.streams.sqlite.recovery import recover
from hub.streams.sqlite.retention import Retention
from hub.streams.sqlite.running import RunningStream
from hub.streams.sqlite.writer import Change, GroupCommit

__all__ = ("SqliteStreamStore",)

T = TypeVar("T")

log = logging.getLogger(__name__)

RECENT_BYTES = 16_000_000
"""What the frames of ended streams weigh that stay in memory with nobody reading them."""

PAUSE_A_STREAM = 0.000_05
MAX_PAUSE = 0.01
"""Seconds between two commits, for each stream that runs and at most: at a thousand streams a commit an event would
take several cores."""


class SqliteStreamStore:
    """Keeps streams in one file: the running ones in memory too, ended ones there alone until someone reads them.

    An append returns, and readers see its events, once they are committed; appends that come while a commit is under
    way share the next one. What is committed outlives the process, however it ends; a power cut may take back the
    last moments. At `start` the streams that were running end with an `error` whose code is `interrupted`; those
    that wait for a person stay.

    The file belongs to one process at a time: `start` raises `StoreError` in a second one.

    Args:
        path: The file; it and its folder are made where they are missing.
        retention_ttl: Seconds that an ended stream is kept.
        retention_bytes: What the logs may weigh together; beyond it the streams that ended first go first. Running
            streams always stay.
        clock: Unix seconds.
        busy_timeout: Seconds that `start` waits for another process that has the file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        retention_ttl: float = 3600.0,
        retention_bytes: int = 256_000_000,
        clock: Callable[[], float] = time.time,
        busy_timeout: float = 2.0,
    ) -> None:
        self._clock = clock
        self._file = GroupCommit(Path(path), busy_timeout=busy_timeout, pause=self._pause)
        # Decodes what was read: the thread of the file has others to serve.
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="hub-sqlite-decoder")
        self._running: dict[str, RunningStream] = {}
        self._logs: WeakValueDictionary[str, StreamLog] = WeakValueDictionary()
        self._recent = RecentLogs(RECENT_BYTES)
        self._loading: dict[str, asyncio.Future[StreamLog]] = {}
        self._cancels = Cancels()
        # Streams of which something could not be kept; a writer that gives up ends its log in memory alone.
        self._troubled: set[RunningStream] = set()
        self._retention = Retention(
            self._file, ttl=retention_ttl, max_bytes=retention_bytes, clock=clock, forget=self._forget
        )
        self._starting: asyncio.Future[int] | None = None
        self._closed = False

    async def start(self) -> None:
        """Open the file, and end what a crash left open."""
        self._require_open()
        if self._starting is None:
            self._starting = self._file.open(lambda connection: recover(connection, self._clock))
            self._starting.add_done_callback(self._started)
        await asyncio.shield(self._starting)

    async def create(
        self, stream_id: str, *, model: str | None = None, fingerprint: str | None = None, input_tokens: int = 0
    ) -> int:
        """Make an empty log. A call that is cancelled leaves none, though the id may seem taken for a moment."""
        _require_text(stream_id=stream_id, model=model, fingerprint=fingerprint)
        await self.start()
        now, horizon = self._clock(), self._retention.horizon
        stream = StreamLog(stream_id, created_at=now, model=model, fingerprint=fingerprint, input_tokens=input_tokens)

        def change(connection: sqlite3.Connection) -> tuple[int | None, int]:
            expired_bytes = rows.remove_expired(connection, stream_id, horizon)
            return rows.add_stream(connection, stream), expired_bytes

        adding = self._file.write(change, partial(self._created, stream))
        try:
            key, _ = await asyncio.shield(adding)
        except asyncio.CancelledError:
            adding.add_done_callback(lambda _: self._discard(stream))
            raise
        if key is None:
            raise StreamExistsError(stream_id)
        return FIRST_EPOCH

    async def take_over(self, stream_id: str) -> int:
        """Make the caller the stream's writer."""
        stream = await self._idle(stream_id)

        def applied(epoch: int | None) -> None:
            stream.epoch = stream.epoch if epoch is None else epoch
            stream.log.is_queued = False

        taking = self._file.write(partial(rows.next_epoch, key=stream.key), applied, settled=stream.settled)
        stream.is_busy = True
        epoch: int | None = await taking
        if epoch is None:
            raise StreamNotFoundError(stream_id)
        return epoch

    async def hand_over(self, stream_id: str) -> None:
        """Have the stream wait for a worker, in this process since there is no other."""
        stream = await self._idle(stream_id)
        stream.log.is_queued = stream.log.last_seq < 0 and stream.epoch == FIRST_EPOCH

    async def append(self, stream_id: str, events: Sequence[LLMEvent], *, epoch: int) -> None:
        """Add events in order, all or none."""
        stream = await self._idle(stream_id)
        if epoch != stream.epoch:
            raise StaleWriterError(stream_id, epoch)
        batch = next_batch(stream.log, events)
        if batch is None:
            return
        try:
            await self._add(stream, batch)
        except StoreError:
            self._troubled.add(stream)
            raise

    async def open(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
        """The stream's log. Whoever has it open shares it, and it has every event that a reader was told."""
        await self.start()
        stream = self._held(stream_id)
        if stream is None:
            loaded = await self._load(stream_id)
            stream = self._logs.get(stream_id, loaded)
        if stream_id not in self._running:
            self._recent.keep(stream)
        return stream

    async def list(self, *, limit: int = 1_000) -> builtins.list[StreamInfo]:
        """The streams that are kept, newest first. No log is read for it."""
        await self.start()
        horizon = self._retention.horizon
        listed = await self._file.read(lambda connection: rows.list_streams(connection, horizon, limit))
        # A row tells of a running stream's beginning; one that has ended meanwhile is in memory still.
        logs = ((info, self._logs.get(info.stream_id)) for info in listed)
        return [info if log is None else _info(info, log) for info, log in logs]

    async def cancel(self, stream_id: str) -> None:
        """Tell whoever writes the stream to stop, or will write it."""
        await self.start()
        if stream_id not in self._running and (await self._row(stream_id)).closed_at is not None:
            return
        self._cancels.cancel(stream_id)
        await self._file.write(lambda connection: rows.cancel_stream(connection, stream_id), _nothing)

    async def watch_cancel(self, stream_id: str, stop: Callable[[], None]) -> Callable[[], None]:
        """Have `stop` called when the stream is to stop."""
        await self.start()
        if stream_id not in self._running:
            row = await self._row(stream_id)
            if row.is_cancelled and row.closed_at is None:
                self._cancels.cancel(stream_id)
        return self._cancels.watch(stream_id, stop)

    async def aclose(self) -> None:
        """Commit what was asked for, close the file, and forget what is in memory."""
        self._closed = True
        self._retention.close()
        if under_way := [future for future in (self._starting, *self._loading.values()) if future is not None]:
            await asyncio.wait(under_way)
        self._decoder.shutdown()
        await self._file.aclose()
        self._running.clear()
        self._logs.clear()
        self._recent.clear()

    def _pause(self) -> float:
        """Seconds from one commit to the next, at least: a lone stream waits for none."""
        return min(PAUSE_A_STREAM * (len(self._running) - 1), MAX_PAUSE)

    # What is in memory

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the store is closed")

    def _held(self, stream_id: str) -> StreamLog | None:
        """The log, where it is in memory and its time has not passed."""
        stream = self._logs.get(stream_id)
        if stream is None or stream.closed_at is None or stream.closed_at > self._retention.horizon:
            return stream
        raise StreamNotFoundError(stream_id)

    async def _idle(self, stream_id: str) -> RunningStream:
        """The stream, once no change of it is under way: what comes next builds on that."""
        stream = self._running.get(stream_id)
        if stream is None:
            stream = await self._resumed(stream_id)
        if stream.is_busy:
            await stream.idle()
        return stream

    async def _resumed(self, stream_id: str) -> RunningStream:
        """A stream that is not written here so far: one that waits, or has ended."""
        log = await self.open(stream_id)
        row = await self._row(stream_id)
        stream = RunningStream(row.key, log, row.epoch, is_waiting=True, kept=len(log.events))
        if log.is_closed:
            return stream
        if row.is_cancelled:
            self._cancels.cancel(stream_id)
        self._recent.drop(stream_id)
        return self._running.setdefault(stream_id, stream)

    # What is in the file

    def _add(self, stream: RunningStream, batch: Batch) -> asyncio.Future[None]:
        """Have events committed, and added to the log then."""
        ending = self._ending(stream.log, batch)
        change: Change[None] | None = None
        if ending is not None:
            change = partial(rows.end_stream, key=stream.key, ending=ending)
        elif stream.is_waiting:
            change = partial(rows.set_running, key=stream.key)
        applied = partial(self._appended, stream, batch, ending)
        adding = self._file.write(change, applied, lines=(stream.key, batch.lines), settled=stream.settled)
        stream.is_busy = True
        return adding

    def _write_aside(self, change: Change[None]) -> None:
        """Have a change committed that nobody waits for, and that the next start could do without."""
        if self._closed:
            return
        self._file.write(change, _nothing).add_done_callback(_reported)

    async def _row(self, stream_id: str) -> rows.StreamRow:
        horizon = self._retention.horizon
        return await self._file.read(lambda connection: rows.read_stream(connection, stream_id, horizon))

    async def _load(self, stream_id: str) -> StreamLog:
        """Read a log that is not in memory, once for all who ask for it meanwhile."""
        loading = self._loading.get(stream_id)
        if loading is None:
            horizon = self._retention.horizon
            read = partial(_read_log, self._file, stream_id, horizon)
            loading = asyncio.get_running_loop().run_in_executor(self._decoder, read)
            self._loading[stream_id] = loading
            loading.add_done_callback(partial(self._loaded, stream_id))
        return await asyncio.shield(loading)

    def _loaded(self, stream_id: str, loading: asyncio.Future[StreamLog]) -> None:
        failed = loading.exception() is not None
        if self._loading.get(stream_id) is loading:
            del self._loading[stream_id]
            if not failed:
                self._logs.setdefault(stream_id, loading.result())

    # After a commit

    def _started(self, starting: asyncio.Future[int]) -> None:
        if starting.exception() is not None:
            self._starting = None
            return
        self._retention.size_bytes = starting.result()
        self._retention.sweep()

    def _created(self, stream: StreamLog, added: tuple[int | None, int]) -> None:
        key, expired_bytes = added
        self._retention.size_bytes -= expired_bytes
        if key is not None:
            self._recent.drop(stream.stream_id)
            self._running[stream.stream_id] = RunningStream(key, stream, epoch=FIRST_EPOCH, is_waiting=False)
            self._logs[stream.stream_id] = stream
            self._retention.sweep()
            self._mend()

    def _discard(self, stream: StreamLog) -> None:
        """Remove a stream that was made for nobody."""
        running = self._running.get(stream.stream_id)
        if running is not None and running.log is stream:
            del self._running[stream.stream_id], self._logs[stream.stream_id]
            self._write_aside(lambda connection: rows.remove_stream(connection, stream.stream_id))

    def _ending(self, stream: StreamLog, batch: Batch) -> rows.Ending | None:
        end = batch.events[-1]
        if not isinstance(end, Done):
            return None
        model = stream.model if batch.model is None else batch.model
        return rows.Ending(end.status, model, end.seq, stream.size_bytes + batch.size_bytes, self._clock())

    def _appended(self, stream: RunningStream, batch: Batch, ending: rows.Ending | None, _: None) -> None:
        log = stream.log
        log.append(batch.events)
        stream.kept = len(log.events)
        self._troubled.discard(stream)
        self._retention.size_bytes += batch.size_bytes
        if ending is not None:
            log.closed_at = ending.closed_at
            self._running.pop(log.stream_id, None)
            self._recent.keep(log)
            self._cancels.forget(log.stream_id)
        stream.is_waiting = log.status == "waiting"
        if stream.is_waiting:
            waiting = partial(
                rows.set_waiting, key=stream.key, model=log.model, last_seq=log.last_seq, size_bytes=log.size_bytes
            )
            self._write_aside(waiting)
        if ending is not None or self._retention.is_exceeded:
            self._retention.sweep()
        if self._troubled:
            self._mend()

    def _mend(self) -> None:
        """The file takes changes again: keep the ends that it did not take."""
        troubled, self._troubled = self._troubled, set()
        for stream in troubled:
            log = stream.log
            if self._running.get(log.stream_id) is not stream or stream.kept == len(log.events) or self._closed:
                continue
            if stream.is_busy or not log.is_closed:
                self._troubled.add(stream)
                continue
            self._add(stream, batch_of(log.events[stream.kept :])).add_done_callback(_reported)

    def _forget(self, stream_id: str) -> None:
        """A stream was removed; whoever has its log keeps it."""
        self._logs.pop(stream_id, None)
        self._loading.pop(stream_id, None)
        self._recent.drop(stream_id)


def _require_text(**texts: str | None) -> None:
    for name, text in texts.items():
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise InvalidRequestError(f"{name} has half a character (a lone surrogate) in it.") from None


def _read_log(file: GroupCommit, stream_id: str, horizon: float) -> StreamLog:
    """Blocks."""

    def read(connection: sqlite3.Connection) -> tuple[rows.StreamRow, builtins.list[bytes]]:
        row = rows.read_stream(connection, stream_id, horizon)
        return row, rows.read_batches(connection, row.key)

    return rows.log_of(*file.read_here(read))


def _info(info: StreamInfo, stream: StreamLog) -> StreamInfo:
    """A stream's line of the list, as its log has it."""
    return replace(info, status=stream.status, model=stream.model, last_seq=stream.last_seq)


def _reported(writing: asyncio.Future[None]) -> None:
    if (exc := writing.exception()) is not None:
        log.warning("a stream could not be brought up to date in its file: %s", exc)


def _nothing(_: object) -> None:
    """What is to be done after a commit that nothing in memory depends on."""
