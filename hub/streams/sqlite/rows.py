"""The statements of the file of streams. Each function works on a connection, in its thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from hub.errors import StoreError, StreamNotFoundError
from hub.result import StreamStatus
from hub.streams.base import StreamInfo
from hub.streams.batch import events_of_lines
from hub.streams.log import StreamLog

__all__ = (
    "Ending",
    "Removal",
    "StreamRow",
    "add_batches",
    "add_stream",
    "cancel_stream",
    "close_stream",
    "end_stream",
    "list_streams",
    "log_of",
    "next_epoch",
    "open_streams",
    "read_batches",
    "read_stream",
    "remove_expired",
    "remove_stream",
    "return_pages",
    "set_running",
    "set_waiting",
    "sweep",
    "total_bytes",
)

MAX_REMOVED = 64
"""How many streams one sweep removes at most, and how much: a transaction has to stay short."""
MAX_REMOVED_BYTES = 4_000_000

SPARE_PAGES = 4_096
"""Free pages that the file keeps for what comes next, of 4 KB each; beyond it they go back to the disk."""
MAX_RETURNED_PAGES = 1_024

ROWS_AT_ONCE = (128, 32, 8, 1)
_INSERT = {size: f"INSERT INTO batches (stream, lines) VALUES {', '.join(['(?, ?)'] * size)}" for size in ROWS_AT_ONCE}  # noqa: S608


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream as its row has it. While it runs `status` and what follows are those of its beginning."""

    key: int
    stream_id: str
    fingerprint: str | None
    input_tokens: int
    asked_model: str | None
    created_at: float
    epoch: int
    status: StreamStatus
    is_cancelled: bool
    closed_at: float | None


@dataclass(frozen=True, slots=True)
class Ending:
    """What a stream's row has of its end."""

    status: StreamStatus
    model: str | None
    last_seq: int
    size_bytes: int
    closed_at: float


@dataclass(frozen=True, slots=True)
class Removal:
    """What a sweep has removed: ids, what they weighed together, and whether more is due."""

    stream_ids: Sequence[str]
    size_bytes: int
    is_more: bool


_COLUMNS = "key, stream_id, fingerprint, input_tokens, asked_model, created_at, epoch, status, is_cancelled, closed_at"


def add_stream(connection: sqlite3.Connection, stream: StreamLog) -> int | None:
    """A new running stream's key; None where the id is taken."""
    cursor = connection.execute(
        "INSERT OR IGNORE INTO streams (stream_id, fingerprint, input_tokens, asked_model, model, created_at, epoch,"
        " status, last_seq, size_bytes, is_cancelled) VALUES (?, ?, ?, ?, ?, ?, 1, 'running', -1, 0, 0)",
        (stream.stream_id, stream.fingerprint, stream.input_tokens, stream.model, stream.model, stream.created_at),
    )
    return cursor.lastrowid if cursor.rowcount else None


def add_batches(connection: sqlite3.Connection, batches: Sequence[tuple[int, bytes]]) -> None:
    """Add what appends brought: the key of each one's stream, and its lines.

    Many rows go in one statement: Python's lock, which the event loop is after too, is taken once a statement.
    """
    done = 0
    for size in ROWS_AT_ONCE:
        while len(batches) - done >= size:
            values = [value for batch in batches[done : done + size] for value in batch]
            connection.execute(_INSERT[size], values)
            done += size


def end_stream(connection: sqlite3.Connection, key: int, ending: Ending) -> None:
    """The stream has ended."""
    connection.execute(
        "UPDATE streams SET status = ?, model = ?, last_seq = ?, size_bytes = ?, closed_at = ?,"
        " end_number = (SELECT coalesce(max(end_number), 0) + 1 FROM streams) WHERE key = ?",
        (ending.status, ending.model, ending.last_seq, ending.size_bytes, ending.closed_at, key),
    )


def set_running(connection: sqlite3.Connection, key: int) -> None:
    """The stream may wait no longer; whether it does is told by the fold, which comes after the commit."""
    connection.execute("UPDATE streams SET status = 'running' WHERE key = ?", (key,))


def set_waiting(connection: sqlite3.Connection, key: int, *, model: str | None, last_seq: int, size_bytes: int) -> None:
    """The stream waits for a person, if nothing was added since `last_seq` (only the end changes a row's own)."""
    connection.execute(
        "UPDATE streams SET status = 'waiting', model = ?, last_seq = ?, size_bytes = ?"
        " WHERE key = ? AND closed_at IS NULL",
        (model, last_seq, size_bytes, key),
    )


def close_stream(connection: sqlite3.Connection, key: int, now: float) -> None:
    """Count a stream that can't be read as failed, so that its time passes."""
    connection.execute(
        "UPDATE streams SET status = 'failed', closed_at = ?,"
        " end_number = (SELECT coalesce(max(end_number), 0) + 1 FROM streams) WHERE key = ?",
        (now, key),
    )


def next_epoch(connection: sqlite3.Connection, key: int) -> int | None:
    """The epoch of a stream's new writer; None where the stream is gone."""
    connection.execute("UPDATE streams SET epoch = epoch + 1 WHERE key = ?", (key,))
    found = connection.execute("SELECT epoch FROM streams WHERE key = ?", (key,)).fetchone()
    return None if found is None else int(found[0])


def cancel_stream(connection: sqlite3.Connection, stream_id: str) -> None:
    """Keep the wish that the stream stops, unless it has ended."""
    connection.execute("UPDATE streams SET is_cancelled = 1 WHERE stream_id = ? AND closed_at IS NULL", (stream_id,))


def read_stream(connection: sqlite3.Connection, stream_id: str, horizon: float) -> StreamRow:
    """A stream's row.

    Args:
        connection: The file.
        stream_id: The stream.
        horizon: What ended until then is not there any more, in Unix seconds.

    Raises:
        StreamNotFoundError: There is no such stream.
    """
    query = f"SELECT {_COLUMNS} FROM streams WHERE stream_id = ? AND (closed_at IS NULL OR closed_at > ?)"  # noqa: S608
    try:
        found = connection.execute(query, (stream_id, horizon)).fetchone()
    except UnicodeEncodeError:  # an id with half a character in it
        found = None
    if found is None:
        raise StreamNotFoundError(stream_id)
    return StreamRow(*found)


def read_batches(connection: sqlite3.Connection, key: int) -> list[bytes]:
    """The lines of a stream's batches, in order."""
    return [lines for (lines,) in connection.execute("SELECT lines FROM batches WHERE stream = ? ORDER BY key", (key,))]


def log_of(row: StreamRow, batches: Sequence[bytes]) -> StreamLog:
    """The log of a stream; needs no connection.

    Raises:
        StoreError: What is kept is no log.
    """
    log = StreamLog(
        row.stream_id,
        created_at=row.created_at,
        model=row.asked_model,
        fingerprint=row.fingerprint,
        input_tokens=row.input_tokens,
    )
    try:
        for lines in batches:
            log.append(events_of_lines(lines))
    except ValueError as exc:
        raise StoreError(f"The log of stream {row.stream_id!r} is damaged: {exc}.") from exc
    log.closed_at = row.closed_at
    return log


def list_streams(connection: sqlite3.Connection, horizon: float, limit: int) -> list[StreamInfo]:
    """The streams, newest first; a running one as it was at its beginning."""
    return [
        StreamInfo(*found)
        for found in connection.execute(
            "SELECT stream_id, status, model, created_at, last_seq FROM streams"
            " WHERE closed_at IS NULL OR closed_at > ? ORDER BY key DESC LIMIT ?",
            (horizon, limit),
        )
    ]


def open_streams(connection: sqlite3.Connection) -> list[StreamRow]:
    """The streams that have not ended and don't wait."""
    return [
        StreamRow(*found)
        for found in connection.execute(
            f"SELECT {_COLUMNS} FROM streams WHERE closed_at IS NULL AND status != 'waiting' ORDER BY key"  # noqa: S608
        )
    ]


def total_bytes(connection: sqlite3.Connection) -> int:
    """What the streams weigh that have ended or wait."""
    return int(connection.execute("SELECT coalesce(sum(size_bytes), 0) FROM streams").fetchone()[0])


def remove_expired(connection: sqlite3.Connection, stream_id: str, horizon: float) -> int:
    """Remove that stream if its time has passed, and give what it weighed."""
    found = connection.execute(
        "SELECT size_bytes FROM streams WHERE stream_id = ? AND closed_at <= ?", (stream_id, horizon)
    ).fetchone()
    if found is None:
        return 0
    remove_stream(connection, stream_id)
    return int(found[0])


def remove_stream(connection: sqlite3.Connection, stream_id: str) -> None:
    """Remove a stream, whatever its state."""
    connection.execute("DELETE FROM batches WHERE stream = (SELECT key FROM streams WHERE stream_id = ?)", (stream_id,))
    connection.execute("DELETE FROM streams WHERE stream_id = ?", (stream_id,))


def sweep(connection: sqlite3.Connection, horizon: float, excess_bytes: int) -> Removal:
    """Remove what ended until the horizon, and what ended first while all weigh too much; not too much at once."""
    removed: list[str] = []
    size_bytes = 0
    is_more = False
    for stream_id, size, closed_at in connection.execute(
        "SELECT stream_id, size_bytes, closed_at FROM streams WHERE end_number IS NOT NULL ORDER BY end_number LIMIT ?",
        (MAX_REMOVED + 1,),
    ).fetchall():
        if closed_at > horizon and size_bytes >= excess_bytes:
            break
        is_more = len(removed) == MAX_REMOVED or size_bytes > MAX_REMOVED_BYTES
        if is_more:
            break
        remove_stream(connection, stream_id)
        removed.append(stream_id)
        size_bytes += size
    return Removal(removed, size_bytes, is_more)


def return_pages(connection: sqlite3.Connection) -> bool:
    """Give some of the free pages back to the disk where they are many; whether more are to go. No transaction."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free <= SPARE_PAGES:
        return False
    # `execute` would take one step of it, a page.
    connection.executescript(f"PRAGMA incremental_vacuum({min(free - SPARE_PAGES, MAX_RETURNED_PAGES)})")
    return bool(free - SPARE_PAGES > MAX_RETURNED_PAGES)
