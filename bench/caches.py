"""What a stored answer costs: a hit and a store for each back end, and a call that reads another call's answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

from bench.cache_backends import Backend, backends
from bench.cache_hits import compare
from bench.cache_servers import Servers, servers
from bench.report import Row, Table
from hub.cache.core import CacheCore
from hub.cache.memory import MemoryCache
from hub.events import Done, EndStatus, LLMEvent, Meta, TextDelta, Usage
from hub.result import Failure, TokenUsage
from hub.upstream.stream import EventStream

__all__ = ("run",)

ENDPOINT = "https://bench/v1"


def run(quick: bool) -> Iterator[Table]:
    """Answers of 30 and of 300 pieces, read by a client beside its peers and by a cache alone; equal calls at once."""
    calls, rounds = (30, 2) if quick else (500, 5)
    lengths = (30,) if quick else (30, 300)
    with servers() as found:
        for name, reason in found.missing.items():
            print(f"\nWhat needs {name} is left out: {reason}")
        for pieces in lengths:
            yield from compare(pieces, found, answers=10 if quick else 100, times=2 if quick else 5, rounds=rounds)
        for pieces in lengths:
            yield asyncio.run(_backends(pieces, found, calls, rounds))
    yield asyncio.run(_flights(50 if quick else 1_000, rounds))


class _Answer:
    """An answer that is there at once."""

    def __init__(self, stream_id: str, pieces: int) -> None:
        counts = TokenUsage(input_tokens=20, output_tokens=pieces, total_tokens=20 + pieces, cost_usd=0.01)
        self._events: list[LLMEvent] = [Meta(stream_id=stream_id, seq=0, model="bench", cached=False)]
        self._events += [TextDelta(stream_id=stream_id, seq=seq, text=" token") for seq in range(1, pieces + 1)]
        self._events.append(Usage.of(counts, stream_id=stream_id, seq=pieces + 1))
        self._events.append(Done(stream_id=stream_id, seq=pieces + 2, status="completed", usage=counts))

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """Ten events at a time, as from a fast endpoint."""
        for first in range(0, len(self._events), 10):
            await asyncio.sleep(0)
            yield self._events[first : first + 10]

    def stop(self) -> None:
        """Nothing."""

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """Nothing."""
        return []


async def _call(core: CacheCore, identifier: str, pieces: int, *, anew: bool = False) -> None:
    key = core.key(identifier, endpoint=ENDPOINT)
    answer = core.answer(
        key, lambda: _Answer("str_1", pieces), stream_id="str_1", cache_response=True, regen_cache=anew
    )
    async for batch in EventStream(answer, "str_1").batches():
        if batch[-1].type == "done" and batch[-1].status != "completed":
            raise RuntimeError("the answer was not told whole")


async def _backends(pieces: int, found: Servers, calls: int, rounds: int) -> Table:
    rows = []
    for name, opened in backends(found).items():
        async with opened(found) as backend:
            rows.append(await _backend(Row(name), backend, pieces, calls, rounds))
    units = {
        "cpu": "a hit, CPU µs",
        "hit": "wall, µs",
        "get": "of it `get`, CPU µs",
        "put": "ask anew and store, wall µs",
    }
    title = f"A stored answer of {pieces + 3} events, one call after another, without a client"
    return Table(title, units, rows, has_ratios=False)


async def _backend(row: Row, backend: Backend, pieces: int, calls: int, rounds: int) -> Row:
    core = CacheCore(backend.cache, report=_fail)
    await core.warm()
    for number in range(calls):
        await _call(core, str(number), pieces)
    for _ in range(rounds):
        await backend.before()
        hit_cpu, hit = await _timed(calls, lambda number: _call(core, str(number), pieces))
        await backend.before()
        get_cpu, _ = await _timed(calls, lambda number: backend.cache.get(core.key(str(number), endpoint=ENDPOINT)))
        _, put = await _timed(calls, lambda number: _call(core, str(number), pieces, anew=True))
        row.add(cpu=hit_cpu, hit=hit, get=get_cpu, put=put)
    if core.counts.hits != calls * rounds:
        raise RuntimeError("stored answers were not found")
    return row


async def _timed(calls: int, work: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
    """CPU of the whole process and time on the wall, in microseconds a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    for number in range(calls):
        await work(number)
    return (time.process_time() - cpu) * 1e6 / calls, (time.perf_counter() - wall) * 1e6 / calls


async def _flights(calls: int, rounds: int) -> Table:
    row = Row("a reader of a flight")
    for number in range(rounds):
        core = CacheCore(MemoryCache(), report=_fail)
        began_at = time.process_time()
        await asyncio.gather(*(_call(core, str(number), 300) for _ in range(calls)))
        row.add(cpu=(time.process_time() - began_at) * 1e6 / calls)
        if core.counts.joined != calls - 1:
            raise RuntimeError("the calls did not read one answer")
    return Table(
        f"{calls:,} equal calls at once, an answer of 303 events", {"cpu": "CPU a call, µs"}, [row], has_ratios=False
    )


def _fail(fault: object) -> None:
    raise RuntimeError(f"the cache failed: {fault}")
