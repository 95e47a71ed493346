"""A process that reads a Redis channel: `python -m bench.sinks.reader subscribe|subscribe-log|listen CHANNEL URL`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.children import Usage, obey_async
from bench.words import WORDS
from sinks.redis import subscribe

__all__: tuple[str, ...] = ()

PATIENCE = 60.0


async def _ours(events: Any) -> AsyncIterator[tuple[int, str]]:
    async for event in events:
        yield event.seq, event.text if event.type == "text_delta" else ""


async def _by_hand(pubsub: Any) -> AsyncIterator[tuple[int, str]]:
    async for message in pubsub.listen():
        if message["type"] == "message":
            event = json.loads(message["data"])
            yield event["seq"], event["text"] if event["type"] == "text_delta" else ""


@asynccontextmanager
async def _opened(kind: str, channel: str, url: str) -> AsyncIterator[AsyncIterator[tuple[int, str]]]:
    if kind != "listen":
        async with subscribe(channel, url=url, replay=kind == "subscribe-log") as events:
            yield _ours(events)
        return
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(channel)
        while (await pubsub.get_message(timeout=5)) is None:
            pass
        yield _by_hand(pubsub)


async def _read(texts: AsyncIterator[tuple[int, str]], last_seq: int) -> None:
    """Up to that position, each event once and in order."""
    async for seq, text in texts:
        if seq and text != WORDS[seq % len(WORDS)]:
            raise RuntimeError(f"event {seq} has the wrong text")
        if seq >= last_seq:
            return


async def main(kind: str, channel: str, url: str) -> None:
    """Read as told."""
    reading: asyncio.Task[None] | None = None
    usage = Usage()
    async with _opened(kind, channel, url) as texts:

        async def carry_out(command: dict[str, Any]) -> dict[str, Any]:
            nonlocal reading, usage
            if command["command"] == "begin":
                usage = Usage()
                reading = asyncio.create_task(_read(texts, command["last_seq"]))
                return {}
            assert reading is not None
            async with asyncio.timeout(PATIENCE):
                await reading
            return usage.so_far()

        await obey_async({}, carry_out)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
