"""What every store of streams promises, run over each of them: reading from any position."""

from __future__ import annotations

import asyncio
import random

import pytest

from hub.completion import fold
from hub.errors import (
    PositionError,
)
from hub.events import LLMEvent, Snapshot, merge, merge_neighbours
from hub.streams.base import StreamStore
from hub.testing import check_grammar, collect

from .conftest import events_of, kept
from .samples import RandomStream, a_stream, meta, positions, random_merge, text, turns
from .stream_stores import over

SEEDS = range(10)


@pytest.mark.parametrize("seed", SEEDS)
@over()
async def test_readers_from_any_position_get_each_event_once_while_it_grows(store: StreamStore, seed: int) -> None:
    events = RandomStream(seed, snapshots=True).events
    epoch = await store.create("str_1")
    log = await store.open("str_1")
    rand = random.Random(seed)

    async def write() -> None:
        rest = list(events)
        while rest:
            batch = [rest.pop(0) for _ in range(min(len(rest), rand.randrange(1, 6)))]
            await store.append("str_1", batch, epoch=epoch)
            await turns(rand.choice((0, 3)))

    async def read(after: int) -> list[LLMEvent]:
        while log.last_seq < after:
            await log.wait(after)
        return await collect(log.read(after=after))

    async with asyncio.TaskGroup() as tasks:
        readers = {after: tasks.create_task(read(after)) for after in range(-1, len(events))}
        tasks.create_task(write())
    for after, reader in readers.items():
        assert reader.result() == events[after + 1 :]


@over()
async def test_many_readers_read_at_their_own_pace(store: StreamStore) -> None:
    events = a_stream(*(f" {n}" for n in range(300)))
    epoch = await store.create("str_1")

    async def read(pause: int) -> list[LLMEvent]:
        received = []
        async for event in (await store.open("str_1")).read():
            received.append(event)
            await turns(pause)
        return received

    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read(n % 7)) for n in range(50)]
        await turns()
        for event in events:
            await store.append("str_1", [event], epoch=epoch)
    assert all(reader.result() == events for reader in readers)


@over()
async def test_a_reader_waits_for_the_end_and_a_dropped_one_is_forgotten(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    log = await store.open("str_1")
    await store.append("str_1", [meta(0)], epoch=epoch)
    reader = log.read()
    assert await anext(reader) == meta(0)
    before = len(log._watchers)
    waiting = asyncio.ensure_future(anext(reader))
    await turns()
    assert not waiting.done()
    assert len(log._watchers) == before + 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(log._watchers) == before


@over()
async def test_a_watcher_hears_of_each_append_until_it_stops(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    log = await store.open("str_1")
    heard: list[int] = []
    unwatch = log.watch(lambda: heard.append(len(log.frames)))
    await store.append("str_1", [meta(0), text(1)], epoch=epoch)
    await store.append("str_1", [text(1)], epoch=epoch)
    await store.append("str_1", [text(2)], epoch=epoch)
    unwatch()
    unwatch()
    await store.append("str_1", [text(3)], epoch=epoch)
    assert heard == [2, 3]


@over()
async def test_a_position_beyond_the_end_is_refused(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    log = await store.open("str_1")
    with pytest.raises(PositionError):
        await anext(log.read(after=0))
    await store.append("str_1", a_stream("a"), epoch=epoch)
    with pytest.raises(PositionError, match=r"Position 4 .* 3"):
        await anext(log.read(after=4))
    assert await collect(log.read(after=3)) == []


# Snapshots


@pytest.mark.parametrize("seed", SEEDS)
@over()
async def test_a_snapshot_asked_for_stands_for_all_before_it(store: StreamStore, seed: int) -> None:
    events = RandomStream(seed).events
    epoch = await store.create("str_1")
    log = await store.open("str_1")
    for event in events[:-1]:
        await store.append("str_1", [event], epoch=epoch)
        first = await anext(log.read(snapshot=True))
        assert isinstance(first, Snapshot)
        assert (first.seq, first.span, first.reason) == (event.seq, event.seq + 1, "requested")
        assert fold([first]) == first.result == fold(events[: event.seq + 1])
    await store.append("str_1", events[-1:], epoch=epoch)


@pytest.mark.parametrize("seed", SEEDS)
@over()
async def test_a_late_joiner_of_an_ended_stream_gets_a_snapshot_and_then_done(store: StreamStore, seed: int) -> None:
    events = RandomStream(seed).events
    await kept(store, "str_1", events)
    first, end = await events_of(store, "str_1", snapshot=True)
    assert isinstance(first, Snapshot)
    assert end == events[-1]
    assert first.result == fold(events[:-1])
    check_grammar([first, end])
    assert fold([first, end]) == fold(events)


@over()
async def test_a_snapshot_for_a_resumer_adjoins_what_it_has(store: StreamStore) -> None:
    events = a_stream("a", "b", "c")
    await kept(store, "str_1", events)
    for after in range(-1, len(events) - 2):
        first, end = await events_of(store, "str_1", after, snapshot=True)
        assert positions([first, end]) == list(range(after + 1, len(events)))
        assert first.type == "snapshot"


@pytest.mark.parametrize("after", [3, 4, 5])
@over()
async def test_who_lacks_nothing_but_the_end_gets_no_snapshot(store: StreamStore, after: int) -> None:
    events = a_stream("a", "b", "c")
    await kept(store, "str_1", events)
    received = await events_of(store, "str_1", after, snapshot=True)
    assert positions(received) == list(range(after + 1, len(events)))
    assert [event.type for event in received] == {3: ["snapshot", "done"], 4: ["done"], 5: []}[after]


@over()
async def test_a_snapshot_of_nothing_is_none(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    log = await store.open("str_1")
    reading = asyncio.ensure_future(collect(log.read(snapshot=True)))
    await turns()
    events = a_stream("a")
    await store.append("str_1", events, epoch=epoch)
    assert await reading == events


@pytest.mark.parametrize("seed", SEEDS)
@over()
async def test_who_stands_inside_a_merged_event_is_told_by_a_gap_snapshot(store: StreamStore, seed: int) -> None:
    whole = RandomStream(seed).events
    events = random_merge(whole, seed, merge_neighbours)
    await kept(store, "str_1", events)
    ends = {event.seq for event in events} | {-1}
    for after in range(-1, len(whole)):
        received = await events_of(store, "str_1", after)
        assert positions(received) == list(range(after + 1, len(whole)))
        if after in ends:
            assert received == [event for event in events if event.seq > after]
            continue
        first = received[0]
        assert isinstance(first, Snapshot)
        assert first.reason == "gap"
        assert fold([*whole[: after + 1], *received]) == fold(whole)


@over()
async def test_who_stands_inside_a_merged_event_of_a_running_stream_reads_on_behind_its_snapshot(
    store: StreamStore,
) -> None:
    events = a_stream(*"abcdef")
    epoch = await store.create("str_1")
    await store.append("str_1", [events[0], merge(events[1:5])], epoch=epoch)
    log = await store.open("str_1")
    reading = asyncio.ensure_future(collect(log.read(after=2)))
    await turns()
    await store.append("str_1", events[5:], epoch=epoch)
    first, *rest = await reading
    assert (first.type, first.seq, first.span, rest) == ("snapshot", 4, 2, events[5:])


@over()
async def test_a_log_that_begins_with_a_snapshot_serves_every_position(store: StreamStore) -> None:
    events = a_stream(*"abcdef")
    first = Snapshot(stream_id="str_1", seq=4, span=5, result=fold(events[:5]), reason="takeover")
    await kept(store, "str_1", [first, *events[5:]])
    assert await events_of(store, "str_1") == [first, *events[5:]]
    received = await events_of(store, "str_1", 2)
    assert [event.type for event in received] == ["snapshot", "done"]
    assert positions(received) == [3, 4, 5, 6, 7, 8]
    assert await events_of(store, "str_1", 4) == events[5:]
