"""A process that writes streams into a file until it is killed, and says what its readers were told.

A line of its output is a stream's id and a position, written after a reader has the event.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from itertools import count

from hub.events import LLMEvent
from hub.streams.sqlite import SqliteStreamStore
from tests.contracts.samples import a_stream

WRITERS = 5
MAX_PIECES = 150


def whole_stream(stream_id: str, pieces: int) -> list[LLMEvent]:
    """A stream that says so many pieces, of all sizes."""
    return a_stream(*(f" {number}" * (number % 40) for number in range(pieces)), stream_id=stream_id)


async def write(store: SqliteStreamStore, prefix: str, rand: random.Random) -> None:
    """Stream after stream, in batches of any size."""
    async with asyncio.TaskGroup() as tasks:
        for number in count():
            stream_id = f"{prefix}_{number}"
            events = whole_stream(stream_id, rand.randrange(MAX_PIECES))
            epoch = await store.create(stream_id)
            tasks.create_task(tell(store, stream_id))
            while events:
                size = rand.choice((1, 1, 2, 9))
                await store.append(stream_id, events[:size], epoch=epoch)
                del events[:size]


async def tell(store: SqliteStreamStore, stream_id: str) -> None:
    async for event in (await store.open(stream_id)).read():
        os.write(1, f"{stream_id} {event.seq}\n".encode())


async def main(path: str, name: str) -> None:
    store = SqliteStreamStore(path)
    async with asyncio.TaskGroup() as tasks:
        for number in range(WRITERS):
            tasks.create_task(write(store, f"str_{name}_{number}", random.Random(f"{name} {number}")))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
