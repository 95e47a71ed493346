"""How long a stream stands still whose worker is killed: until that is noticed, and until its text goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any

from bench.children import Child
from bench.hub_processes import begin_stream, cancel_stream, valkey, web, worker
from bench.report import Row, Table
from bench.stamp_readers import MODEL

__all__ = ("run",)

STREAMS = 10
TIMEOUT = 60.0
UNITS = {"middle": "s after the kill, median", "slowest": "the slowest of all"}


def run(quick: bool) -> Iterator[Table]:
    """A worker with ten streams is killed while another one stands by, again and again."""
    kills = 2 if quick else 20
    noticed: list[float] = []
    resumed: list[float] = []
    with ExitStack() as stack:
        endpoint = stack.enter_context(Child("bench.endpoint"))
        redis = stack.enter_context(valkey())
        serving = stack.enter_context(web(redis.url))
        readers = stack.enter_context(Child("bench.stamp_readers"))
        base_url = endpoint.hello["base_url"]
        working = stack.enter_context(worker(redis.url, base_url))
        for _ in range(kills):
            streams = [begin_stream(serving.port, MODEL) for _ in range(STREAMS)]
            readers.ask("subscribe", port=serving.port, streams=streams)
            _wait(readers, lambda found: found["reading"] == STREAMS)
            standing_by = stack.enter_context(worker(redis.url, base_url))
            time.sleep(0.5)
            killed_at, working = working.kill(), standing_by
            found = _wait(readers, lambda found: None not in found["resumed"])
            noticed += [at - killed_at for at in found["taken_over"]]
            resumed += [at - killed_at for at in found["resumed"]]
            for stream_id in streams:
                cancel_stream(serving.port, stream_id)
            readers.ask("leave")
    rows = [_row("the snapshot with which another worker begins", noticed), _row("the first token after it", resumed)]
    note = f"{kills} kills of a worker with {STREAMS} streams each, as a subscriber sees it; all streams went on."
    yield Table("Until another worker has the streams of a dead one", UNITS, rows, [note], has_ratios=False)


def _wait(readers: Child, is_reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the readers saw, once it is what is waited for."""
    deadline = time.monotonic() + TIMEOUT
    while not is_reached(found := readers.ask("attempts")):
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {TIMEOUT:g} s the readers have seen no more than {found}")
        time.sleep(0.05)
    return found


def _row(name: str, seconds: list[float]) -> Row:
    row = Row(name)
    row.add(middle=median(seconds), slowest=max(seconds))
    return row
