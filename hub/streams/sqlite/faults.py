"""What SQLite and the file system say, in words that say what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hub.errors import StoreError

__all__ = ("in_words",)

_BY_CODE = {
    sqlite3.SQLITE_BUSY: "is in use by another process. Let that one end, or name another file",
    sqlite3.SQLITE_LOCKED: "is in use by another process. Let that one end, or name another file",
    sqlite3.SQLITE_FULL: "can't grow: the disk is full. Make room; the store goes on as soon as there is some",
    sqlite3.SQLITE_IOERR: "can't be read or written: the disk failed, is full, or sets a limit to the file's size",
    sqlite3.SQLITE_READONLY: "can't be written to. Allow it to the user that the hub runs as, its folder too",
    sqlite3.SQLITE_PERM: "can't be written to. Allow it to the user that the hub runs as, its folder too",
    sqlite3.SQLITE_CANTOPEN: "can't be opened. See that its folder is there and may be written to",
    sqlite3.SQLITE_NOTADB: "is not a database. Move it out of the way, or name another file",
    sqlite3.SQLITE_CORRUPT: "is damaged. Move it out of the way; a new one is made at the next start",
    sqlite3.SQLITE_TOOBIG: "can't take an event of that size",
    sqlite3.SQLITE_NOMEM: "can't be used: there is no memory left",
}
"""By SQLite's primary result codes (https://sqlite.org/rescode.html, read 2026-11-21)."""


def in_words(exc: Exception, path: Path) -> StoreError:
    """The `StoreError` for what came from SQLite or the file system; to be raised from `exc`."""
    if isinstance(exc, IsADirectoryError):
        return StoreError(f"{path} is a folder. Name a file in it.")
    if isinstance(exc, OSError):
        return StoreError(f"{path} can't be opened: {exc.strerror or type(exc).__name__}.")
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    return StoreError(f"{path} {_BY_CODE.get(code, 'can not be used')} ({_detail(exc)}).")


def _detail(exc: Exception) -> str:
    name = getattr(exc, "sqlite_errorname", None)
    return f"SQLite: {exc}" if name is None else f"SQLite: {exc}, {name}"
