"""CPU a delivery of one stream to many SSE subscribers, and what a subscriber weighs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from bench.children import Child
from bench.report import Row, Table

__all__ = ("run",)

SPARE_FILES = 200

CONTENDERS = {
    "edge": "the hub",
    "asgi": "the hub, ordinary ASGI path",
    "queues": "sse-starlette, a queue a subscriber",
}
UNITS = {
    "cpu": "CPU, µs a delivery",
    "system": "of it in the kernel",
    "merged": "events a read",
    "spread": "last reader behind the first, ms",
    "late": "stream's end, s late",
    "memory": "memory, KB a subscriber",
}


def run(quick: bool) -> Iterator[Table]:
    """One stream at a model's pace, to some hundreds and to some thousands."""
    if quick:
        yield _compare(subscribers=100, events=30, rounds=1)
        return
    yield _compare(subscribers=500, events=150, rounds=3)
    yield _compare(subscribers=5_000, events=50, rounds=2)


def _compare(*, subscribers: int, events: int, rounds: int, interval: float = 0.03) -> Table:
    rows = {kind: Row(shown) for kind, shown in CONTENDERS.items()}
    for _ in range(rounds):
        for kind, row in rows.items():
            subscribers = _measure(row, kind, subscribers, events, interval)
    title = f"One stream of {events} events, one each {interval * 1000:g} ms, to {subscribers:,} subscribers"
    note = "Every subscriber got every event once, in order, to the byte; a round that differs stops the benchmark."
    return Table(title, UNITS, list(rows.values()), [note])


def _measure(row: Row, kind: str, subscribers: int, events: int, interval: float) -> int:
    """One round in fresh processes, so that memory is what this round took; returns how many subscribed."""
    with ExitStack() as stack:
        server = stack.enter_context(Child("bench.fanout_server", kind))
        readers = stack.enter_context(Child("bench.readers"))
        files = min(server.hello["files"], readers.hello["files"])
        subscribers = min(subscribers, files - SPARE_FILES)
        # A first few, so that what is loaded once doesn't count as a subscriber's.
        _stream(server, readers, 50, 10, 0.005)
        figures, read = _stream(server, readers, subscribers, events, interval)
        deliveries = subscribers * events
        row.add(
            cpu=figures["cpu"] / deliveries * 1e6,
            system=figures["system"] / deliveries * 1e6,
            merged=deliveries / read["reads"],
            spread=read["spread"] * 1000,
            late=figures["wall"] - interval * (events - 1),
            memory=figures["memory"] / subscribers / 1000,
            readers_cpu=read["cpu"] / deliveries * 1e6,
        )
    return subscribers


def _stream(
    server: Child, readers: Child, subscribers: int, events: int, interval: float
) -> tuple[dict[str, float], dict[str, float]]:
    prepared = server.ask("prepare", events=events, interval=interval)
    path = f"/v1/streams/{prepared['stream_id']}/events"
    readers.ask("subscribe", port=server.hello["port"], path=path, count=subscribers)
    readers.tell("read", events=events)
    begun = server.ask("begin")
    read = readers.answer()
    figures = server.ask("usage")
    readers.ask("leave")
    return {**figures, "memory": begun["resident"] - prepared["resident"]}, read
