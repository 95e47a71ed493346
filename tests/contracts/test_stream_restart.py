"""What the stores promise that outlive a process, and those that several processes share."""

from __future__ import annotations

import asyncio

import pytest

from hub.completion import fold
from hub.errors import StaleWriterError, StreamExistsError
from hub.events import ApprovalRequest, ToolResult
from hub.testing import check_grammar, collect

from .conftest import events_of, kept
from .samples import RandomStream, a_stream, meta, text, turns
from .stream_stores import BACKENDS, OpenStore, over

LASTING = [backend for backend in BACKENDS if backend.lasts]
SHARED = [backend for backend in BACKENDS if backend.is_shared]


@over(LASTING)
async def test_every_ended_stream_is_there_again_with_every_byte(open_store: OpenStore) -> None:
    names = [f"str_{seed}" for seed in range(20)]
    streams = {name: RandomStream(seed, snapshots=True, stream_id=name).events for seed, name in enumerate(names)}
    before = open_store()
    for stream_id, events in streams.items():
        epoch = await before.create(stream_id, model="asked", fingerprint=f"print of {stream_id}")
        for begin in range(0, len(events), 7):
            await before.append(stream_id, events[begin : begin + 7], epoch=epoch)
    frames = {stream_id: (await before.open(stream_id)).frames for stream_id in streams}
    listed = await before.list()
    await before.aclose()

    after = open_store()
    assert await after.list() == listed
    for stream_id, events in streams.items():
        log = await after.open(stream_id)
        assert (log.frames, log.fingerprint) == (frames[stream_id], f"print of {stream_id}")
        assert log.result() == fold(events)
        assert await collect(log.read()) == events


@over(LASTING)
async def test_what_a_running_stream_said_is_there_again(open_store: OpenStore) -> None:
    events = a_stream(*"abcdef")
    before = open_store()
    epoch = await before.create("str_1", model="asked", fingerprint="print")
    for event in events[:5]:
        await before.append("str_1", [event], epoch=epoch)
    await before.aclose()

    log = await open_store().open("str_1", at_least=4)
    assert log.events[:5] == events[:5]
    assert (log.model, log.fingerprint, log.result().text) == ("model-x", "print", "abcd")
    if log.is_closed:
        check_grammar(log.events)


@over(LASTING)
async def test_a_stream_that_waits_for_a_person_waits_on_and_can_be_gone_on_with(open_store: OpenStore) -> None:
    asks = [
        meta(0),
        text(1),
        ApprovalRequest(stream_id="str_1", seq=2, id="call_1", name="pay", arguments="{}"),
    ]
    before = open_store()
    first = await before.create("str_1", model="asked")
    await before.append("str_1", asks, epoch=first)
    await before.aclose()

    after = open_store()
    assert [(info.status, info.model, info.last_seq) for info in await after.list()] == [("waiting", "model-x", 2)]
    log = await after.open("str_1")
    assert log.events == asks
    second = await after.take_over("str_1")
    assert second > first
    with pytest.raises(StaleWriterError):
        await after.append("str_1", [text(3)], epoch=first)
    answer = ToolResult(stream_id="str_1", seq=3, id="call_1", name="pay", output="paid")
    await after.append("str_1", [answer], epoch=second)
    assert log.events == [*asks, answer]
    assert [info.status for info in await after.list()] == ["running"]


@over(LASTING)
async def test_the_wish_to_stop_a_stream_that_waits_outlives_the_process(open_store: OpenStore) -> None:
    before = open_store()
    epoch = await before.create("str_1")
    asks = ApprovalRequest(stream_id="str_1", seq=1, id="call_1", name="pay", arguments="{}")
    await before.append("str_1", [meta(0), asks], epoch=epoch)
    await before.cancel("str_1")
    await before.aclose()

    heard = asyncio.Event()
    after = open_store()
    await after.watch_cancel("str_1", heard.set)
    assert heard.is_set()


@over(LASTING)
async def test_an_id_stays_taken(open_store: OpenStore) -> None:
    before = open_store()
    await kept(before, "str_1")
    await before.aclose()
    after = open_store()
    with pytest.raises(StreamExistsError):
        await after.create("str_1")
    assert await events_of(after, "str_1") == a_stream("a")


@pytest.mark.parametrize("moments", range(4))
@over(LASTING)
async def test_what_is_appended_while_the_store_closes_is_kept_whole_or_not_at_all(
    open_store: OpenStore, moments: int
) -> None:
    events = a_stream(*"abcdef")
    before = open_store()
    epoch = await before.create("str_1")
    appending = asyncio.ensure_future(before.append("str_1", events, epoch=epoch))
    await turns(moments)
    await before.aclose()
    await asyncio.wait([appending])
    log = await open_store().open("str_1")
    kept_events = [event for event in log.events if event in events]
    assert kept_events == (events if appending.exception() is None else [])


# Several processes


@over(SHARED)
async def test_a_reader_in_another_process_follows_to_the_end(open_store: OpenStore) -> None:
    events = RandomStream(3, snapshots=True).events
    writer, reader = open_store(), open_store()
    epoch = await writer.create("str_1")
    await writer.append("str_1", events[:2], epoch=epoch)
    log = await reader.open("str_1", at_least=1)
    assert log.last_seq >= 1
    reading = asyncio.ensure_future(collect(log.read()))
    for event in events[2:]:
        await writer.append("str_1", [event], epoch=epoch)
    assert await reading == events


@over(SHARED)
async def test_a_writer_in_another_process_fences_the_first(open_store: OpenStore) -> None:
    events = a_stream("a", "b")
    one, other = open_store(), open_store()
    first = await one.create("str_1")
    await one.append("str_1", events[:2], epoch=first)
    second = await other.take_over("str_1")
    with pytest.raises(StaleWriterError):
        await one.append("str_1", events[2:3], epoch=first)
    await other.append("str_1", events[2:], epoch=second)
    assert await collect((await one.open("str_1")).read()) == events


@over(SHARED)
async def test_a_cancel_reaches_the_writer_in_another_process(open_store: OpenStore) -> None:
    writer, other = open_store(), open_store()
    await writer.create("str_1")
    heard = asyncio.Event()
    await writer.watch_cancel("str_1", heard.set)
    await other.cancel("str_1")
    async with asyncio.timeout(1.5):
        await heard.wait()


@over(SHARED)
async def test_an_id_is_given_once_over_all_processes(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(3)]
    results = await asyncio.gather(*(store.create("str_1") for store in stores), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["StreamExistsError", "StreamExistsError", "int"]
    listed = [[info.stream_id for info in await store.list()] for store in stores]
    assert listed == [["str_1"]] * 3
