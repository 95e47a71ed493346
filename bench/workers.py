"""How many streams one worker keeps up with, and how long a token takes through worker, Redis and web process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bench.children import Child
from bench.hub_processes import HubProcess, Valkey, begin_stream, valkey, web, worker
from bench.report import Row, Table
from bench.stamp_readers import MODEL

__all__ = ("run",)

READ = 20
"""Streams that somebody reads, through the web process; as many are read straight from the endpoint beside them."""

FULL = 0.8
"""Of a core."""

TOO_LATE = 500.0
"""Milliseconds: the worker no longer gets what it needs, though it may not use a whole core."""

WAYS = {
    "One `hub work`, streams of 30 tokens a second, event by event": {"HUB_COALESCE_DELAY": "0"},
    "One `hub work`, streams of 30 tokens a second, which may gather where it is behind": {},
}
"""Each with what the worker's environment says beside what every worker's does."""

UNITS = {
    "cpu": "worker's CPU, µs a token",
    "share": "worker, % of a core",
    "waited": "it had to wait for one, % of the time",
    "redis": "Redis, % of a core",
    "through": "endpoint to subscriber, ms, median",
    "through_p99": "one in a hundred takes longer than",
    "straight": "endpoint to its own reader, ms, median",
    "straight_p99": "one in a hundred takes longer than",
}


def run(quick: bool) -> Iterator[Table]:
    """More and more streams of 30 tokens a second in the same processes, until the worker has enough."""
    for title, settings in WAYS.items():
        yield _measured(title, settings, quick)


def _measured(title: str, settings: Mapping[str, str], quick: bool) -> Table:
    steps, settle, seconds = ((10, 50), 3.0, 4.0) if quick else (range(50, 501, 50), 6.0, 10.0)
    rows = []
    with ExitStack() as stack:
        bench = _Bench.started(stack, settings)
        for streams in steps:
            rows.append(bench.measure(streams, settle, seconds))
            if rows[-1].middle("share") > 100 * (FULL + 0.1) or rows[-1].middle("through") > TOO_LATE:
                break
    notes = [
        "Read are 20 of the streams, by readers of the web process; the others are only generated and kept.",
        f"{FULL:.0%} of a core: {_at_full(rows, list(steps))}.",
    ]
    return Table(title, UNITS, rows, notes, has_ratios=False)


@dataclass(slots=True)
class _Bench:
    endpoint: Child
    redis: Valkey
    web: HubProcess
    worker: HubProcess
    readers: Child
    streams: int = 0

    @classmethod
    def started(cls, stack: ExitStack, settings: Mapping[str, str]) -> _Bench:
        """All processes run; the readers read from the endpoint already."""
        endpoint = stack.enter_context(Child("bench.endpoint"))
        redis = stack.enter_context(valkey())
        serving = stack.enter_context(web(redis.url))
        working = stack.enter_context(worker(redis.url, endpoint.hello["base_url"], **settings))
        readers = stack.enter_context(Child("bench.stamp_readers"))
        readers.ask("ask", port=urlsplit(endpoint.hello["base_url"]).port, streams=READ)
        return cls(endpoint, redis, serving, working, readers)

    def measure(self, streams: int, settle: float, seconds: float) -> Row:
        """With so many streams, after they have settled."""
        new = [begin_stream(self.web.port, MODEL) for _ in range(streams - self.streams)]
        if self.streams == 0:
            self.readers.ask("subscribe", port=self.web.port, streams=new[:READ])
        self.streams = streams
        time.sleep(settle)
        self.readers.ask("forget")
        before = self._used()
        time.sleep(seconds)
        after = self._used()
        ages = self.readers.ask("ages")
        used = {name: after[name] - before[name] for name in before}
        tokens = used["sent"] * streams / (streams + READ)
        row = Row(f"{streams} streams")
        row.add(
            cpu=used["worker"] / tokens * 1e6,
            share=used["worker"] / used["wall"] * 100,
            waited=used["waited"] / used["wall"] * 100,
            redis=used["redis"] / used["wall"] * 100,
            through=ages["hub"]["p50"],
            through_p99=ages["hub"]["p99"],
            straight=ages["endpoint"]["p50"],
            straight_p99=ages["endpoint"]["p99"],
        )
        _check(ages, row.name)
        return row

    def _used(self) -> dict[str, float]:
        return {
            "wall": time.monotonic(),
            "worker": self.worker.cpu(),
            "waited": self.worker.waited(),
            "redis": self.redis.cpu(),
            "sent": self.endpoint.ask("sent")["sent"],
        }


def _check(ages: dict[str, Any], name: str) -> None:
    """Whoever reads through the hub gets what others get from the endpoint; what is late comes, only later."""
    if ages["hub"]["tokens"] < ages["endpoint"]["tokens"] / 2:
        raise RuntimeError(f"{name}: {ages['hub']['tokens']} tokens came, {ages['endpoint']['tokens']} were due")


def _at_full(rows: list[Row], steps: list[int]) -> str:
    """The streams at which the worker uses 80 % of a core, between the two steps around it."""
    shares = [row.middle("share") / 100 for row in rows]
    for index in range(1, len(rows)):
        below, above = shares[index - 1], shares[index]
        if below <= FULL < above:
            streams = steps[index - 1] + (FULL - below) / (above - below) * (steps[index] - steps[index - 1])
            return f"{streams:.0f} streams"
    return "not reached"
