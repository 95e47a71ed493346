"""What waiting costs, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest

from hub.errors import InvalidRequestError
from hub.limits import Limiter, LimitTimeoutError, RateLimiter
from hub.models.profile import RateLimits
from tests.hub.limits.support import ManualClock, Requests


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def limiter_of(clock: ManualClock, tokens: int, **options: float | None) -> Limiter:
    return Limiter(RateLimits(tkn_per_min=tokens), clock=clock, **{"max_wait": None, **options})  # type: ignore[arg-type]


def test_a_limiter_is_made_without_a_loop_and_serves_several(clock: ManualClock) -> None:
    limiter = limiter_of(clock, 100)

    async def use() -> None:
        async with limiter.limit(50):
            pass

    asyncio.run(use())
    asyncio.run(use())
    with pytest.raises(LimitTimeoutError):
        asyncio.run(refused(limiter))


def test_one_whose_event_loop_was_closed_in_mid_wait_holds_up_nobody(clock: ManualClock) -> None:
    limiter = limiter_of(clock, 100)

    async def use() -> None:
        async with asyncio.timeout(10), limiter.limit(100):
            pass

    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    deserted = use()
    task = loop.create_task(deserted)
    loop.run_until_complete(clock.settle())
    loop.close()
    clock.now = 61.0
    asyncio.run(use())
    assert limiter.waiting == 0
    with suppress(RuntimeError):  # its own time-out would tell the closed loop
        deserted.close()
    assert limiter.waiting == 0
    assert not task.done()


async def refused(limiter: RateLimiter) -> None:
    async with limiter.limit(1, timeout=0):
        pass


async def test_ten_thousand_wait_with_one_timer(clock: ManualClock) -> None:
    limiter = limiter_of(clock, 10_000)
    requests = Requests(clock)
    await requests.add("all", limiter, 10_000)
    before = clock.timers_set

    async def one() -> None:
        async with limiter.limit(1):
            pass

    tasks = [asyncio.create_task(one()) for _ in range(10_000)]
    await clock.settle()
    assert limiter.waiting == 10_000
    assert clock.timers_set - before == 1
    await clock.advance(61)
    for task in tasks:
        await task
    assert limiter.waiting == clock.pending == 0


async def test_no_timer_is_left_behind(clock: ManualClock) -> None:
    limiter = limiter_of(clock, 100, max_wait=300.0)
    requests = Requests(clock)
    for name in "abc":
        await requests.add(name, limiter, 100)
    await requests.end()
    assert clock.pending == 0
    assert limiter.waiting == 0


async def test_those_who_left_are_forgotten(clock: ManualClock) -> None:
    limiter = limiter_of(clock, 100)
    requests = Requests(clock)
    await requests.add("now", limiter, 100)
    await requests.add("first", limiter, 100)
    tasks = [asyncio.create_task(refused_later(limiter)) for _ in range(1_000)]
    await clock.settle()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    gc.collect()
    assert len(limiter._line._heap) < 200
    await requests.end()


async def refused_later(limiter: RateLimiter) -> None:
    async with limiter.limit(100):
        pass


async def test_a_request_that_comes_while_the_first_sleeps_and_matters_more_goes_before_it(clock: ManualClock) -> None:
    limiter = limiter_of(clock, 100)
    requests = Requests(clock)
    await requests.add("now", limiter, 50)
    await requests.add("large", limiter, 100)
    await requests.add("urgent", limiter, 50, priority=1)
    assert requests.names == ["now", "urgent"]
    await clock.advance(61)
    assert requests.names == ["now", "urgent", "large"]


async def test_being_cancelled_in_the_moment_of_ones_turn_takes_nothing(clock: ManualClock) -> None:
    limiter = limiter_of(clock, 100)
    requests = Requests(clock)
    await requests.add("now", limiter, 100)
    waiting = asyncio.create_task(refused_later(limiter))
    await clock.settle()
    clock.now = 60.3
    limiter._line.wake()  # it is woken and cancelled before it has run
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    await requests.add("next", limiter, 100)
    assert requests.names == ["now", "next"]


@pytest.mark.parametrize("options", [{"interval": 0}, {"interval": 61}, {"max_waiting": 0}, {"max_wait": -1}])
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidRequestError):
        Limiter(RateLimits(tkn_per_min=1), **options)  # type: ignore[arg-type]


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="req_per_min"):
        Limiter(RateLimits(req_per_min=0))


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
async def test_a_pause_has_seconds(clock: ManualClock, seconds: float) -> None:
    with pytest.raises(InvalidRequestError):
        await limiter_of(clock, 1).pause(seconds)


async def test_negative_usage_is_refused(clock: ManualClock) -> None:
    async with limiter_of(clock, 100).limit(1) as permit:
        with pytest.raises(InvalidRequestError):
            permit.charge(-1)
        with pytest.raises(InvalidRequestError):
            permit.settle(float("nan"))
