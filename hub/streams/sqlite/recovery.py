"""Ends what was running when the process that wrote it came to its end."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from hub.errors import StoreError
from hub.events import LLMEvent
from hub.result import Failure
from hub.streams.batch import next_batch
from hub.streams.log import StreamLog
from hub.streams.sqlite.rows import (
    Ending,
    StreamRow,
    add_batches,
    close_stream,
    end_stream,
    log_of,
    open_streams,
    read_batches,
    set_waiting,
    total_bytes,
)
from hub.streams.takeover import takeover

__all__ = ("recover",)

log = logging.getLogger(__name__)

_INTERRUPTED = Failure(code="interrupted", message="The hub stopped while the answer was under way.", retryable=True)


def recover(connection: sqlite3.Connection, clock: Callable[[], float]) -> int:
    """End every stream that runs, a transaction each, and give what all weigh. What waits for a person stays."""
    for row in open_streams(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            _recover_stream(connection, row, clock())
        except StoreError:
            log.exception("stream %s was running and can't be read; it is closed as it is", row.stream_id)
            close_stream(connection, row.key, clock())
        connection.execute("COMMIT")
    return total_bytes(connection)


def _recover_stream(connection: sqlite3.Connection, row: StreamRow, now: float) -> None:
    stream = log_of(row, read_batches(connection, row.key))
    if stream.status == "waiting":
        set_waiting(connection, row.key, model=stream.model, last_seq=stream.last_seq, size_bytes=stream.size_bytes)
        return
    if (snapshot := takeover(stream)) is not None:
        _add(connection, row, stream, [snapshot], now)
    _add(connection, row, stream, stream.ending("failed", _INTERRUPTED), now)


def _add(connection: sqlite3.Connection, row: StreamRow, stream: StreamLog, events: list[LLMEvent], now: float) -> None:
    batch = next_batch(stream, events)
    if batch is None:
        return
    stream.append(batch.events)
    add_batches(connection, [(row.key, batch.lines)])
    if stream.is_closed:
        ending = Ending(stream.status, stream.model, stream.last_seq, stream.size_bytes, now)
        end_stream(connection, row.key, ending)
