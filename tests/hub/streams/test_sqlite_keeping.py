"""What the store in a file has in memory and on the disk, and what is left of calls that are cut short."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.errors import InvalidRequestError, StreamExistsError, StreamNotFoundError
from hub.streams.sqlite import SqliteStreamStore
from hub.streams.sqlite.store import RECENT_BYTES
from hub.testing import collect

from ...contracts.conftest import events_of, kept
from ...contracts.samples import a_stream, turns
from ...contracts.stream_stores import HandClock
from .support import opened, size_of

# Memory and the file


async def test_an_ended_stream_that_nobody_reads_leaves_memory(tmp_path: Path) -> None:
    large = "x" * (RECENT_BYTES // 3)
    async with opened(tmp_path / "streams.db") as store:
        logs = []
        for number in range(5):
            await kept(store, f"str_{number}", a_stream(large, stream_id=f"str_{number}"))
            logs.append(weakref.ref(await store.open(f"str_{number}")))
        gc.collect()
        assert [log() is None for log in logs] == [True, True, True, False, False]
        held = await store.open("str_0")
        assert held is await store.open("str_0")
        assert held.events == a_stream(large, stream_id="str_0")


async def test_a_stream_that_somebody_reads_is_not_read_from_the_file_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "streams.db") as store:
        await kept(store, "str_0", a_stream("a", stream_id="str_0"))
        held = await store.open("str_0")
        for number in range(1, 4):
            await kept(store, f"str_{number}", a_stream("x" * RECENT_BYTES, stream_id=f"str_{number}"))
        assert await store.open("str_0") is held


async def test_the_file_does_not_grow_while_streams_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    sizes = []
    async with opened(path, retention_bytes=1_000_000) as store:
        for number in range(400):
            events = a_stream(*("x" * 1_000 for _ in range(number % 40)), stream_id=f"str_{number}")
            await kept(store, f"str_{number}", events)
            sizes.append(size_of(tmp_path))
    assert max(sizes[200:]) <= max(sizes[:200]) * 1.1
    assert path.stat().st_size < 3_000_000


async def test_pages_that_are_free_go_back_to_the_disk(tmp_path: Path) -> None:
    path, clock = tmp_path / "streams.db", HandClock()
    async with opened(path, retention_ttl=60.0, retention_bytes=100_000_000, clock=clock) as store:
        for number in range(12):
            await kept(store, f"str_{number}", a_stream("x" * 3_000_000, stream_id=f"str_{number}"))
    before = path.stat().st_size
    assert before > 36_000_000
    clock.now += 60
    async with opened(path, retention_ttl=60.0, clock=clock) as store:
        for _ in range(20):
            await store.list()  # one turn of the file's thread
    assert path.stat().st_size < before - 15_000_000


async def test_what_has_expired_while_nobody_ran_is_gone_at_the_start(tmp_path: Path) -> None:
    path, clock = tmp_path / "streams.db", HandClock()
    async with opened(path, retention_ttl=60.0, clock=clock) as store:
        await kept(store, "str_1")
    clock.now += 61
    async with opened(path, retention_ttl=60.0, clock=clock) as store:
        assert await store.list() == []
    rows = sqlite3.connect(path)
    assert rows.execute("SELECT count(*) FROM batches").fetchone() == (0,)
    rows.close()


async def test_the_size_is_counted_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    for first in (0, 2):
        async with opened(path, retention_bytes=10_000) as store:
            for number in range(first, first + 2):
                await kept(store, f"str_{number}", a_stream("x" * 3_000, stream_id=f"str_{number}"))
            listed = [info.stream_id for info in await store.list()]
    assert listed == ["str_3", "str_2"]


# Calls that are cut short


async def is_created(store: SqliteStreamStore, stream_id: str) -> bool:
    try:
        return await store.create(stream_id) == 1
    except StreamExistsError:
        return False


@pytest.mark.parametrize("moments", range(4))
async def test_a_create_that_is_cancelled_leaves_no_stream(tmp_path: Path, moments: int) -> None:
    async with opened(tmp_path / "streams.db") as store:
        creating = asyncio.ensure_future(store.create("str_1"))
        await turns(moments)
        creating.cancel()
        await asyncio.wait([creating])
        assert creating.cancelled()
        async with asyncio.timeout(10):
            while not await is_created(store, "str_1"):
                await turns()  # the other one goes once it has come
        await store.append("str_1", a_stream("a"), epoch=1)


async def test_readers_get_what_was_committed_though_its_writer_was_cancelled(tmp_path: Path) -> None:
    async with opened(tmp_path / "streams.db") as store:
        epoch = await store.create("str_1")
        reading = asyncio.ensure_future(collect((await store.open("str_1")).read()))
        appending = asyncio.ensure_future(store.append("str_1", a_stream("a"), epoch=epoch))
        await turns(1)
        appending.cancel()
        assert await reading == a_stream("a")


@pytest.mark.parametrize("moments", range(4))
async def test_a_close_that_is_cancelled_can_be_made_up_for(tmp_path: Path, moments: int) -> None:
    path = tmp_path / "streams.db"
    store = SqliteStreamStore(path)
    await kept(store, "str_1")
    closing = asyncio.ensure_future(store.aclose())
    await turns(moments)
    closing.cancel()
    await asyncio.wait([closing])
    await store.aclose()
    async with opened(path) as store:
        assert await events_of(store, "str_1") == a_stream("a")


async def test_half_a_character_in_an_id_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "streams.db") as store:
        with pytest.raises(InvalidRequestError, match="stream_id"):
            await store.create("str_\ud83d")
        calls: list[Callable[..., object]] = [store.open, store.cancel, store.take_over]
        for call in calls:
            with pytest.raises(StreamNotFoundError):
                await call("str_\ud83d")  # type: ignore[misc]
