"""A disk that takes no more: nothing half is kept, and the store goes on once there is room.

The system's limit on a file's size is real and needs no rights; a disk that is really full is in tests/real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.errors import StoreError, StreamNotFoundError
from hub.events import LLMEvent
from hub.streams.sqlite import SqliteStreamStore

from ...contracts.conftest import events_of, kept
from ...contracts.samples import a_stream, turns

resource = pytest.importorskip("resource", reason="limits on a file's size are of Unix")

LARGE = [f"{number} " + "x" * 50_000 for number in range(40)]


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    """What is written beyond that fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def fits(store: SqliteStreamStore, event: LLMEvent, epoch: int) -> bool:
    try:
        await store.append("str_1", [event], epoch=epoch)
    except StoreError as exc:
        assert "streams.db can't" in str(exc)  # noqa: PT017
        return False
    return True


async def test_what_does_not_fit_is_refused_whole_and_taken_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    events = a_stream(*LARGE)
    store = SqliteStreamStore(path)
    epoch = await store.create("str_1")
    log = await store.open("str_1")
    written = 0
    with files_no_larger_than(500_000):
        while await fits(store, events[written], epoch):
            written += 1
        assert log.events == events[:written]
        with pytest.raises(StoreError):
            await store.append("str_1", events[written:], epoch=epoch)
        assert log.events == events[:written]
    assert 0 < written < len(events)
    await store.append("str_1", events[written:], epoch=epoch)
    assert log.events == events
    await store.aclose()

    again = SqliteStreamStore(path)
    assert await events_of(again, "str_1") == events
    await again.aclose()


async def test_all_that_share_a_failed_commit_are_refused_and_none_is_kept(tmp_path: Path) -> None:
    store = SqliteStreamStore(tmp_path / "streams.db")
    epochs = [await store.create(f"str_{number}") for number in range(8)]
    with files_no_larger_than(100_000):
        results = await asyncio.gather(
            *(
                store.append(f"str_{number}", a_stream(*LARGE, stream_id=f"str_{number}"), epoch=epoch)
                for number, epoch in enumerate(epochs)
            ),
            store.create("str_new"),
            return_exceptions=True,
        )
        assert {type(result) for result in results[:-1]} == {StoreError}
        for number in range(8):
            assert (await store.open(f"str_{number}")).events == []
    if isinstance(results[-1], StoreError):
        with pytest.raises(StreamNotFoundError):
            await store.open("str_new")
    await kept(store, "str_other")
    await store.aclose()


async def test_what_was_kept_is_read_and_cancelled_while_nothing_more_fits(tmp_path: Path) -> None:
    store = SqliteStreamStore(tmp_path / "streams.db")
    await kept(store, "str_1")
    await store.create("str_2")
    stopped = asyncio.Event()
    await store.watch_cancel("str_2", stopped.set)
    with files_no_larger_than(1):
        assert await events_of(store, "str_1") == a_stream("a")
        assert len(await store.list()) == 2
        with pytest.raises(StoreError):
            await store.cancel("str_2")
        assert stopped.is_set()
        with pytest.raises(StoreError):
            await store.take_over("str_2")
    await store.append("str_2", a_stream("a", stream_id="str_2"), epoch=1)
    await store.aclose()


async def test_a_failed_append_that_nobody_waits_for_is_no_one_s_error(tmp_path: Path) -> None:
    store = SqliteStreamStore(tmp_path / "streams.db")
    epoch = await store.create("str_1")
    with files_no_larger_than(1):
        appending = asyncio.ensure_future(store.append("str_1", a_stream("a"), epoch=epoch))
        await turns(1)
        appending.cancel()
        await asyncio.wait([appending])
        with pytest.raises(StoreError):
            await store.append("str_1", a_stream("a"), epoch=epoch)
    await store.append("str_1", a_stream("a"), epoch=epoch)
    assert await events_of(store, "str_1") == a_stream("a")
    await store.aclose()


async def test_a_store_that_finds_no_room_at_all_does_not_start(tmp_path: Path) -> None:
    store = SqliteStreamStore(tmp_path / "streams.db")
    with files_no_larger_than(1), pytest.raises(StoreError, match=r"streams\.db can't"):
        await store.start()
    await kept(store, "str_1")
    await store.aclose()


async def test_an_end_that_only_memory_took_is_kept_once_there_is_room(tmp_path: Path) -> None:
    """What a hub does whose store fails: it ends the log for the readers it has."""
    path = tmp_path / "streams.db"
    events = a_stream(*"abc")
    store = SqliteStreamStore(path)
    epoch = await store.create("str_1")
    await store.append("str_1", events[:2], epoch=epoch)
    log = await store.open("str_1")
    with files_no_larger_than(1):
        with pytest.raises(StoreError):
            await store.append("str_1", events[2:], epoch=epoch)
        log.append(log.ending("failed"))
        ended = list(log.events)
    for number in range(3):
        await kept(store, f"str_new_{number}")
    assert (await store.list())[-1].status == "failed"
    await store.aclose()

    again = SqliteStreamStore(path)
    assert await events_of(again, "str_1") == ended
    await again.aclose()
