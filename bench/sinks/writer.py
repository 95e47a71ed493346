"""A process that sends events: `python -m bench.sinks.writer CONTENDER ADDRESS` is the one under measurement."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench.children import Usage, obey_async
from bench.sinks.contenders import CONTENDERS, Put
from bench.words import WORDS
from hub.events import Done, LLMEvent, Meta, TextDelta, new_stream_id
from hub.events import Usage as UsageEvent

__all__ = ("deltas", "in_bursts")


def deltas(stream_id: str, first_seq: int, count: int) -> list[LLMEvent]:
    """So many tokens of a stream, from a position on."""
    seqs = range(first_seq, first_seq + count)
    return [TextDelta(stream_id=stream_id, seq=seq, text=WORDS[seq % len(WORDS)]) for seq in seqs]


async def in_bursts(put: Put, items: Sequence[Any], *, size: int, pause: float, drain: float) -> None:
    """Send them, so many at once, with a pause after each burst and another one at the end."""
    for first in range(0, len(items), size):
        for item in items[first : first + size]:
            await put(item)
        await asyncio.sleep(pause)
    await asyncio.sleep(drain)


async def _nothing(item: Any) -> None:
    """What the pauses cost by themselves."""


async def _at_a_pace(put: Put, items: Sequence[Any], rate: float) -> list[float]:
    """Send them as a model that gives so many a second does; returns when each was due."""
    loop = asyncio.get_running_loop()
    begin = loop.time() + 0.1
    shift = time.monotonic() - loop.time()
    due = [begin + number / rate for number in range(len(items))]
    for item, at in zip(items, due, strict=True):
        await asyncio.sleep(max(0.0, at - loop.time()))
        await put(item)
    return [at + shift for at in due]


async def main(name: str, address: str) -> None:
    """Send as told: `bursts` for its processor time, `pace` for when tokens arrive."""
    contender = CONTENDERS[name]
    stream_id = new_stream_id()
    next_seq = 1
    async with contender.open(address) as put:
        await put(contender.form(Meta(stream_id=stream_id, seq=0, model="bench")))

        async def bursts(size: int, count: int, pause: float, drain: float) -> dict[str, Any]:
            nonlocal next_seq
            items = [contender.form(event) for event in deltas(stream_id, next_seq, size * count)]
            next_seq += len(items)
            usage = Usage()
            await in_bursts(_nothing, items, size=size, pause=pause, drain=drain)
            idle = usage.so_far()["cpu"]
            usage = Usage()
            await in_bursts(put, items, size=size, pause=pause, drain=drain)
            return {"cpu": usage.so_far()["cpu"] - idle, "idle": idle}

        async def pace(rate: float, tokens: int) -> dict[str, Any]:
            items = [contender.form(event) for event in deltas(stream_id, 1, tokens)]
            due = await _at_a_pace(put, items, rate)
            usage = UsageEvent(
                stream_id=stream_id, seq=tokens + 1, input_tokens=9, output_tokens=tokens, total_tokens=tokens + 9
            )
            await put(contender.form(usage))
            end = Done(stream_id=stream_id, seq=tokens + 2, status="completed", finish_reason="stop")
            await put(contender.form(end))
            return {"due": due}

        async def carry_out(command: dict[str, Any]) -> dict[str, Any]:
            if command.pop("command") == "bursts":
                return await bursts(**command)
            return await pace(**command)

        await obey_async({}, carry_out)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
