"""What every store of streams promises, run over each of them: one writer at a time, who may be told to stop."""

from __future__ import annotations

import asyncio

import pytest

from hub.errors import StaleWriterError
from hub.streams.base import StreamStore
from hub.testing import collect

from .conftest import events_of, kept
from .samples import a_stream, meta, text, turns
from .stream_stores import BACKENDS, Backend, OpenStore, over

# Taking over


@over()
async def test_who_takes_over_writes_on_and_the_earlier_writer_is_refused(store: StreamStore) -> None:
    events = a_stream("a", "b")
    first = await store.create("str_1")
    await store.append("str_1", events[:2], epoch=first)
    second = await store.take_over("str_1")
    assert second > first
    for refused in (events[2:3], events[1:2], [text(9)]):
        with pytest.raises(StaleWriterError) as caught:
            await store.append("str_1", refused, epoch=first)
        assert (caught.value.stream_id, caught.value.epoch) == ("str_1", first)
    await store.append("str_1", events[2:], epoch=second)
    assert await events_of(store, "str_1") == events


@over()
async def test_each_takeover_fences_all_before_it(store: StreamStore) -> None:
    epochs = [await store.create("str_1")]
    epochs += [await store.take_over("str_1") for _ in range(3)]
    assert epochs == sorted(set(epochs))
    for epoch in epochs[:-1]:
        with pytest.raises(StaleWriterError):
            await store.append("str_1", [meta(0)], epoch=epoch)
    await store.append("str_1", [meta(0)], epoch=epochs[-1])


@over()
async def test_those_who_take_over_at_once_have_each_its_own_epoch(store: StreamStore) -> None:
    await store.create("str_1")
    epochs = await asyncio.gather(*(store.take_over("str_1") for _ in range(5)))
    assert len(set(epochs)) == 5
    await store.append("str_1", [meta(0)], epoch=max(epochs))


@over()
async def test_readers_go_on_when_the_writer_changes(store: StreamStore) -> None:
    events = a_stream("a", "b")
    first = await store.create("str_1")
    reading = asyncio.ensure_future(collect((await store.open("str_1")).read()))
    await store.append("str_1", events[:2], epoch=first)
    second = await store.take_over("str_1")
    await store.append("str_1", events[2:], epoch=second)
    assert await reading == events


@pytest.mark.parametrize("moments", range(4))
@over()
async def test_an_append_under_way_when_another_takes_over_is_kept_before_that_or_refused(
    store: StreamStore, moments: int
) -> None:
    events = a_stream(*"abcd")
    first = await store.create("str_1")
    appending = asyncio.ensure_future(store.append("str_1", events[:3], epoch=first))
    await turns(moments)
    second = await store.take_over("str_1")
    log = await store.open("str_1")
    had = list(log.events)
    assert had in ([], events[:3])
    await asyncio.wait([appending])
    assert log.events == had
    assert isinstance(appending.exception(), StaleWriterError if not had else type(None))
    await store.append("str_1", events, epoch=second)
    assert log.events == events


@pytest.mark.parametrize("moments", range(4))
@over()
async def test_nothing_of_the_earlier_writer_is_added_once_another_has_taken_over(
    store: StreamStore, moments: int
) -> None:
    events = a_stream(*"abcd")
    first = await store.create("str_1")
    log = await store.open("str_1")
    taking = asyncio.ensure_future(store.take_over("str_1"))
    await turns(moments)
    appending = asyncio.ensure_future(store.append("str_1", events[:3], epoch=first))
    second = await taking
    had = list(log.events)
    await asyncio.wait([appending])
    assert log.events == had
    await store.append("str_1", events, epoch=second)
    assert await events_of(store, "str_1") == events


@over()
async def test_an_ended_stream_can_be_taken_over_and_stays_as_it_is(store: StreamStore) -> None:
    first = await kept(store, "str_1")
    second = await store.take_over("str_1")
    with pytest.raises(StaleWriterError):
        await store.append("str_1", [text(4)], epoch=first)
    await store.append("str_1", [text(4)], epoch=second)
    assert await events_of(store, "str_1") == a_stream("a")


@over()
async def test_whoever_takes_over_knows_what_the_earlier_attempt_was_asked(
    open_store: OpenStore, backend: Backend
) -> None:
    first = open_store()
    epoch = await first.create("str_1", input_tokens=12)
    await first.append("str_1", a_stream("a", "b")[:3], epoch=epoch)
    second = open_store() if backend.is_shared else first
    await second.take_over("str_1")
    (usage,) = (await second.open("str_1")).abandoned()
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (12, 2, True)  # type: ignore[union-attr]


# Waiting for a writer


@over()
async def test_a_stream_that_was_handed_over_is_queued_until_a_worker_takes_it(store: StreamStore) -> None:
    await store.create("str_1")
    assert await _told(store) == {"running"}
    await store.hand_over("str_1")
    assert await _told(store) == {"queued"}
    epoch = await store.take_over("str_1")
    assert await _told(store) == {"running"}
    await store.append("str_1", a_stream("a"), epoch=epoch)
    assert await _told(store) == {"completed"}


@over([backend for backend in BACKENDS if backend.is_shared])
async def test_every_process_says_that_a_stream_is_queued_and_when_it_runs(open_store: OpenStore) -> None:
    web, other, worker = (open_store() for _ in range(3))
    await web.create("str_1")
    await web.hand_over("str_1")
    for process in (web, other, worker):
        assert await _told(process) == {"queued"}
    await worker.take_over("str_1")
    assert await _told(worker) == {"running"}
    for process in (web, other):  # by their next look, since nothing is said yet
        while (await process.open("str_1")).status == "queued":  # noqa: ASYNC110 - a status wakes nobody
            await asyncio.sleep(0.01)
        assert await _told(process) == {"running"}


@over()
async def test_a_stream_that_somebody_has_taken_over_is_not_queued_again(store: StreamStore) -> None:
    await store.create("str_1")
    await store.take_over("str_1")
    await store.hand_over("str_1")
    assert await _told(store) == {"running"}


@over()
async def test_a_stream_in_which_something_was_said_is_not_queued(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    await store.append("str_1", a_stream("a")[:2], epoch=epoch)
    await store.hand_over("str_1")
    assert await _told(store) == {"running"}


@over()
async def test_a_queued_stream_that_ends_without_a_worker_has_that_end(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    await store.hand_over("str_1")
    stream = await store.open("str_1")
    await store.append("str_1", stream.ending("cancelled"), epoch=epoch)
    assert await _told(store) == {"cancelled"}


async def _told(store: StreamStore) -> set[str]:
    """Whatever the store says of the one stream's status."""
    stream = await store.open("str_1")
    return {stream.status, stream.result().status, *(info.status for info in await store.list())}


# Cancelling


class Stop:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.calls = 0
        self.called = asyncio.Event()

    def __call__(self) -> None:
        self.calls += 1
        self.called.set()


@over()
async def test_a_writer_hears_that_it_is_to_stop(store: StreamStore) -> None:
    await store.create("str_1")
    await store.create("str_2")
    stop, other = Stop(), Stop()
    await store.watch_cancel("str_1", stop)
    await store.watch_cancel("str_2", other)
    await store.cancel("str_1")
    await stop.called.wait()
    assert other.calls == 0


@over()
async def test_a_writer_that_comes_after_the_cancel_hears_of_it_at_once(store: StreamStore) -> None:
    await store.create("str_1")
    await store.cancel("str_1")
    stop = Stop()
    await store.watch_cancel("str_1", stop)
    assert stop.calls >= 1


@over()
async def test_all_who_watch_hear_of_it_and_a_second_cancel_does_no_harm(store: StreamStore) -> None:
    await store.create("str_1")
    stops = [Stop(), Stop()]
    for stop in stops:
        await store.watch_cancel("str_1", stop)
    await store.cancel("str_1")
    await store.cancel("str_1")
    for stop in stops:
        await stop.called.wait()


@over()
async def test_who_has_ceased_to_watch_hears_nothing(store: StreamStore) -> None:
    await store.create("str_1")
    ceased, stop = Stop(), Stop()
    unwatch = await store.watch_cancel("str_1", ceased)
    await store.watch_cancel("str_1", stop)
    unwatch()
    unwatch()
    await store.cancel("str_1")
    await stop.called.wait()
    assert ceased.calls == 0


@over()
async def test_an_ended_stream_can_t_be_cancelled(store: StreamStore) -> None:
    epoch = await store.create("str_1")
    await store.cancel("str_1")
    await store.append("str_1", a_stream("a"), epoch=epoch)
    await store.cancel("str_1")
    stop = Stop()
    await store.watch_cancel("str_1", stop)
    await turns()
    assert stop.calls == 0
    assert await events_of(store, "str_1") == a_stream("a")


@over()
async def test_a_cancel_leaves_the_writing_to_the_writer(store: StreamStore) -> None:
    events = a_stream("a")
    epoch = await store.create("str_1")
    await store.append("str_1", events[:2], epoch=epoch)
    await store.cancel("str_1")
    await store.append("str_1", events[2:], epoch=epoch)
    assert await events_of(store, "str_1") == events
