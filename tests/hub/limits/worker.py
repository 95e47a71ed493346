"""One of several processes at one budget: uses as much as it gets, and says what it got."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from redis.asyncio import Redis

from hub.limits.redis import RedisLimiter
from hub.models.profile import RateLimits


async def work(url: str, key: str, per_minute: int, interval: float, processes: int, seconds: float) -> list[float]:
    """When each request got through, until the time is up; ten tokens each."""
    through: list[float] = []
    limiter = RedisLimiter(url, key, RateLimits(tkn_per_min=per_minute), interval=interval)

    async def use() -> None:
        while True:
            async with limiter.limit(10):
                through.append(time.time())

    async with Redis.from_url(url) as redis:  # all begin together, however long each took to start
        if await redis.incr(f"ready:{key}") == processes:
            await redis.lpush(f"begin:{key}", *range(processes))
        await redis.blpop([f"begin:{key}"], timeout=60)
    tasks = [asyncio.create_task(use()) for _ in range(3)]
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await limiter.aclose()
    return through


if __name__ == "__main__":
    url, key, *numbers = sys.argv[1:]
    per_minute, interval, processes, seconds = map(float, numbers)
    print(json.dumps(asyncio.run(work(url, key, int(per_minute), interval, int(processes), seconds))))
