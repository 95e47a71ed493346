"""A process that follows streams others write: `python -m bench.follower store|by-hand REDIS_URL`.

`store` is the hub's copy of each log, ready for subscribers; `by-hand` subscribes with redis-py and decodes each event.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from bench.children import Usage, obey_async
from hub.events import decode_event
from hub.streams.log import StreamLog
from hub.streams.redis import RedisStreamStore

__all__: tuple[str, ...] = ()


class Store:
    """Follows by the store."""

    def __init__(self, store: RedisStreamStore) -> None:
        self._store = store
        self._logs: list[StreamLog] = []

    async def subscribe(self, streams: list[str]) -> None:
        """Follow these."""
        self._logs = [await self._store.open(stream_id) for stream_id in streams]

    async def read(self, events: int) -> None:
        """Return once each stream has so many events more."""
        ends = [len(log.events) + events for log in self._logs]
        for log, end in zip(self._logs, ends, strict=True):
            while len(log.events) < end:
                await log.wait(len(log.events))


class ByHand:
    """Follows by pub/sub, as the channel's readers do that have no hub."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        self._streams = 0

    async def subscribe(self, streams: list[str]) -> None:
        """Follow these."""
        await self._pubsub.subscribe(*(f"hub:{{{stream_id}}}:events" for stream_id in streams))
        self._streams = len(streams)
        for _ in streams:
            while (await self._pubsub.get_message(timeout=5)) is None:
                pass

    async def read(self, events: int) -> None:
        """Return once all streams together have so many events more each."""
        missing = events * self._streams
        async for message in self._pubsub.listen():
            if message["type"] == "message":
                decode_event(message["data"])
                missing -= 1
                if not missing:
                    return


async def main(kind: str, url: str) -> None:
    """Follow as told; `begun` is answered before anything is read."""
    async with AsyncExitStack() as stack:
        follower: Store | ByHand
        if kind == "store":
            store = RedisStreamStore.from_url(url)
            stack.push_async_callback(store.aclose)
            follower = Store(store)
        else:
            redis = await stack.enter_async_context(Redis.from_url(url, protocol=2))
            follower = ByHand(await stack.enter_async_context(redis.pubsub()))
        reading: asyncio.Task[None] | None = None
        usage = Usage()

        async def carry_out(command: dict[str, Any]) -> dict[str, Any]:
            nonlocal reading, usage
            match command["command"]:
                case "subscribe":
                    await follower.subscribe(command["streams"])
                    return {}
                case "begin":
                    usage = Usage()
                    reading = asyncio.create_task(follower.read(command["events"]))
                    return {}
                case _:
                    assert reading is not None
                    async with asyncio.timeout(60):
                        await reading
                    return usage.so_far()

        await obey_async({}, carry_out)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
