"""A file that is taken away from under its store: nothing is accepted that would be lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.errors import StoreError
from hub.streams.sqlite import SqliteStreamStore
from hub.streams.sqlite.presence import Presence

from ...contracts.samples import a_stream
from .support import opened

EVENTS = a_stream("Hello", " wide", " world")


def wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def replace(path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    path.touch()


def move_the_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


WAYS: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "replaced": replace,
    "cut": lambda path: os.truncate(path, 0),
    "folder_moved": move_the_folder,
    "wal_deleted": lambda path: wal(path).unlink(),
    "wal_cut": lambda path: os.truncate(wal(path), 0),
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_would_be_lost_is_refused(way: str, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "streams.db"
    async with opened(path) as store:
        epoch = await store.create("str_1")
        await store.append("str_1", EVENTS[:2], epoch=epoch)
        WAYS[way](path)
        for _ in range(2):
            with pytest.raises(StoreError, match="removed, replaced or cut while the hub ran"):
                await store.append("str_1", EVENTS[2:], epoch=epoch)
        with pytest.raises(StoreError, match=r"streams\.db"):
            await store.create("str_2")
        assert (await store.open("str_1")).events == EVENTS[:2]


async def test_a_file_that_is_put_back_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        epoch = await store.create("str_1")
        path.rename(tmp_path / "aside.db")
        with pytest.raises(StoreError):
            await store.append("str_1", EVENTS, epoch=epoch)
        (tmp_path / "aside.db").rename(path)
        await store.append("str_1", EVENTS, epoch=epoch)
    async with opened(path) as store:
        assert (await store.open("str_1")).events == EVENTS


def test_a_file_that_goes_while_it_is_used_is_missed_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    path.touch()
    presence = Presence(path)
    wal(path).touch()  # made by the first commit
    path.write_text("more")
    presence.note()
    presence.check()
    path.rename(tmp_path / "aside.db")
    presence.note()
    with pytest.raises(StoreError, match="removed, replaced or cut"):
        presence.check()
    path.write_text("more")
    presence.note()
    with pytest.raises(StoreError, match="removed, replaced or cut"):
        presence.check()
    (tmp_path / "aside.db").rename(path)
    presence.check()


async def test_what_the_store_does_to_its_own_file_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path, retention_ttl=0.0) as store:
        for number in range(30):
            stream_id = f"str_{number}"
            epoch = await store.create(stream_id)
            await store.append(stream_id, a_stream(*["x" * 100_000] * 20, stream_id=stream_id), epoch=epoch)


async def test_a_store_that_was_linked_to_keeps_its_log_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "streams.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "streams.db")
    store = SqliteStreamStore(tmp_path / "link.db")
    epoch = await store.create("str_1")
    await store.append("str_1", EVENTS[:2], epoch=epoch)
    os.truncate(wal(tmp_path / "real" / "streams.db"), 0)
    with pytest.raises(StoreError, match="removed, replaced or cut"):
        await store.append("str_1", EVENTS[2:], epoch=epoch)
    await store.aclose()
