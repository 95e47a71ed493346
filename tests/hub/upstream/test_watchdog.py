"""The watchdog alone: what it interrupts, what it takes back, what it lets through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.upstream.clocks import InterruptedByWatchdog, Timeouts, Watchdog

from .support import MovedClock


@pytest.fixture
async def clock() -> MovedClock:
    return MovedClock()


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def at_once() -> str:
    return "done"


async def test_what_is_awaited_in_time_comes_through(clock: MovedClock) -> None:
    watchdog = Watchdog(Timeouts())
    assert await watchdog.guard(at_once) == "done"
    watchdog.close()


async def test_a_clock_that_is_none_never_runs_out(clock: MovedClock) -> None:
    watchdog = Watchdog(Timeouts(first_token_timeout=None, stall_timeout=None, total_timeout=None))
    task = asyncio.create_task(watchdog.guard(never))
    await clock.pass_by(1e9)
    assert not task.done()
    watchdog.stop()
    with pytest.raises(InterruptedByWatchdog):
        await task


async def test_nothing_is_called_once_the_stream_was_stopped() -> None:
    watchdog = Watchdog(Timeouts())
    watchdog.stop()
    with pytest.raises(InterruptedByWatchdog):
        await watchdog.guard(pytest.fail)


async def test_an_interruption_leaves_no_cancellation_behind() -> None:
    watchdog = Watchdog(Timeouts(first_token_timeout=0.01))
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(InterruptedByWatchdog):
        await watchdog.guard(never)
    assert (task.cancelling(), watchdog.interruption) == (0, "first_token_timeout")
    await asyncio.sleep(0)


@pytest.mark.parametrize("ours_first", [True, False])
async def test_a_cancellation_from_outside_goes_before_an_interruption(ours_first: bool) -> None:
    watchdog = Watchdog(Timeouts())
    task = asyncio.create_task(watchdog.guard(never))
    await asyncio.sleep(0)
    for act in (watchdog.stop, task.cancel)[:: 1 if ours_first else -1]:
        act()
    with pytest.raises(asyncio.CancelledError):
        await task


async def swallow() -> str:
    try:
        await never()
    except asyncio.CancelledError:
        return "swallowed"
    return "never"


async def break_down() -> None:
    try:
        await never()
    finally:
        raise OSError("while it was cancelled")


@pytest.mark.parametrize("call", [swallow, break_down])
async def test_an_interruption_is_one_whatever_the_await_makes_of_it(call: Any) -> None:
    watchdog = Watchdog(Timeouts())
    task = asyncio.create_task(watchdog.guard(call))
    await asyncio.sleep(0)
    watchdog.stop()
    with pytest.raises(InterruptedByWatchdog):
        await task
    assert task.cancelling() == 0


async def test_two_stops_interrupt_once() -> None:
    watchdog = Watchdog(Timeouts())
    task = asyncio.create_task(watchdog.guard(never))
    await asyncio.sleep(0)
    watchdog.stop()
    watchdog.stop()
    with pytest.raises(InterruptedByWatchdog):
        await task


@pytest.mark.parametrize("name", Timeouts.__slots__)
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_clock_that_makes_no_sense_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=name):
        Timeouts(**{name: seconds})


async def test_one_timer_serves_a_whole_stream() -> None:
    loop = asyncio.get_running_loop()
    made = 0
    call_at = loop.call_at

    def count(*args: Any, **options: Any) -> Any:
        nonlocal made
        made += 1
        return call_at(*args, **options)

    loop.call_at = count  # type: ignore[assignment]
    watchdog = Watchdog(Timeouts())
    for _ in range(100):
        await watchdog.guard(at_once)
        watchdog.expect_content()
    watchdog.close()
    assert made <= 2
