"""A store in a file, what it leaves on the disk, and what others do to it there."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hub.errors import StoreError
from hub.streams.sqlite import SqliteStreamStore


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteStreamStore]:
    """A store that is started, and closed in the end."""
    store = SqliteStreamStore(path, **options)
    try:
        await store.start()
        yield store
    finally:
        await store.aclose()


async def refusal(path: Path) -> str:
    """Why a store does not start."""
    store = SqliteStreamStore(path, busy_timeout=0.0)
    with pytest.raises(StoreError) as caught:
        await store.start()
    with pytest.raises(StoreError):
        await store.list()
    await store.aclose()
    return str(caught.value)


def edit(path: Path, statement: str) -> None:
    """What somebody else does to a file."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def crashed(path: Path, name: str) -> Path:
    """A copy of the files as a process that is killed now leaves them."""
    copy = path.with_name(name)
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def names_in(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(file.name for file in folder.iterdir())


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir())
