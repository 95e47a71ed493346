"""What an event costs the process that reads a Redis channel."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from bench.children import Child
from bench.report import Row, Table
from bench.sinks.writer import deltas, in_bursts
from hub.events import Meta, new_stream_id
from sinks.redis import RedisSink, Replay

__all__ = ("run",)

READERS = {
    "subscribe": "`subscribe(…, replay=False)`",
    "subscribe-log": "`subscribe(…)`, the channel with a log",
    "listen": "redis-py, `listen()` and `json.loads`",
}
SHAPES = {"alone": (1, 1_000), "fives": (5, 400), "fifties": (50, 60), "many": (2_000, 3)}
UNITS = {
    "alone": "CPU, µs an event: one by one",
    "fives": "in fives",
    "fifties": "in fifties",
    "many": "in two thousands",
}
PAUSE, DRAIN = 0.003, 0.1


def run(url: str, quick: bool) -> Table:
    """The reader's processor time, in a process of its own."""
    rounds, part = (1, 10) if quick else (5, 1)
    rows = {kind: Row(shown) for kind, shown in READERS.items()}
    with ExitStack() as stack:
        readers = {kind: stack.enter_context(Child("bench.sinks.reader", kind, f"read-{kind}", url)) for kind in rows}
        asyncio.run(_all(readers, rows, url, rounds, part))
    note = "A `RedisSink` sends; what it costs to be woken up is the reader's here."
    return Table("An event from Redis: the process that reads the channel", UNITS, list(rows.values()), [note])


async def _all(readers: dict[str, Child], rows: dict[str, Row], url: str, rounds: int, part: int) -> None:
    stream_id = new_stream_id()
    at = dict.fromkeys(readers, 1)
    sinks = {
        kind: RedisSink(f"read-{kind}", url=url, replay=Replay() if kind == "subscribe-log" else None)
        for kind in readers
    }
    try:
        for sink in sinks.values():
            await sink.__aenter__()
            await sink.send(Meta(stream_id=stream_id, seq=0, model="bench"))
        for number in range(rounds + 1):
            for shape, (size, count) in SHAPES.items():
                for kind, reader in readers.items():
                    bursts = max(1, count // (part if number else 10))
                    events = deltas(stream_id, at[kind], size * bursts)
                    at[kind] += len(events)
                    await asyncio.to_thread(reader.ask, "begin", last_seq=events[-1].seq)
                    await in_bursts(sinks[kind].send, events, size=size, pause=PAUSE, drain=DRAIN)
                    used = await asyncio.to_thread(reader.ask, "end")
                    if number:  # the first one is for what is made once
                        rows[kind].add(**{shape: used["cpu"] / len(events) * 1e6})
    finally:
        for sink in sinks.values():
            await sink.aclose()
