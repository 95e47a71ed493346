"""Writing a generation into its log: by one writer, by the next one, and by one that is no longer the writer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import ConfigurationError, HubBusyError, StaleWriterError, StoreError, StreamExistsError
from hub.events import Done, LLMEvent, Meta, Snapshot, Usage
from hub.hub import Hub
from hub.recording import continued, end, record, take_up
from hub.result import Failure
from hub.streams.memory import MemoryStreamStore
from hub.streams.takeover import takeover
from hub.testing import check_grammar, collect
from tests.contracts.generations import HELLO, WORDS, Scripted, Scripts, one_by_one, whole
from tests.contracts.samples import a_stream, in_standing_time, meta, text, usage


async def begun(store: MemoryStreamStore, *events: Any) -> Any:
    """A stream in which a writer has said something before it died."""
    epoch = await store.create("str_1", model="model-x")
    await store.append("str_1", list(events), epoch=epoch)
    return await store.open("str_1")


@in_standing_time
async def test_another_writer_goes_on_with_a_further_attempt_that_voids_what_was_said() -> None:
    store = MemoryStreamStore()
    stream = await begun(store, meta(0), text(1, "Hel"), text(2, "lo"))
    epoch = await store.take_over("str_1")
    await take_up(stream, store, epoch)
    await record(continued(Scripted("str_1", one_by_one(a_stream("Good", " day"))), stream), stream, store, epoch)

    events = await collect(stream.read())
    check_grammar(events)
    assert [event.type for event in events[3:6]] == ["snapshot", "usage", "meta"]
    dead, alive = (event for event in events if isinstance(event, Usage))
    assert (dead.attempt, dead.estimated, dead.output_tokens) == (1, True, 2)
    assert (alive.attempt, alive.estimated) == (2, False)
    result = fold(events)
    assert (result.text, result.attempt, result.status) == ("Good day", 2, "completed")
    assert result.usage is not None
    assert result.usage.total_tokens == dead.total_tokens + alive.total_tokens


@in_standing_time
async def test_readers_whose_positions_a_crash_took_back_get_the_snapshot() -> None:
    store = MemoryStreamStore()
    stream = await begun(store, meta(0), text(1))
    await take_up(stream, store, await store.take_over("str_1"))
    for after in (40, 65_000):  # seen by readers, then lost
        position = stream.begin(after)
        assert position.snapshot is not None
        assert position.snapshot.span == position.snapshot.seq - after
        assert position.snapshot.result.text == "a"


@in_standing_time
async def test_a_take_over_of_a_stream_without_a_word_or_of_an_ended_one_says_nothing() -> None:
    store = MemoryStreamStore()
    stream = await begun(store)
    assert takeover(stream) is None
    await take_up(stream, store, 1)
    generation = Scripted("str_1", [WORDS])
    assert continued(generation, stream) is generation
    await record(generation, stream, store, 1)
    assert takeover(stream) is None
    assert stream.events == WORDS


@in_standing_time
async def test_usage_that_was_told_is_not_estimated_once_more() -> None:
    store = MemoryStreamStore()
    stream = await begun(store, meta(0), text(1), usage(2))
    await take_up(stream, store, await store.take_over("str_1"))
    assert isinstance(stream.events[-1], Snapshot)


@in_standing_time
async def test_a_writer_that_was_replaced_stops_and_leaves_the_log_to_the_other() -> None:
    store = MemoryStreamStore()
    epoch = await store.create("str_1")
    stream = await store.open("str_1")
    go_on = asyncio.Event()
    slow = Scripted("str_1", [WORDS[:2], go_on, WORDS[2:]])
    writing = asyncio.create_task(record(slow, stream, store, epoch))
    await stream.wait(1)
    newer = await store.take_over("str_1")
    go_on.set()
    await writing
    assert slow.closed
    assert stream.events == WORDS[:2]
    await end(stream, store, newer, failure=Failure(code="worker_lost", message="Its worker was lost."))
    assert fold(stream.events).status == "failed"


@in_standing_time
async def test_who_ends_a_stream_that_is_another_s_changes_nothing() -> None:
    store = MemoryStreamStore()
    stream = await begun(store, meta(0))
    await store.take_over("str_1")
    await end(stream, store, 1, status="cancelled")
    assert stream.events == [meta(0)]


@in_standing_time
async def test_what_is_told_to_the_store_stops_the_generation() -> None:
    store = MemoryStreamStore()
    epoch = await store.create("str_1")
    stream = await store.open("str_1")
    writing = asyncio.create_task(record(Scripted("str_1", [WORDS[:2], asyncio.Event()]), stream, store, epoch))
    await stream.wait(1)
    await store.cancel("str_1")
    await writing
    assert fold(stream.events).status == "cancelled"


class Workers:
    """A workforce that keeps what it is given."""

    running = 3

    def __init__(self) -> None:
        self.announced: set[str] = set()
        self.submitted: list[tuple[str, Mapping[str, Any]]] = []
        self.fails: Exception | None = None
        self.drained: list[float] = []

    async def announce(self, stream_id: str, arguments: Mapping[str, Any]) -> None:
        if isinstance(self.fails, HubBusyError):
            raise self.fails
        self.announced.add(stream_id)

    async def submit(self, stream_id: str, arguments: Mapping[str, Any], *, created_at: float | None = None) -> None:
        if self.fails is not None:
            raise self.fails
        self.submitted.append((stream_id, arguments))

    async def forget(self, stream_id: str, *, created_at: float | None = None) -> None:
        self.announced.discard(stream_id)

    async def drain(self, timeout: float) -> None:
        self.drained.append(timeout)


@in_standing_time
async def test_a_workforce_gets_what_is_to_be_generated_and_anyone_writes_the_log() -> None:
    workers, store = Workers(), MemoryStreamStore()
    async with Hub(None, store, workforce=workers) as hub:
        info = await hub.start(messages=HELLO, stream_id="str_1", model="model-x", fingerprint="f")
        assert workers.submitted == [("str_1", {"messages": HELLO, "model": "model-x"})]
        assert (info.status, info.model, hub.running) == ("queued", "model-x", 3)
        stream = await hub.log("str_1")
        assert stream.fingerprint == "f"
        await record(Scripted("str_1", [WORDS]), stream, store, await store.take_over("str_1"))
        assert await whole(hub) == WORDS
        await hub.drain(2.0)
        assert workers.drained == [2.0]
        with pytest.raises(HubBusyError):
            await hub.start(messages=HELLO)


@in_standing_time
async def test_where_too_many_wait_no_stream_is_made() -> None:
    workers, store = Workers(), MemoryStreamStore()
    workers.fails = HubBusyError("too many wait", retry_after=5.0)
    async with Hub(None, store, workforce=workers) as hub:
        with pytest.raises(HubBusyError):
            await hub.start(messages=HELLO, stream_id="str_1")
        assert list(await hub.list()) == []


@in_standing_time
async def test_a_stream_that_no_worker_can_be_told_of_waits_for_one_that_finds_it() -> None:
    workers, store = Workers(), MemoryStreamStore()
    workers.fails = StoreError("away")
    async with Hub(None, store, workforce=workers) as hub:
        assert (await hub.start(messages=HELLO, stream_id="str_1")).status == "queued"
        assert (await hub.get("str_1")).status == "queued"
        assert workers.announced == {"str_1"}


@in_standing_time
async def test_an_announcement_stands_whoever_else_announced_the_same() -> None:
    workers, store = Workers(), MemoryStreamStore()
    async with Hub(None, store, workforce=workers) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        with pytest.raises(StreamExistsError):
            await hub.start(messages=HELLO, stream_id="str_1")
        assert (workers.announced, len(workers.submitted)) == ({"str_1"}, 1)


@in_standing_time
async def test_a_stream_that_is_cancelled_before_any_worker_has_it_ends_within_a_second() -> None:
    workers, store = Workers(), MemoryStreamStore()
    async with Hub(None, store, workforce=workers) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await hub.cancel("str_1")
        async with asyncio.timeout(1.0):
            events = await whole(hub)
        assert isinstance(events[0], Meta)
        assert isinstance(events[-1], Done)
        assert events[-1].status == "cancelled"


@in_standing_time
async def test_a_stream_that_was_handed_over_and_that_no_worker_takes_can_be_cancelled() -> None:
    workers, store = Workers(), MemoryStreamStore()
    async with Hub(None, store, workforce=workers) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        epoch = await store.take_over("str_1")
        await store.append("str_1", WORDS[:2], epoch=epoch)
        await hub.cancel("str_1")
        async with asyncio.timeout(1.1):
            events = await whole(hub)
        check_grammar(events)
        assert events[:2] == WORDS[:2]
        assert fold(events).status == "cancelled"
        with pytest.raises(StaleWriterError):
            await store.append("str_1", WORDS[2:], epoch=epoch)


@in_standing_time
async def test_a_stream_whose_end_the_store_does_not_take_ends_for_its_readers_and_stays_in_the_queue() -> None:
    class Full(MemoryStreamStore):
        async def append(self, stream_id: str, events: Sequence[LLMEvent], *, epoch: int) -> None:
            raise StoreError("no room")

    workers = Workers()
    async with Hub(None, Full(), workforce=workers) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await hub.cancel("str_1")
        assert fold(await whole(hub)).status == "cancelled"
    assert workers.announced == {"str_1"}


@in_standing_time
async def test_a_worker_that_stops_what_is_cancelled_ends_it_itself() -> None:
    workers, store = Workers(), MemoryStreamStore()
    async with Hub(None, store, workforce=workers) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        stream = await store.open("str_1")
        epoch = await store.take_over("str_1")
        generation = Scripted("str_1", [WORDS[:2], asyncio.Event()])
        writing = asyncio.create_task(record(generation, stream, store, epoch))
        await stream.wait(1)
        await hub.cancel("str_1")
        assert await writing == "ended"
        ended = list(stream.events)
        await asyncio.sleep(2)
        assert stream.events == ended
        assert fold(ended).status == "cancelled"


@in_standing_time
async def test_a_stream_of_a_process_that_is_gone_can_be_cancelled_in_a_hub_that_generates_itself() -> None:
    store = MemoryStreamStore()
    await begun(store, *WORDS[:2])
    async with Hub(Scripts(), store) as hub:
        await hub.cancel("str_1")
        async with asyncio.timeout(1.1):
            assert fold(await whole(hub)).status == "cancelled"


def test_a_hub_that_could_not_generate_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Hub(None)


class SlowStore(MemoryStreamStore):
    """Takes its time for each append."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.appended: list[tuple[float, list[LLMEvent]]] = []

    async def append(self, stream_id: str, events: Sequence[LLMEvent], *, epoch: int) -> None:
        self.appended.append((asyncio.get_running_loop().time(), list(events)))
        await asyncio.sleep(self.seconds)
        await super().append(stream_id, events, epoch=epoch)


@pytest.mark.parametrize(("seconds", "between"), [(0.0009, 0.0009), (0.002, 0.012), (0.05, 0.15)])
@in_standing_time
async def test_tokens_gather_where_appends_take_long_and_no_longer_than_they_may(
    seconds: float, between: float
) -> None:
    store = SlowStore(seconds)
    epoch = await store.create("str_1")
    stream = await store.open("str_1")
    await record(Scripted("str_1", one_by_one(WORDS)), stream, store, epoch, coalesce_delay=0.1)
    times = [at for at, _ in store.appended]
    assert [round(later - earlier, 4) for earlier, later in pairwise(times)] == [between] * (len(times) - 1)
    assert stream.events == WORDS


@pytest.mark.parametrize(("seconds", "delay", "count"), [(0.05, 0.1, 4), (0.05, 0.0, 6), (0.0009, 0.1, 6)])
@in_standing_time
async def test_what_was_read_together_becomes_one_event_only_where_appends_take_long(
    seconds: float, delay: float, count: int
) -> None:
    store = SlowStore(seconds)
    epoch = await store.create("str_1")
    stream = await store.open("str_1")
    together = [WORDS[:1], WORDS[1:4], WORDS[4:]]
    await record(Scripted("str_1", together), stream, store, epoch, coalesce_delay=delay)
    assert (len(stream.events), stream.last_seq) == (count, WORDS[-1].seq)
    check_grammar(stream.events)
    assert fold(stream.events) == fold(WORDS)
