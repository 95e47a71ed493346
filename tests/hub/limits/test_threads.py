"""One limiter and event loops that run in several threads."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest

from hub.limits import Limiter, RateLimiter
from hub.limits.redis import RedisLimiter
from hub.models.profile import RateLimits
from tests.hub.limits.support import ManualClock, within


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


async def use(limiter: RateLimiter, times: int = 1) -> None:
    """Enter so many blocks, and give back what each has taken."""
    for _ in range(times):
        async with limiter.limit(1) as permit:
            permit.cancel()


async def until_it_waits(limiter: Limiter) -> None:
    async with asyncio.timeout(10):
        while not limiter.waiting:  # noqa: ASYNC110 - it is another thread's doing
            await asyncio.sleep(0)


async def test_what_one_event_loop_gives_back_lets_the_waiter_of_another_in() -> None:
    limiter = Limiter(RateLimits(tkn_per_min=1), clock=ManualClock())
    async with limiter.limit(1) as permit:
        other = asyncio.create_task(asyncio.to_thread(asyncio.run, use(limiter)))
        await until_it_waits(limiter)
        permit.cancel()
    await within(other)
    assert limiter.waiting == 0


async def test_a_waiter_of_one_event_loop_stands_in_line_behind_that_of_another() -> None:
    limiter = Limiter(RateLimits(tkn_per_min=1), clock=ManualClock())
    order: list[str] = []

    async def once(name: str) -> None:
        async with limiter.limit(1) as permit:
            order.append(name)
            permit.cancel()

    async with limiter.limit(1) as permit:
        other = asyncio.create_task(asyncio.to_thread(asyncio.run, once("other")))
        await until_it_waits(limiter)
        own = asyncio.create_task(once("own"))
        await asyncio.sleep(0)
        permit.cancel()
    await within(asyncio.gather(other, own))
    assert order == ["other", "own"]


async def test_a_cancelled_waiter_of_one_event_loop_lets_that_of_another_go_on() -> None:
    limiter = Limiter(RateLimits(tkn_per_min=10), clock=ManualClock())
    async with limiter.limit(6):
        own = asyncio.create_task(first_in_line(limiter))
        await asyncio.sleep(0)
        assert limiter.waiting == 1
        other = asyncio.create_task(asyncio.to_thread(asyncio.run, use(limiter)))
        while limiter.waiting == 1:  # noqa: ASYNC110 - it is another thread's doing
            await asyncio.sleep(0)
        own.cancel()
        await within(other)


async def first_in_line(limiter: Limiter) -> None:
    async with limiter.limit(10):
        pass


@pytest.mark.usefixtures("hasty_threads")
def test_event_loops_at_the_same_time_all_get_through_and_lose_nothing_of_the_budget() -> None:
    limiter = Limiter(RateLimits(tkn_per_min=3))

    async def crowd() -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*(use(limiter, 10) for _ in range(20)))

    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(crowd())
        except BaseException as exc:
            failures.append(exc)

    threads = [Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert limiter.waiting == 0
    asyncio.run(all_is_left(limiter))


async def all_is_left(limiter: Limiter) -> None:
    async with limiter.limit(3, timeout=0):
        pass


def test_those_behind_a_waiter_whose_event_loop_was_closed_are_called() -> None:
    clock = ManualClock()
    limiter = Limiter(RateLimits(tkn_per_min=1), clock=clock, max_wait=None)
    asyncio.run(spend(limiter))
    loop = asyncio.new_event_loop()
    deserted = spend(limiter)
    task = loop.create_task(deserted)
    loop.run_until_complete(clock.settle())

    async def rest() -> None:
        behind = asyncio.create_task(use(limiter))
        await clock.settle()
        loop.close()
        clock.now = 61.0
        await within(use(limiter))
        await within(behind)

    asyncio.run(rest())
    assert limiter.waiting == 0
    assert not task.done()
    with suppress(RuntimeError):  # its own time-out would tell the closed loop
        deserted.close()


async def spend(limiter: Limiter) -> None:
    async with limiter.limit(1):
        pass


async def test_the_limiter_of_many_processes_tells_a_second_event_loop_that_it_serves_one(
    unused_tcp_port: int,
) -> None:
    limiter = RedisLimiter(f"redis://127.0.0.1:{unused_tcp_port}", "key", RateLimits(tkn_per_min=100))
    await use(limiter)
    with pytest.raises(RuntimeError, match="one event loop at a time"):
        await asyncio.to_thread(asyncio.run, use(limiter))
    with pytest.raises(RuntimeError, match="one event loop at a time"):
        await asyncio.to_thread(asyncio.run, limiter.pause(1))
    await use(limiter)
    await limiter.aclose()


def test_the_limiter_of_many_processes_serves_event_loops_one_after_another(unused_tcp_port: int) -> None:
    limiter = RedisLimiter(f"redis://127.0.0.1:{unused_tcp_port}", "key", RateLimits(tkn_per_min=100))
    for _ in range(2):
        asyncio.run(use(limiter))
    asyncio.run(limiter.aclose())
