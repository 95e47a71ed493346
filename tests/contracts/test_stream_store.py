"""What every store of streams promises, run over each of them: creating, appending and listing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from hub.completion import fold
from hub.errors import (
    ClosedError,
    MalformedEventError,
    SequenceGapError,
    StaleWriterError,
    StreamExistsError,
    StreamNotFoundError,
)
from hub.events import merge
from hub.streams.base import StreamStore
from hub.testing import collect

from .conftest import events_of, kept
from .samples import RandomStream, a_stream, meta, text, turns
from .stream_stores import OpenStore, over

# Creating and appending


@over()
async def test_a_stream_can_be_read_back(store: StreamStore) -> None:
    events = RandomStream(1, snapshots=True).events
    await kept(store, "str_1", events)
    log = await store.open("str_1")
    assert await collect(log.read()) == events
    assert log.result() == fold(events)
    assert log.is_closed


@over()
async def test_an_id_is_given_once(store: StreamStore) -> None:
    await store.create("str_1")
    with pytest.raises(StreamExistsError, match="str_1"):
        await store.create("str_1")
    await kept(store, "str_2")
    with pytest.raises(StreamExistsError):
        await store.create("str_2")


@over()
async def test_an_empty_log_tells_the_model_that_was_asked(store: StreamStore) -> None:
    await store.create("str_1", model="asked")
    log = await store.open("str_1")
    assert (log.last_seq, log.status, log.model, log.is_closed, log.events) == (-1, "running", "asked", False, [])
    result = log.result()
    assert (result.stream_id, result.model, result.last_seq) == ("str_1", "asked", -1)


@over()
async def test_what_is_not_there_is_not_found(store: StreamStore) -> None:
    with pytest.raises(StreamNotFoundError, match="str_9"):
        await store.open("str_9")
    with pytest.raises(StreamNotFoundError):
        await store.append("str_9", [meta(0)], epoch=1)
    with pytest.raises(StreamNotFoundError):
        await store.take_over("str_9")
    with pytest.raises(StreamNotFoundError):
        await store.cancel("str_9")
    with pytest.raises(StreamNotFoundError):
        await store.watch_cancel("str_9", lambda: None)
    assert list(await store.list()) == []


@over()
async def test_a_hole_is_refused_and_nothing_of_the_batch_is_kept(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    await store.append("str_1", [meta(0), text(1)], epoch=epoch)
    for batch in ([text(3)], [text(2), text(4)], [text(4, span=2)], [text(2), text(5, "abc", span=4)]):
        with pytest.raises(SequenceGapError):
            await store.append("str_1", batch, epoch=epoch)
    log = await store.open("str_1")
    assert (log.events, log.last_seq, len(log.frames)) == ([meta(0), text(1)], 1, 2)


@over()
async def test_what_can_t_be_written_is_refused_and_nothing_of_the_batch_is_kept(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    with pytest.raises(MalformedEventError):
        await store.append("str_1", [meta(0), text(1, "\ud83d")], epoch=epoch)
    log = await store.open("str_1")
    assert (log.events, log.frames, log.last_seq) == ([], [], -1)
    await store.append("str_1", [meta(0)], epoch=epoch)


@over()
async def test_repeats_are_passed_over(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    await store.append("str_1", [meta(0), text(1)], epoch=epoch)
    await store.append("str_1", [meta(0), text(1)], epoch=epoch)
    await store.append("str_1", [text(1), text(2)], epoch=epoch)
    await store.append("str_1", [], epoch=epoch)
    assert (await store.open("str_1")).events == [meta(0), text(1), text(2)]


@over()
async def test_nothing_follows_done(store: StreamStore) -> None:
    events = a_stream("a")
    epoch = await store.create("str_1")
    await store.append("str_1", [*events, text(4), text(5)], epoch=epoch)
    await store.append("str_1", [text(4)], epoch=epoch)
    await store.append("str_1", [text(9)], epoch=epoch)
    assert await events_of(store, "str_1") == events


@over()
async def test_a_writer_with_another_epoch_is_refused(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    for other in (epoch - 1, epoch + 1):
        with pytest.raises(StaleWriterError, match="str_1"):
            await store.append("str_1", [meta(0)], epoch=other)
    assert (await store.open("str_1")).events == []


@over()
async def test_events_of_another_kind_of_merge_are_no_repeat(store: StreamStore) -> None:
    """A batch that was sent is never merged anew: what is known in part can't be cut."""
    events = a_stream(*"abc")
    epoch = await store.create("str_1")
    await store.append("str_1", events[:3], epoch=epoch)
    with pytest.raises(SequenceGapError):
        await store.append("str_1", [merge(events[1:4])], epoch=epoch)
    await store.append("str_1", [msgspec.structs.replace(events[3])], epoch=epoch)


# Several at once, and cancelled ones


@over()
async def test_many_streams_that_grow_at_once_have_each_its_own_events(store: StreamStore) -> None:
    streams = {f"str_{n}": a_stream(*(f"{n}.{word}" for word in range(10)), stream_id=f"str_{n}") for n in range(60)}

    async def write(stream_id: str) -> None:
        epoch = await store.create(stream_id)
        for event in streams[stream_id]:
            await store.append(stream_id, [event], epoch=epoch)

    async with asyncio.TaskGroup() as tasks:
        for stream_id in streams:
            tasks.create_task(write(stream_id))
    for stream_id, events in streams.items():
        assert await events_of(store, stream_id) == events


@over()
async def test_the_same_events_appended_twice_at_once_are_kept_once(store: StreamStore) -> None:
    events = a_stream(*"abc")
    epoch = await store.create("str_1")
    await asyncio.gather(*(store.append("str_1", events[:3], epoch=epoch) for _ in range(3)))
    await asyncio.gather(*(store.append("str_1", events[2:], epoch=epoch) for _ in range(3)))
    assert await events_of(store, "str_1") == events


@over()
async def test_what_one_writer_appends_without_waiting_is_added_in_that_order(store: StreamStore) -> None:
    events = a_stream(*"abcdef")
    epoch = await store.create("str_1")
    await asyncio.gather(*(store.append("str_1", [event], epoch=epoch) for event in events))
    assert await events_of(store, "str_1") == events


@over()
async def test_an_id_that_two_want_at_once_is_given_to_one(store: StreamStore) -> None:
    results = await asyncio.gather(*(store.create("str_1") for _ in range(3)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["StreamExistsError", "StreamExistsError", "int"]


@pytest.mark.parametrize("moments", range(5))
@over()
async def test_a_cancelled_append_is_all_or_nothing_and_its_repeat_is_known(store: StreamStore, moments: int) -> None:
    events = a_stream(*"abcdefgh")
    epoch = await store.create("str_1")
    log = await store.open("str_1")
    for begin in range(0, len(events), 3):
        batch = events[begin : begin + 3]
        appending = asyncio.ensure_future(store.append("str_1", batch, epoch=epoch))
        await turns(moments)
        appending.cancel()
        await asyncio.wait([appending])
        assert log.events in (events[:begin], events[: begin + 3])
        await store.append("str_1", batch, epoch=epoch)
        assert log.events == events[: begin + 3]
    assert await events_of(store, "str_1") == events


@over()
async def test_a_cancelled_append_that_is_not_repeated_leaves_no_hole(store: StreamStore) -> None:
    events = a_stream(*"abc")
    epoch = await store.create("str_1")
    await store.append("str_1", events[:1], epoch=epoch)
    appending = asyncio.ensure_future(store.append("str_1", events[1:3], epoch=epoch))
    await turns(1)
    appending.cancel()
    await asyncio.wait([appending])
    try:
        await store.append("str_1", events[3:], epoch=epoch)
    except SequenceGapError:
        await store.append("str_1", events[1:], epoch=epoch)
    assert await events_of(store, "str_1") == events


# Listing and opening


@over()
async def test_the_list_is_newest_first_and_tells_how_each_stands(store: StreamStore) -> None:
    epochs = {f"str_{number}": await store.create(f"str_{number}", model="asked") for number in range(3)}
    await store.append("str_1", a_stream("a", stream_id="str_1"), epoch=epochs["str_1"])
    await store.append("str_2", [msgspec.structs.replace(meta(0), stream_id="str_2")], epoch=epochs["str_2"])
    listed = [(info.stream_id, info.status, info.model, info.last_seq) for info in await store.list()]
    assert listed == [
        ("str_2", "running", "model-x", 0),
        ("str_1", "completed", "model-x", 3),
        ("str_0", "running", "asked", -1),
    ]


@over()
async def test_a_list_has_the_newest_streams_up_to_its_limit(store: StreamStore) -> None:
    for number in range(5):
        await store.create(f"str_{number}")
    assert [info.stream_id for info in await store.list(limit=2)] == ["str_4", "str_3"]
    assert [info.stream_id for info in await store.list(limit=1)] == ["str_4"]
    assert len(await store.list(limit=100)) == 5


@over()
async def test_a_log_tells_the_fingerprint_it_was_made_with(store: StreamStore) -> None:
    await store.create("str_1", fingerprint="sha256:abc")
    await store.create("str_2")
    assert (await store.open("str_1")).fingerprint == "sha256:abc"
    assert (await store.open("str_2")).fingerprint is None


@over()
async def test_all_who_open_a_stream_share_its_log(store: StreamStore) -> None:
    await kept(store, "str_1")
    epoch = await store.create("str_2")
    for stream_id in ("str_1", "str_2"):
        logs = await asyncio.gather(*(store.open(stream_id) for _ in range(5)))
        assert all(log is logs[0] for log in logs)
    await store.append("str_2", [msgspec.structs.replace(meta(0), stream_id="str_2")], epoch=epoch)
    assert logs[0].last_seq == 0


@over()
async def test_an_opened_log_has_the_position_that_a_reader_has_seen(store: StreamStore) -> None:
    events = a_stream("a", "b")
    epoch = await store.create("str_1")
    for event in events:
        await store.append("str_1", [event], epoch=epoch)
        assert (await store.open("str_1", at_least=event.seq)).last_seq == event.seq
    assert (await store.open("str_1", at_least=99)).last_seq == events[-1].seq


@over()
async def test_a_store_starts_at_its_first_call_and_starting_it_again_does_nothing(open_store: OpenStore) -> None:
    store = open_store()
    await kept(store, "str_1")
    await store.start()
    await asyncio.gather(store.start(), store.start())
    assert [info.stream_id for info in await store.list()] == ["str_1"]


@over()
async def test_a_store_that_was_never_started_can_be_closed(open_store: OpenStore) -> None:
    store = open_store()
    await store.aclose()
    await store.aclose()


@over()
async def test_a_closed_store_takes_and_gives_nothing(store: StreamStore) -> None:
    epoch = await kept(store, "str_1")
    await store.aclose()
    await store.aclose()
    for call in (
        store.create("str_2"),
        store.append("str_1", [meta(0)], epoch=epoch),
        store.open("str_1"),
        store.list(),
        store.start(),
        store.take_over("str_1"),
        store.cancel("str_1"),
        store.watch_cancel("str_1", lambda: None),
    ):
        with pytest.raises(ClosedError):
            await call
