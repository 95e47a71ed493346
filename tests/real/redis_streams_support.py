"""Stores of streams over real servers: opened, written to, read from, and what a server is told behind their back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from redis.asyncio import Redis

from hub.events import LLMEvent
from hub.streams.base import StreamStore
from hub.streams.redis import RedisStreamStore
from hub.testing import collect
from tests.contracts.samples import a_stream

__all__ = ("STREAMS", "OpenStore", "exactly_once", "long_stream", "opening", "read", "the_server", "within", "write")

STREAMS = 10

OpenStore: TypeAlias = Callable[..., RedisStreamStore]


@asynccontextmanager
async def opening(url: str) -> AsyncIterator[OpenStore]:
    """What opens stores at that URL, each as another process would; all are closed in the end, and nothing is left.

    Who comes while the server is away waits for it, as long as those do who were there before.
    """
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:

        def open_it(**options: Any) -> RedisStreamStore:
            store = RedisStreamStore.from_url(url, **{"timeout": 1.0, "answer_timeout": 30.0, **options})
            stack.push_async_callback(store.aclose)
            return store

        yield open_it
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left


@asynccontextmanager
async def the_server(url: str) -> AsyncIterator[Any]:
    """A client of the driver's, for what a store would not do."""
    async with Redis.from_url(url, decode_responses=True) as redis:
        yield redis


def long_stream(stream_id: str, count: int) -> list[LLMEvent]:
    """A whole stream with so many pieces of text."""
    return a_stream(*(f" {n}" for n in range(count)), stream_id=stream_id)


async def write(
    store: StreamStore, stream_id: str, events: Sequence[LLMEvent], *, epoch: int = 1, pace: float = 0.0, seed: int = 0
) -> None:
    """Append the events in batches of one to five, with `pace` seconds between them."""
    rand = random.Random(seed)
    index = 0
    while index < len(events):
        size = rand.randrange(1, 6)
        await store.append(stream_id, events[index : index + size], epoch=epoch)
        index += size
        await asyncio.sleep(pace)


async def read(store: StreamStore, stream_id: str, *, after: int = -1) -> list[LLMEvent]:
    """All events of a stream behind a position, through `done`."""
    return await collect((await store.open(stream_id, at_least=after)).read(after=after))


async def exactly_once(
    open_store: OpenStore, disturb: Callable[[], Awaitable[Any]], *, count: int = 400, pace: float = 0.005
) -> None:
    """Streams are written in one process and followed in two others while something happens: nobody notices."""
    writer, *followers = open_store(), open_store(), open_store()
    streams = {f"str_{n}": long_stream(f"str_{n}", count) for n in range(STREAMS)}
    for stream_id in streams:
        await writer.create(stream_id)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        reading = {
            (stream_id, n): tasks.create_task(read(follower, stream_id))
            for stream_id in streams
            for n, follower in enumerate((writer, *followers))
        }
        for number, (stream_id, events) in enumerate(streams.items()):
            tasks.create_task(write(writer, stream_id, events, pace=pace, seed=number))
        await (await writer.open("str_0")).wait(20)
        await disturb()
    for (stream_id, _), task in reading.items():
        assert task.result() == streams[stream_id]
    late = open_store()
    for stream_id, events in streams.items():
        assert await read(late, stream_id) == events


async def within(seconds: float, condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once the condition holds; fails where that takes longer."""
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.005)
