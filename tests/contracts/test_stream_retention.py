"""What the stores promise that forget by the clock they are given and by what the logs weigh."""

from __future__ import annotations

import pytest

from hub.errors import StreamNotFoundError
from hub.testing import collect

from .conftest import kept
from .samples import a_stream
from .stream_stores import BACKENDS, HandClock, OpenStore, over

WITH_CLOCK = [backend for backend in BACKENDS if backend.has_clock]


@over(WITH_CLOCK)
async def test_an_ended_stream_is_kept_for_its_time(open_store: OpenStore, clock: HandClock) -> None:
    store = open_store(retention_ttl=60.0)
    await kept(store, "str_1")
    clock.now += 30
    await kept(store, "str_2")
    clock.now += 29.9
    assert [info.stream_id for info in await store.list()] == ["str_2", "str_1"]
    clock.now += 0.1
    assert [info.stream_id for info in await store.list()] == ["str_2"]
    with pytest.raises(StreamNotFoundError):
        await store.open("str_1")
    clock.now += 30
    with pytest.raises(StreamNotFoundError):
        await store.open("str_2")
    await store.create("str_1")


@over(WITH_CLOCK)
async def test_its_time_begins_at_its_end_and_a_running_stream_stays(open_store: OpenStore, clock: HandClock) -> None:
    store = open_store(retention_ttl=60.0, retention_bytes=1)
    events = a_stream("a")
    epoch = await store.create("str_1")
    await store.append("str_1", events[:2], epoch=epoch)
    clock.now += 10_000
    await kept(store, "str_2")
    assert [info.stream_id for info in await store.list()] == ["str_1"]
    log = await store.open("str_1")
    await store.append("str_1", events[2:], epoch=epoch)
    assert log.events == events


@over(WITH_CLOCK)
async def test_beyond_their_size_the_streams_that_ended_first_go_first(open_store: OpenStore) -> None:
    store = open_store(retention_bytes=10_000)
    first = await store.create("str_1")
    for number in (2, 3, 4):
        await kept(store, f"str_{number}", a_stream("x" * 2000, stream_id=f"str_{number}"))
    await store.append("str_1", a_stream("x" * 2000, stream_id="str_1"), epoch=first)
    assert [info.stream_id for info in await store.list()] == ["str_4", "str_3", "str_1"]
    await kept(store, "str_5", a_stream("x" * 7000, stream_id="str_5"))
    assert [info.stream_id for info in await store.list()] == ["str_5"]


@over(WITH_CLOCK)
async def test_streams_come_and_go_and_none_is_kept_beyond_the_size(open_store: OpenStore) -> None:
    store = open_store(retention_bytes=20_000)
    for number in range(300):
        await kept(store, f"str_{number}", a_stream("x" * (number % 50) * 10, stream_id=f"str_{number}"))
        logs = [await store.open(info.stream_id) for info in await store.list()]
        assert sum(log.size_bytes for log in logs) <= 20_000
        assert logs[0].stream_id == f"str_{number}"


@over(WITH_CLOCK)
async def test_who_holds_the_log_of_a_removed_stream_reads_it_to_its_end(
    open_store: OpenStore, clock: HandClock
) -> None:
    store = open_store(retention_ttl=60.0)
    events = a_stream("a", "b")
    await kept(store, "str_1", events)
    reader = (await store.open("str_1")).read()
    assert await anext(reader) == events[0]
    clock.now += 100
    with pytest.raises(StreamNotFoundError):
        await store.open("str_1")
    assert await collect(reader) == events[1:]


@over(WITH_CLOCK)
async def test_the_list_tells_when_each_stream_was_made(open_store: OpenStore, clock: HandClock) -> None:
    store = open_store()
    for number in range(3):
        await store.create(f"str_{number}")
        clock.now += 1
    assert [info.created_at for info in await store.list()] == [clock.now - 1, clock.now - 2, clock.now - 3]
    assert (await store.open("str_0")).created_at == clock.now - 3


@over(WITH_CLOCK)
async def test_a_stream_whose_time_has_passed_is_gone_for_writers_too(open_store: OpenStore, clock: HandClock) -> None:
    store = open_store(retention_ttl=60.0)
    epoch = await kept(store, "str_1")
    clock.now += 60
    for call in (
        store.open("str_1"),
        store.append("str_1", a_stream("a"), epoch=epoch),
        store.take_over("str_1"),
        store.cancel("str_1"),
        store.watch_cancel("str_1", lambda: None),
    ):
        with pytest.raises(StreamNotFoundError):
            await call
    assert await store.create("str_1") == epoch
    assert (await store.open("str_1")).events == []
