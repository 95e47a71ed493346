"""What every store of streams promises, run over each of them: keeping and forgetting."""

from __future__ import annotations

import msgspec
import pytest

from hub.completion import fold
from hub.errors import (
    ClosedError,
    MalformedEventError,
    SequenceGapError,
    StoreError,
    StreamExistsError,
    StreamNotFoundError,
)
from hub.events import merge
from hub.streams.base import StreamStore
from hub.testing import collect

from .conftest import HandClock, OpenStore, events_of, kept
from .samples import RandomStream, a_stream, in_standing_time, meta, text

# Creating and appending


@in_standing_time
async def test_a_stream_can_be_read_back(store: StreamStore) -> None:
    events = RandomStream(1, snapshots=True).events
    await kept(store, "str_1", events)
    log = await store.open("str_1")
    assert await collect(log.read()) == events
    assert log.result() == fold(events)
    assert log.is_closed


@in_standing_time
async def test_an_id_is_given_once(store: StreamStore) -> None:
    await store.create("str_1")
    with pytest.raises(StreamExistsError, match="str_1"):
        await store.create("str_1")
    await kept(store, "str_2")
    with pytest.raises(StreamExistsError):
        await store.create("str_2")


@in_standing_time
async def test_an_empty_log_tells_the_model_that_was_asked(store: StreamStore) -> None:
    await store.create("str_1", model="asked")
    log = await store.open("str_1")
    assert (log.last_seq, log.status, log.model, log.is_closed, log.events) == (-1, "running", "asked", False, [])
    result = log.result()
    assert (result.stream_id, result.model, result.last_seq) == ("str_1", "asked", -1)


@in_standing_time
async def test_what_is_not_there_is_not_found(store: StreamStore) -> None:
    with pytest.raises(StreamNotFoundError, match="str_9"):
        await store.open("str_9")
    with pytest.raises(StreamNotFoundError):
        await store.append("str_9", [meta(0)], epoch=1)
    assert list(await store.list()) == []


@in_standing_time
async def test_a_hole_is_refused_and_nothing_of_the_batch_is_kept(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    await store.append("str_1", [meta(0), text(1)], epoch=epoch)
    for batch in ([text(3)], [text(2), text(4)], [text(4, span=2)], [text(2), text(5, "abc", span=4)]):
        with pytest.raises(SequenceGapError):
            await store.append("str_1", batch, epoch=epoch)
    log = await store.open("str_1")
    assert (log.events, log.last_seq, len(log.frames)) == ([meta(0), text(1)], 1, 2)


@in_standing_time
async def test_what_can_t_be_written_is_refused_and_nothing_of_the_batch_is_kept(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    with pytest.raises(MalformedEventError):
        await store.append("str_1", [meta(0), text(1, "\ud83d")], epoch=epoch)
    log = await store.open("str_1")
    assert (log.events, log.frames, log.last_seq) == ([], [], -1)
    await store.append("str_1", [meta(0)], epoch=epoch)


@in_standing_time
async def test_repeats_are_passed_over(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    await store.append("str_1", [meta(0), text(1)], epoch=epoch)
    await store.append("str_1", [meta(0), text(1)], epoch=epoch)
    await store.append("str_1", [text(1), text(2)], epoch=epoch)
    await store.append("str_1", [], epoch=epoch)
    assert (await store.open("str_1")).events == [meta(0), text(1), text(2)]


@in_standing_time
async def test_nothing_follows_done(store: StreamStore) -> None:
    events = a_stream("a")
    epoch = await store.create("str_1")
    await store.append("str_1", [*events, text(4), text(5)], epoch=epoch)
    await store.append("str_1", [text(4)], epoch=epoch)
    await store.append("str_1", [text(9)], epoch=epoch)
    assert await events_of(store, "str_1") == events


@in_standing_time
async def test_a_writer_with_another_epoch_is_refused(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    for other in (epoch - 1, epoch + 1):
        with pytest.raises(StoreError, match="str_1"):
            await store.append("str_1", [meta(0)], epoch=other)
    assert (await store.open("str_1")).events == []


@in_standing_time
async def test_the_list_is_newest_first_and_tells_how_each_stands(store: StreamStore, clock: HandClock) -> None:
    for number in range(3):
        await store.create(f"str_{number}", model="asked")
        clock.now += 1
    await store.append("str_1", a_stream("a", stream_id="str_1"), epoch=1)
    listed = [(info.stream_id, info.status, info.model, info.last_seq) for info in await store.list()]
    assert listed == [
        ("str_2", "running", "asked", -1),
        ("str_1", "completed", "model-x", 3),
        ("str_0", "running", "asked", -1),
    ]
    assert [info.created_at for info in await store.list()] == [clock.now - 1, clock.now - 2, clock.now - 3]


@in_standing_time
async def test_a_closed_store_takes_and_gives_nothing(store: StreamStore) -> None:
    epoch = await kept(store, "str_1")
    await store.aclose()
    await store.aclose()
    for call in (
        store.create("str_2"),
        store.append("str_1", [meta(0)], epoch=epoch),
        store.open("str_1"),
        store.list(),
    ):
        with pytest.raises(ClosedError):
            await call


# Retention


@in_standing_time
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


@in_standing_time
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


@in_standing_time
async def test_beyond_their_size_the_streams_that_ended_first_go_first(open_store: OpenStore) -> None:
    store = open_store(retention_bytes=10_000)
    first = await store.create("str_1")
    for number in (2, 3, 4):
        await kept(store, f"str_{number}", a_stream("x" * 2000, stream_id=f"str_{number}"))
    await store.append("str_1", a_stream("x" * 2000, stream_id="str_1"), epoch=first)
    assert [info.stream_id for info in await store.list()] == ["str_4", "str_3", "str_1"]
    await kept(store, "str_5", a_stream("x" * 7000, stream_id="str_5"))
    assert [info.stream_id for info in await store.list()] == ["str_5"]


@in_standing_time
async def test_streams_come_and_go_and_none_is_kept_beyond_the_size(open_store: OpenStore) -> None:
    store = open_store(retention_bytes=20_000)
    for number in range(300):
        await kept(store, f"str_{number}", a_stream("x" * (number % 50) * 10, stream_id=f"str_{number}"))
        logs = [await store.open(info.stream_id) for info in await store.list()]
        assert sum(log.size_bytes for log in logs) <= 20_000
        assert logs[0].stream_id == f"str_{number}"


@in_standing_time
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


@in_standing_time
async def test_events_of_another_kind_of_merge_are_no_repeat(store: StreamStore) -> None:
    """A batch that was sent is never merged anew: what is known in part can't be cut."""
    events = a_stream(*"abc")
    epoch = await store.create("str_1")
    await store.append("str_1", events[:3], epoch=epoch)
    with pytest.raises(SequenceGapError):
        await store.append("str_1", [merge(events[1:4])], epoch=epoch)
    await store.append("str_1", [msgspec.structs.replace(events[3])], epoch=epoch)
