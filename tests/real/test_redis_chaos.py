"""Streams that change writers and readers that change processes, while a server is disturbed at random."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import aclosing, suppress

import msgspec
import pytest

from hub.completion import fold
from hub.errors import PositionError, StaleWriterError, StreamNotFoundError
from hub.events import LLMEvent
from hub.streams.base import StreamStore
from hub.streams.log import StreamLog
from hub.streams.takeover import takeover
from tests.contracts.samples import a_stream, meta, text
from tests.real.redis_server import RedisServer, redis_binaries
from tests.real.redis_streams_support import opening, the_server

pytestmark = pytest.mark.skipif(not redis_binaries(), reason="no server of the Redis protocol is installed")

ROUNDS = int(os.environ.get("HUB_CHAOS_ROUNDS", "4"))
STREAMS, READERS, STORES, BATCHES = 8, 3, 4, 120
DISTURBANCES = ("kill pub/sub", "kill all", "forget scripts", "empty", "hold still", "crash")


@pytest.mark.parametrize("binary", redis_binaries().values(), ids=redis_binaries())
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_every_reader_has_every_event_once_in_order_and_no_stream_has_two_writers_events(
    binary: str, seed: int
) -> None:
    rand = random.Random(seed)
    with RedisServer(binary) as server:
        async with opening(server.url) as open_store:
            stores = [open_store() for _ in range(STORES)]
            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                for n in range(STREAMS):
                    tasks.create_task(write(stores, f"str_{n}", random.Random(f"{seed} {n}")))
                reading = {
                    (n, k): tasks.create_task(read(stores, f"str_{n}", random.Random(f"{seed} {n} {k}")))
                    for n in range(STREAMS)
                    for k in range(READERS)
                }
                for _ in range(rand.randrange(1, 5)):
                    await asyncio.sleep(rand.uniform(0.05, 0.5))
                    await disturb(server, rand)
    for n in range(STREAMS):
        results = [fold(reading[n, k].result()) for k in range(READERS)]
        assert {result.status for result in results} == {"completed"}
        assert len({result.text for result in results}) == 1
        assert "stale" not in results[0].text


async def write(stores: Sequence[StreamStore], stream_id: str, rand: random.Random) -> None:
    """A whole stream, written by one store and then another; the one that was replaced may add nothing."""
    writer = rand.choice(stores)
    epoch = await writer.create(stream_id)
    events: list[LLMEvent] = [msgspec.structs.replace(meta(0), stream_id=stream_id)]
    await writer.append(stream_id, events, epoch=epoch)
    seq = 1
    for number in range(BATCHES):
        if rand.random() < 0.02:
            earlier, earlier_epoch = writer, epoch
            writer = rand.choice([store for store in stores if store is not earlier])
            epoch = await patiently(writer, stream_id)
            stale = msgspec.structs.replace(text(seq, "stale"), stream_id=stream_id)
            # A server that was just emptied lets it pass; the snapshot of the one that took over voids it.
            with suppress(StaleWriterError, StreamNotFoundError):
                await earlier.append(stream_id, [stale], epoch=earlier_epoch)
            snapshot = takeover(await writer.open(stream_id))
            assert snapshot is not None
            await writer.append(stream_id, [snapshot], epoch=epoch)
            seq = snapshot.seq + 1
        events = [
            msgspec.structs.replace(text(seq + n, f" {number}.{n}"), stream_id=stream_id)
            for n in range(rand.randrange(1, 5))
        ]
        await writer.append(stream_id, events, epoch=epoch)
        seq += len(events)
        await asyncio.sleep(rand.choice((0, 0.002, 0.01)))
    end = a_stream("", stream_id=stream_id)[-2:]
    events = [msgspec.structs.replace(event, seq=seq + n) for n, event in enumerate(end)]
    await writer.append(stream_id, events, epoch=epoch)


async def patiently(store: StreamStore, stream_id: str) -> int:
    """Take a stream over, as soon as its writer has written it again into a server that was emptied."""
    while True:
        try:
            return await store.take_over(stream_id)
        except StreamNotFoundError:
            await asyncio.sleep(0.02)


async def read(stores: Sequence[StreamStore], stream_id: str, rand: random.Random) -> list[LLMEvent]:
    """A stream's events, each once and in order, by a reader that goes on with another process now and then."""
    received: list[LLMEvent] = []
    after = -1
    while True:
        rest = rand.randrange(1, 60) if rand.random() < 0.7 else None
        try:
            log: StreamLog = await rand.choice(stores).open(stream_id, at_least=after)
            async with aclosing(log.read(after=after)) as events:
                async for event in events:
                    assert event.seq - event.span == after
                    received.append(event)
                    after = event.seq
                    if event.type == "done":
                        return received
                    if rest is not None and (rest := rest - 1) == 0:
                        break
        except (StreamNotFoundError, PositionError):
            await asyncio.sleep(0.02)  # a server that was emptied gets it again


async def disturb(server: RedisServer, rand: random.Random) -> None:
    kind = rand.choice(DISTURBANCES)
    if kind == "hold still":
        with server.held_still():
            await asyncio.sleep(rand.uniform(0.1, 2.5))
        return
    if kind == "crash":
        await asyncio.to_thread(server.crash)
        await asyncio.sleep(rand.uniform(0.0, 0.5))
        await asyncio.to_thread(server.start)
        return
    async with the_server(server.url) as redis:
        match kind:
            case "empty":
                await redis.flushall()
            case "forget scripts":
                await redis.script_flush()
            case _:
                for each in ("pubsub", "normal") if kind == "kill all" else ("pubsub",):
                    await redis.execute_command("CLIENT", "KILL", "TYPE", each, "SKIPME", "yes")
