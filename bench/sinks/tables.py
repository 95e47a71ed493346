"""The tables: each sink beside what one would write by hand, transport by transport."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.children import Child
from bench.hub_processes import valkey
from bench.report import Row, Table
from bench.sinks import pace, reading
from bench.sinks.contenders import CONTENDERS, TRANSPORTS, Transport
from bench.words import WORDS
from tests.real.processes import free_port

__all__ = ("run",)

SHAPES = {"alone": (1, 300), "fives": (5, 120), "fifties": (50, 24)}
"""Events in a burst, and how many bursts a round has."""

UNITS = {
    "alone": "CPU, µs an event: one by one",
    "fives": "in fives",
    "fifties": "in fifties",
}
MERGED = {
    "merged_alone": "events a request: one by one",
    "merged_fives": "fives",
    "merged_fifties": "fifties",
}
"""Where several may go in one request."""
PATIENCE = 20.0
"""Seconds to wait for what was sent."""


def run(quick: bool) -> Iterator[Table]:
    """Every sink beside its peers, then Pusher at a model's pace, then the readers of a Redis channel."""
    rounds, part = (1, 10) if quick else (5, 1)
    with valkey() as server:
        for transport in TRANSPORTS:
            yield _compare(transport, server.url, rounds, part)
        yield from pace.run(quick)
        yield reading.run(server.url, quick)


class Pair:
    """A contender in a process of its own, and who gets its events in another one."""

    def __init__(self, stack: ExitStack, transport: Transport, name: str, redis_url: str, folder: Path) -> None:
        self._name = name
        self._transport = transport
        self._last_seq = 0
        self._path = folder / f"{name}.jsonl"
        self._length = 0
        self._receiver: Child | None = None
        if transport.receiver in ("http", "redis", "websocket", "sse"):
            address = f"{name} {redis_url}" if transport.receiver == "redis" else str(free_port())
            self._receiver = stack.enter_context(Child("bench.sinks.receiver", transport.receiver, address))
            address = str(self._receiver.hello.get("port", address))
        else:
            address = str(self._path)
        self._writer = stack.enter_context(Child("bench.sinks.writer", name, address))

    def measure(self, size: int, count: int) -> tuple[float, float]:
        """Microseconds an event, and how many events a message had.

        Raises:
            RuntimeError: What arrived is not what was sent.
        """
        events = size * count
        pause, drain = self._transport.pause, self._transport.drain
        used = self._writer.ask("bursts", size=size, count=count, pause=pause, drain=drain)
        first, self._last_seq = self._last_seq + 1, self._last_seq + events
        got = self._received()
        expected = "".join(WORDS[seq % len(WORDS)] for seq in range(first, self._last_seq + 1))
        if got is not None and got["text"] != expected:
            raise RuntimeError(f"{self._name} lost, doubled or mixed up events")
        return used["cpu"] / events * 1e6, events / (got["messages"] if got else events)

    def _received(self) -> dict[str, Any] | None:
        if self._receiver is not None:
            return self._receiver.ask("received", last_seq=self._last_seq)
        if self._transport.receiver != "file":
            return None
        deadline = time.monotonic() + PATIENCE
        while True:
            data = self._path.read_bytes()[self._length :]
            events = [json.loads(line) for line in data.splitlines()] if data.endswith(b"\n") else []
            if events and events[-1]["seq"] >= self._last_seq:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._name} did not write everything")
            time.sleep(0.05)
        self._length += len(data)
        return {"text": "".join(event.get("text", "") for event in events), "messages": len(events)}


def _compare(transport: Transport, redis_url: str, rounds: int, part: int) -> Table:
    names = [name for name in transport.contenders if CONTENDERS[name].can_take_part()]
    rows = [Row(CONTENDERS[name].shown) for name in names]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pairs = [Pair(stack, transport, name, redis_url, folder) for name in names]
        for pair in pairs:  # what is made once, and the connection
            pair.measure(5, 5)
        for _ in range(rounds):
            for shape, (size, count) in SHAPES.items():
                for row, pair in zip(rows, pairs, strict=True):
                    cpu, merged = pair.measure(size, max(2, count * transport.times // part))
                    row.add(**{shape: cpu, f"merged_{shape}": merged})
    units = UNITS | MERGED if transport.receiver == "http" else UNITS
    return Table(f"An event to {transport.shown}", units, rows, _notes(transport, names), has_ratios=len(rows) > 1)


def _notes(transport: Transport, names: Sequence[str]) -> list[str]:
    notes = [f"After each burst a pause of {transport.pause * 1000:g} ms; what pauses cost by themselves is taken off."]
    absent = [CONTENDERS[name].shown for name in transport.contenders if name not in names]
    return notes + ([f"Not installed: {', '.join(absent)}."] if absent else [])
