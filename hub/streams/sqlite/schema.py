"""The file of streams: its tables, opened for one process alone."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from hub.errors import StoreError
from hub.streams.sqlite.faults import in_words

__all__ = ("open_database",)

APPLICATION_ID = 0x4C4C_4D53
"""Tells our files from other programs': "LLMS" in the file's header (https://sqlite.org/fileformat2.html)."""

WAL_BYTES = 16_000_000
"""What the write-ahead log is cut to once a burst that made it larger is over."""

MIGRATIONS = (
    """
    CREATE TABLE streams (
        key INTEGER PRIMARY KEY AUTOINCREMENT,
        stream_id TEXT NOT NULL UNIQUE,
        fingerprint TEXT,
        asked_model TEXT,
        model TEXT,
        created_at REAL NOT NULL,
        epoch INTEGER NOT NULL,
        status TEXT NOT NULL,
        last_seq INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        is_cancelled INTEGER NOT NULL,
        closed_at REAL,
        end_number INTEGER UNIQUE
    );
    CREATE INDEX streams_open ON streams (status) WHERE closed_at IS NULL;
    CREATE TABLE batches (key INTEGER PRIMARY KEY, stream INTEGER NOT NULL, lines BLOB NOT NULL);
    CREATE INDEX batches_of_stream ON batches (stream);
    """,
    "ALTER TABLE streams ADD COLUMN input_tokens INTEGER NOT NULL DEFAULT 0",
)
"""How each version of the schema comes from the one before; a file's `user_version` is how many it has had.

A batch is a row in the order of time, found by an index: with the rows of a stream side by side, a commit for a
thousand streams would write a thousand pages (docs/decisions/sqlite.md has the figures).
"""


def open_database(path: Path, *, busy_timeout: float) -> sqlite3.Connection:
    """The file, made where it is missing, with our tables in it and locked against every other process. Blocks.

    What is committed outlives the process, however it ends; a power cut may take back the last moments
    (https://sqlite.org/pragma.html#pragma_synchronous, read 2026-11-21).

    Raises:
        StoreError: It can't be opened, is in use, or holds something else.
    """
    try:
        is_new = _make(path)
        connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None)
    except (OSError, sqlite3.Error) as exc:
        raise in_words(exc, path) from exc
    try:
        if is_new:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # can't be said later
        _lock(connection)
        version = _version(connection, path)
        _set_up(connection)
        _migrate(connection, version)
    except sqlite3.Error as exc:
        connection.close()
        raise in_words(exc, path) from exc
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> bool:
    """Make the folder and the file, for their owner's eyes only since answers are in it; whether it is empty."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return path.stat().st_size == 0


def _lock(connection: sqlite3.Connection) -> None:
    """Take the file for this connection's life. Another program's file is not changed by it."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """How many migrations the file has had."""
    version = _pragma(connection, "user_version")
    is_empty = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
    if _pragma(connection, "application_id") != APPLICATION_ID and not is_empty:
        raise StoreError(f"{path} is a database of another program. Name another file for the streams.")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a later version of llm-stream-hub (schema {version}; this one knows "
            f"{len(MIGRATIONS)}). Install that version, or name another file."
        )
    return version


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the schema up to date, or leave it as it is."""
    connection.execute("BEGIN IMMEDIATE")
    for script in MIGRATIONS[version:]:
        # `executescript` would commit first.
        for statement in filter(None, map(str.strip, script.split(";"))):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
