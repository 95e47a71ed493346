"""Batches: bounded, in order or as they come, no failure takes another item with it, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest

from hub.batch import Progress, iter_batch, quiet, run_batch
from hub.errors import InvalidRequestError, endpoint_error


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def broken(message: str) -> int:
    raise ValueError(message)


class Gauge:
    """How many are under way, and were at most."""

    def __init__(self) -> None:
        self.now = self.most = self.begun = 0
        self._changed = asyncio.Event()

    async def reached(self, count: int) -> None:
        """Return once that many are under way."""
        async with asyncio.timeout(5):
            while self.now != count:
                await self._changed.wait()
                self._changed.clear()

    async def work(self, turns: int = 3) -> int:
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
        finally:
            self.now -= 1
        return self.begun

    async def forever(self) -> None:
        self.begun += 1
        self.now += 1
        self._changed.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.now -= 1
            self._changed.set()


async def test_results_come_in_the_input_s_order() -> None:
    async def slow_first(number: int) -> int:
        for _ in range(20 - number):
            await asyncio.sleep(0)
        return number

    assert await run_batch(map(slow_first, range(20)), progress=quiet) == list(range(20))


@pytest.mark.parametrize("make", [lambda n: double(n), lambda n: partial(double, n), lambda n: (str(n), double(n))])
async def test_an_item_is_a_coroutine_or_a_function_or_has_a_key(make: Callable[[int], Any]) -> None:
    assert await run_batch([make(1), make(2)], progress=quiet) == [2, 4]


async def test_the_input_may_be_asynchronous() -> None:
    async def numbers() -> AsyncIterator[Awaitable[int]]:
        for number in range(5):
            await asyncio.sleep(0)
            yield double(number)

    assert await run_batch(numbers(), progress=quiet) == [0, 2, 4, 6, 8]


async def test_an_empty_batch_has_no_results() -> None:
    assert await run_batch([], progress=quiet) == []


async def test_no_more_than_concurrency_are_under_way() -> None:
    gauge = Gauge()
    await run_batch((gauge.work for _ in range(30)), concurrency=4, progress=quiet)
    assert (gauge.most, gauge.begun) == (4, 30)


async def test_the_input_is_read_only_as_fast_as_items_are_run() -> None:
    taken = 0
    gate = asyncio.Event()

    def source() -> Iterator[Callable[[], Awaitable[Any]]]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield gate.wait

    async with asyncio.TaskGroup() as group:
        running = group.create_task(run_batch(source(), concurrency=3, progress=quiet))
        for _ in range(20):
            await asyncio.sleep(0)
        assert taken == 3
        gate.set()
    assert len(running.result()) == 1000


async def test_an_exception_becomes_a_dictionary_and_the_others_go_on() -> None:
    refused = endpoint_error("Too many requests.", code="rate_limited", status=429)

    async def refuse() -> None:
        raise refused

    results = await run_batch([double(1), broken("no"), ("mine", refuse()), double(2)], progress=quiet)
    assert results == [
        2,
        {"error": "ValueError: no", "status": "failed", "error_code": None, "error_type": "ValueError", "index": 1},
        {
            "error": "Too many requests.",
            "status": "failed",
            "error_code": "rate_limited",
            "error_type": "EndpointStatusError",
            "index": 2,
            "key": "mine",
        },
        4,
    ]


async def test_a_function_that_raises_before_it_awaits_fails_alone() -> None:
    def at_once() -> Awaitable[int]:
        raise KeyError("gone")

    results = await run_batch([at_once, partial(double, 1)], progress=quiet)
    assert results[0]["error_type"] == "KeyError"
    assert results[1] == 2


async def test_no_key_is_in_an_error() -> None:
    results = await run_batch([broken("Incorrect API key: sk-abcdefghijklmnop")], progress=quiet)
    assert "abcdefgh" not in results[0]["error"]


async def test_an_item_that_cancels_itself_is_told_and_not_lost() -> None:
    async def gives_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    results = await run_batch([gives_up(), double(1)], progress=quiet)
    assert results[0]["status"] == "cancelled"
    assert results[1] == 2


async def test_a_cancelled_batch_leaves_nothing_under_way_and_nothing_unawaited() -> None:
    gauge = Gauge()
    coros = [gauge.forever() for _ in range(6)]
    running = asyncio.ensure_future(run_batch(coros, concurrency=2, progress=quiet))
    await gauge.reached(2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (gauge.begun, gauge.now) == (2, 0)
    del coros
    gc.collect()  # a coroutine that was never awaited would warn, and warnings are errors


async def test_a_batch_cancelled_before_its_tasks_had_a_turn_closes_them() -> None:
    coros = [double(number) for number in range(4)]
    running = asyncio.ensure_future(run_batch(coros, progress=quiet))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert all(coro.cr_frame is None for coro in coros)


class StopEverythingError(BaseException):
    """What nothing may swallow."""


async def test_what_is_no_exception_ends_the_batch() -> None:
    async def end() -> None:
        raise StopEverythingError

    gauge = Gauge()
    with pytest.raises(StopEverythingError):
        await run_batch([gauge.forever(), end(), gauge.forever(), double(1)], concurrency=2, progress=quiet)
    assert gauge.now == 0


async def test_an_input_that_raises_ends_the_batch_with_that() -> None:
    def source() -> Iterator[Awaitable[int]]:
        yield double(1)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await run_batch(source(), progress=quiet)


@pytest.mark.parametrize("coros", [5, "text", {"a": 1}, None])
def test_what_gives_no_items_is_refused_at_the_call(coros: Any) -> None:
    with pytest.raises(InvalidRequestError, match="A batch takes an iterable"):
        iter_batch(coros)


@pytest.mark.parametrize("concurrency", [0, -1, True, 2.0, None])
def test_a_concurrency_that_makes_no_sense_is_refused_at_the_call(concurrency: Any) -> None:
    with pytest.raises(InvalidRequestError, match="concurrency"):
        iter_batch([], concurrency=concurrency)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (5, "must be a coroutine or a function"),
        (("a", "b", "c"), "no pair of a key"),
        ((1, double), "no pair of a key"),
        (dict, "must be a coroutine or a function"),
        (lambda: 5, "can't be awaited"),
    ],
)
async def test_what_is_no_item_is_refused_and_the_rest_closed(item: Any, words: str) -> None:
    coros = [double(1), item, double(2)]
    with pytest.raises(InvalidRequestError, match=words):
        await run_batch(coros, concurrency=1, progress=quiet)
    assert coros[2].cr_frame is None


async def test_a_task_is_refused_since_it_runs_already() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(double(1))
        with pytest.raises(InvalidRequestError, match="runs already"):
            await run_batch([task], progress=quiet)


async def test_a_stopped_batch_finishes_what_is_under_way_and_begins_nothing() -> None:
    stop = asyncio.Event()
    gauge = Gauge()

    def stop_at_first(index: int, result: Any) -> None:
        stop.set()

    results = await run_batch(
        (gauge.work for _ in range(100)), concurrency=3, stop=stop, on_result=stop_at_first, progress=quiet
    )
    assert len(results) == gauge.begun == 3
    assert None not in results


async def test_a_stopped_batch_closes_the_coroutines_that_are_left() -> None:
    stop = asyncio.Event()
    stop.set()
    coros = [double(1), double(2)]
    assert await run_batch(coros, stop=stop, progress=quiet) == []
    assert all(coro.cr_frame is None for coro in coros)


async def test_what_on_result_raises_ends_the_batch() -> None:
    def refuse(index: int, result: Any) -> None:
        raise LookupError(index)

    with pytest.raises(LookupError):
        await run_batch([double(1), double(2)], on_result=refuse, progress=quiet)


async def test_results_come_as_they_complete() -> None:
    gate = asyncio.Event()

    async def late() -> str:
        await gate.wait()
        return "late"

    found = []
    async with aclosing(iter_batch([late(), double(1)], progress=quiet)) as results:
        async for index, result in results:
            found.append((index, result))
            gate.set()
    assert found == [(1, 2), (0, "late")]


async def test_a_slow_reader_slows_the_batch() -> None:
    gauge = Gauge()
    async with aclosing(iter_batch((gauge.work for _ in range(100)), concurrency=3, progress=quiet)) as results:
        async for _ in results:
            for _ in range(50):
                await asyncio.sleep(0)
            assert gauge.begun <= 1 + 2 * 3
            break


async def test_an_iteration_left_early_leaves_nothing_under_way() -> None:
    gauge = Gauge()
    coros = [double(1), *(gauge.forever() for _ in range(5))]
    async with aclosing(iter_batch(coros, concurrency=3, progress=quiet)) as results:
        async for _ in results:
            break
    assert gauge.now == 0
    assert all(coro.cr_frame is None for coro in coros)


async def test_an_iteration_that_is_dropped_ends_by_itself() -> None:
    gauge = Gauge()

    async def read_one() -> None:
        async for _ in iter_batch([double(1), gauge.forever()], progress=quiet):
            return

    await read_one()
    gc.collect()
    await gauge.reached(0)


async def test_a_cancelled_reader_ends_the_batch() -> None:
    gauge = Gauge()

    async def read() -> None:
        async for _ in iter_batch([gauge.forever(), gauge.forever()], progress=quiet):
            pass

    reading = asyncio.ensure_future(read())
    await gauge.reached(2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await gauge.reached(0)


async def test_the_iteration_raises_what_ends_the_batch_after_the_results_before_it() -> None:
    wrong: list[Any] = [double(1), 5]
    results = iter_batch(wrong, concurrency=1, progress=quiet)
    assert await anext(results) == (0, 2)
    with pytest.raises(InvalidRequestError):
        await anext(results)


async def test_memory_does_not_grow_with_the_number_of_items() -> None:
    async def read(count: int) -> int:
        tracemalloc.start()
        try:
            async with aclosing(iter_batch((partial(double, n) for n in range(count)), progress=quiet)) as results:
                async for _ in results:
                    pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await read(100)
    few, many = await read(500), await read(5_000)
    assert many < few + 100_000


async def test_progress_is_told_after_each_result_and_at_the_end() -> None:
    told: list[Progress] = []
    await run_batch([double(1), broken("no"), double(2)], concurrency=1, progress=told.append)
    assert [(each.done, each.failed, each.total, each.is_over) for each in told] == [
        (1, 0, 3, False),
        (2, 1, 3, False),
        (3, 1, 3, False),
        (3, 1, 3, True),
    ]


async def test_a_result_that_says_it_failed_counts_as_failed() -> None:
    async def answer() -> dict[str, str]:
        return {"status": "failed", "error": "no"}

    told: list[Progress] = []
    await run_batch([answer()], progress=told.append)
    assert told[-1].failed == 1


async def test_the_end_is_told_when_the_batch_is_cancelled_too() -> None:
    told: list[Progress] = []
    running = asyncio.ensure_future(run_batch([Gauge().forever()], progress=told.append))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert told[-1].is_over
