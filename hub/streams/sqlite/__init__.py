"""Streams in a file."""

from __future__ import annotations

from hub.streams.sqlite.store import SqliteStreamStore

__all__ = ("SqliteStreamStore",)
