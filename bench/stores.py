"""What an event costs the process that writes it into each store of streams, and the one that follows it."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

from bench.children import Child, resident_bytes
from bench.hub_processes import Valkey, valkey
from bench.report import Row, Table
from bench.words import WORDS
from hub.events import LLMEvent, Meta, TextDelta, encode_event, new_stream_id
from hub.redis_io.connection import connect
from hub.streams.base import StreamStore
from hub.streams.memory import MemoryStreamStore
from hub.streams.opening import open_stream_store
from hub.streams.redis import RedisStreamStore
from hub.streams.sqlite import SqliteStreamStore

__all__ = ("run",)

MANY = 1_000

SHAPES = {"alone": 1, "fives": 5, "fifties": 50, "many": MANY}
APPENDS = {
    "alone": "CPU, µs an event: one by one",
    "fives": "in fives",
    "fifties": "in fifties",
    "many": f"one each of {MANY:,} streams",
    "wall": "one by one, µs by the clock",
}
FOLLOWS = {key: APPENDS[key] for key in SHAPES}
FOLLOWERS = {"store": "`RedisStreamStore`, a log with its frames", "by-hand": "redis-py's pub/sub by hand, decoded"}
WEIGHTS = {"store": "bytes an event in the store", "memory": "in the process that writes it"}

Batches: TypeAlias = Sequence[tuple[str, list[LLMEvent]]]


@dataclass(frozen=True, slots=True)
class Writer:
    """One that takes part.

    Attributes:
        create: Makes a stream.
        append: Adds to one, and returns once the events are there.
        append_all: Adds to many streams at once.
    """

    create: Callable[[str], Awaitable[object]]
    append: Callable[[str, Sequence[LLMEvent]], Awaitable[object]]
    append_all: Callable[[Batches], Awaitable[object]]


def run(quick: bool) -> Iterator[Table]:
    """Appends to each store, the same by hand, what a follower pays, and what it all weighs."""
    count, rounds = (1_000, 2) if quick else (5_000, 7)
    with valkey() as server:
        yield asyncio.run(_appends(server.url, count, rounds))
        yield _follows(server, count, rounds)
        yield _weights(server, 20 if quick else 200)


# Appending


async def _appends(url: str, count: int, rounds: int) -> Table:
    async with _writers(url) as writers:
        streams = [new_stream_id() for _ in range(MANY)]
        at = dict.fromkeys(streams, 0)
        rows = {name: Row(name) for name in writers}
        for many in (False, True):
            for writer in writers.values():
                await _begin(writer, streams[1:] if many else streams[:1])
            for _ in range(rounds):
                for shape, size in SHAPES.items():
                    if (shape == "many") is many:
                        batches = _batches(streams, at, shape, size, count)
                        for name, writer in writers.items():
                            cpu, wall = await _cost(writer, batches, at_once=many)
                            rows[name].add(**{shape: cpu, **({"wall": wall} if shape == "alone" else {})})
    note = (
        "By hand: each event by an `XADD` and a `PUBLISH`, awaited one after the other; or both in a pipeline of "
        "redis-py's, with everything that is there at once. Neither refuses a second writer or knows a repeat."
    )
    title = "An event into a store: the processor time of the process that writes it"
    return Table(title, APPENDS, list(rows.values()), [note], has_ratios=False)


@asynccontextmanager
async def _writers(url: str) -> AsyncIterator[dict[str, Writer]]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stores: dict[str, StreamStore] = {
            "Redis": RedisStreamStore.from_url(url),
            "SQLite": SqliteStreamStore(Path(folder) / "streams.db"),
            "memory": MemoryStreamStore(),
        }
        for store in stores.values():
            stack.push_async_callback(store.aclose)
            await store.start()
        redis = connect(url)
        stack.push_async_callback(redis.aclose)
        yield {name: _storing(store) for name, store in stores.items()} | {
            "Redis by hand, `XADD` and `PUBLISH`": _one_by_one(redis),
            "Redis by hand, in a pipeline": _in_a_pipeline(redis),
        }


def _storing(store: StreamStore) -> Writer:
    async def append(stream_id: str, events: Sequence[LLMEvent]) -> None:
        await store.append(stream_id, events, epoch=1)

    return Writer(store.create, append, lambda batches: _gather(append, batches))


def _one_by_one(redis: Any) -> Writer:
    async def append(stream_id: str, events: Sequence[LLMEvent]) -> None:
        for event in events:
            data = encode_event(event)
            await redis.xadd(f"by-hand:{stream_id}", {"event": data})
            await redis.publish(f"by-hand:{stream_id}:events", data)

    return Writer(_nothing, append, lambda batches: _gather(append, batches))


def _in_a_pipeline(redis: Any) -> Writer:
    async def append_all(batches: Batches) -> None:
        async with redis.pipeline(transaction=False) as pipeline:
            for stream_id, events in batches:
                for event in events:
                    data = encode_event(event)
                    pipeline.xadd(f"in-one:{stream_id}", {"event": data})
                    pipeline.publish(f"in-one:{stream_id}:events", data)
            await pipeline.execute()

    return Writer(_nothing, lambda stream_id, events: append_all([(stream_id, list(events))]), append_all)


async def _nothing(stream_id: str) -> None:
    """By hand, the first event makes the stream."""


async def _gather(append: Callable[[str, Sequence[LLMEvent]], Awaitable[object]], batches: Batches) -> None:
    await asyncio.gather(*(append(*batch) for batch in batches))


async def _begin(writer: Writer, streams: Sequence[str]) -> None:
    for stream_id in streams:
        await writer.create(stream_id)
    await writer.append_all([(stream_id, [Meta(stream_id=stream_id, seq=0)]) for stream_id in streams])


def _batches(streams: Sequence[str], at: dict[str, int], shape: str, size: int, count: int) -> Batches:
    """What is appended: bursts of the first stream, or an event to each of all of them, some times over."""

    def batch(stream_id: str, number: int) -> tuple[str, list[LLMEvent]]:
        first = at[stream_id] + 1
        at[stream_id] += number
        texts = [WORDS[(first + index) % len(WORDS)] for index in range(number)]
        return stream_id, [TextDelta(stream_id=stream_id, seq=first + n, text=text) for n, text in enumerate(texts)]

    if shape == "many":
        return [batch(stream_id, 1) for _ in range(max(1, count // MANY)) for stream_id in streams]
    return [batch(streams[0], size) for _ in range(count // size)]


async def _cost(writer: Writer, batches: Batches, *, at_once: bool) -> tuple[float, float]:
    """Microseconds an event: of the processor, in all threads, and by the clock."""
    events = sum(len(batch) for _, batch in batches)
    gc.collect()
    cpu, began_at = time.process_time(), time.perf_counter()
    if at_once:
        for begin in range(0, len(batches), MANY):
            await writer.append_all(batches[begin : begin + MANY])
    else:
        for stream_id, batch in batches:
            await writer.append(stream_id, batch)
    wall = time.perf_counter() - began_at
    return (time.process_time() - cpu) / events * 1e6, wall / events * 1e6


# Following


def _follows(server: Valkey, count: int, rounds: int) -> Table:
    rows = {kind: Row(shown) for kind, shown in FOLLOWERS.items()}
    for kind, row in rows.items():
        with Child("bench.follower", kind, server.url) as follower:
            asyncio.run(_follow(row, follower, server.url, count, rounds))
    note = "The follower is a process of its own; what it follows is appended as fast as the store takes it."
    title = "The same event in a process that follows the stream: the processor time of that one"
    return Table(title, FOLLOWS, list(rows.values()), [note])


async def _follow(row: Row, follower: Child, url: str, count: int, rounds: int) -> None:
    async with AsyncExitStack() as stack:
        store = RedisStreamStore.from_url(url)
        stack.push_async_callback(store.aclose)
        streams = [new_stream_id() for _ in range(MANY)]
        at = dict.fromkeys(streams, 0)
        writer = _storing(store)
        await _begin(writer, streams)
        for many in (False, True):
            # Those that were followed before stay so; nothing comes to them meanwhile.
            await asyncio.to_thread(follower.ask, "subscribe", streams=streams if many else streams[:1])
            for _ in range(rounds):
                for shape, size in SHAPES.items():
                    if (shape == "many") is many:
                        batches = _batches(streams, at, shape, size, count)
                        events = sum(len(batch) for _, batch in batches)
                        await asyncio.to_thread(follower.ask, "begin", events=events // (MANY if many else 1))
                        await _cost(writer, batches, at_once=many)
                        used = await asyncio.to_thread(follower.ask, "end")
                        row.add(**{shape: used["cpu"] / events * 1e6})


# Keeping


def _weights(server: Valkey, streams: int, events: int = 500) -> Table:
    """Streams of that length, event by event, each store in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "streams.db"
        urls: dict[str, tuple[str, Callable[[], int]]] = {
            "Redis": (server.url, server.memory),
            "SQLite": (f"sqlite:///{path}", lambda: path.stat().st_size if path.exists() else 0),
            "memory": ("memory", lambda: 0),
        }
        for name, (url, weight) in urls.items():
            before = weight()
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                json_bytes, resident = process.submit(_fill, url, streams, events).result()
            rows.append(Row(name))
            rows[-1].add(store=(weight() - before) / streams / events, memory=resident / streams / events)
    note = f"{streams} streams of {events} events of {json_bytes:.0f} bytes of JSON, appended one by one, all running."
    return Table("What an event weighs", WEIGHTS, rows, [note], has_ratios=False)


def _fill(url: str, streams: int, events: int) -> tuple[float, int]:
    """In a child: how many bytes of JSON an event has, and what the process has grown by."""
    return asyncio.run(_filled(open_stream_store(url), streams, events))


async def _filled(store: StreamStore, streams: int, events: int) -> tuple[float, int]:
    await store.start()
    before = resident_bytes()
    ids = [new_stream_id() for _ in range(streams)]
    for stream_id in ids:
        await store.create(stream_id)

    async def fill(stream_id: str) -> None:
        await store.append(stream_id, [Meta(stream_id=stream_id, seq=0)], epoch=1)
        for seq in range(1, events):
            word = TextDelta(stream_id=stream_id, seq=seq, text=WORDS[seq % len(WORDS)])
            await store.append(stream_id, [word], epoch=1)

    await asyncio.gather(*map(fill, ids))
    grown = resident_bytes() - before
    log = await store.open(ids[0])
    await store.aclose()
    return sum(len(encode_event(event)) for event in log.events) / events, grown
