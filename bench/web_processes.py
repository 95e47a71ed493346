"""One stream to thousands of subscribers over several web processes, with a real worker behind them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.children import Child
from bench.hub_processes import Valkey, begin_stream, valkey, web, worker
from bench.report import Row, Table

__all__ = ("run",)

SPARE_FILES = 200
FURTHER_EVENTS = 3
"""What a stream has beside its tokens: `meta`, `usage`, `done`."""

UNITS = {
    "cpu": "CPU of the web processes, µs a delivery",
    "merged": "events a read",
    "spread": "last reader behind the first, ms",
    "late": "stream's end, s late",
    "redis": "Redis's CPU, % of a core",
}


def run(quick: bool) -> Iterator[Table]:
    """By one process and by two, in turn: to some hundreds, and to some thousands."""
    with Child("bench.endpoint") as endpoint, valkey() as redis:
        for subscribers, tokens, rounds in [(200, 30, 1)] if quick else [(500, 150, 3), (5_000, 50, 3)]:
            yield _compare(redis, endpoint.hello["base_url"], subscribers, tokens, rounds)


def _compare(redis: Valkey, base_url: str, subscribers: int, tokens: int, rounds: int) -> Table:
    rows = {count: Row(f"{count} web {'process' if count == 1 else 'processes'}") for count in (2, 1)}
    for _ in range(rounds):
        for count, row in rows.items():
            subscribers = _measure(row, count, redis, base_url, subscribers, tokens)
    title = f"One stream of {tokens} tokens, one each 30 ms, by a worker over Redis to {subscribers:,} subscribers"
    note = "Every subscriber got every event once, in order, to the byte; a round that differs stops the benchmark."
    return Table(title, UNITS, list(rows.values()), [note])


def _measure(row: Row, count: int, redis: Valkey, base_url: str, subscribers: int, tokens: int) -> int:
    """One round in fresh processes; returns how many subscribed."""
    with web(redis.url, processes=count) as serving, Child("bench.readers") as readers:
        subscribers = min(subscribers, readers.hello["files"] - SPARE_FILES)
        stream_id = begin_stream(serving.port, f"step-{tokens}-30")
        path = f"/v1/streams/{stream_id}/events"
        before = serving.connections()
        # The worker comes when all are there: until then the stream waits for it.
        readers.ask("subscribe", port=serving.port, path=path, count=subscribers)
        readers.tell("read", events=tokens + FURTHER_EVENTS)
        pairs = zip(before, serving.connections(), strict=True)
        shares = [(after - earlier) / subscribers for earlier, after in pairs]
        with worker(redis.url, base_url):
            cpu, redis_cpu, began_at = serving.cpu(), redis.cpu(), time.monotonic()
            read = readers.answer()
            wall = time.monotonic() - began_at
            used, redis_used = serving.cpu() - cpu, redis.cpu() - redis_cpu
        readers.ask("leave")
    deliveries = subscribers * (tokens + FURTHER_EVENTS)
    row.add(
        cpu=used / deliveries * 1e6,
        merged=deliveries / read["reads"],
        spread=read["spread"] * 1000,
        late=wall - tokens * 0.03,
        redis=redis_used / wall * 100,
    )
    row.facts["subscribers of each"] = ", ".join(f"{share:.0%}" for share in shares)
    return subscribers
