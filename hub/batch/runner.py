"""Runs the items of a batch, a bounded number at once, and gives their results in order or as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from os import PathLike
from typing import Any, TypeAlias

from hub.batch.checkpoint import Checkpoint
from hub.batch.items import Item, Items, Source
from hub.batch.progress import Progress, Report, automatic_report
from hub.batch.results import cancelled, failure, is_failure
from hub.errors import InvalidRequestError

__all__ = ("CONCURRENCY", "iter_batch", "run_batch")

CONCURRENCY = 8
"""Items under way at once, where nothing is said."""

RESTORED_AT_ONCE = 64
"""Results of a checkpoint that are given before others on the event loop get their turn."""

OnResult: TypeAlias = Callable[[int, Any], None]


async def run_batch(
    coros: Source,
    *,
    concurrency: int = CONCURRENCY,
    checkpoint: str | PathLike[str] | Checkpoint | None = None,
    retry_failed: bool = False,
    stop: asyncio.Event | None = None,
    on_result: OnResult | None = None,
    progress: Report | None = None,
) -> list[Any]:
    """Run every item, and give their results in the input's order.

    The exception of one item becomes a dictionary with `error`, `status` (`"failed"`), `error_code`, `error_type`
    and `index`, in its place; the others go on. Cancelled, whatever is under way is cancelled and awaited, and what
    has not begun is closed.

    Args:
        coros: Coroutines, functions without arguments that make them, or pairs of a key and either; in an iterable
            or an async iterable, which is read only as fast as items are run.
        concurrency: Items under way at once, at most.
        checkpoint: A file for what is done. What it holds already is not run again: coroutines for it are closed
            without being run, functions not called. Every result is then given as its JSON: an `LLMResult` or a
            pydantic model as a dictionary, from this run as from an earlier one.
        retry_failed: Run those again whose result in the checkpoint is a failure.
        stop: Once it is set nothing further begins; what is under way is finished, and the results so far are given.
        on_result: Is called with the position in the input and the result as each comes, those of the checkpoint
            too. What it raises ends the batch.
        progress: Is told after each result. By default a bar in a terminal, where `rich` is installed, else lines in
            the log; `quiet` shows nothing.

    Raises:
        InvalidRequestError: Something is no item, or the checkpoint is that of another input.
        CheckpointError: The checkpoint can't be read or written, or another run has it open.
    """
    results: list[Any] = []

    async def deliver(index: int, result: Any) -> None:
        if index >= len(results):
            results.extend([None] * (index + 1 - len(results)))
        results[index] = result
        if on_result is not None:
            on_result(index, result)

    await _Run(Items(coros), _checked(concurrency), checkpoint, retry_failed, stop, deliver, progress)()
    return results


def iter_batch(
    coros: Source,
    *,
    concurrency: int = CONCURRENCY,
    checkpoint: str | PathLike[str] | Checkpoint | None = None,
    retry_failed: bool = False,
    stop: asyncio.Event | None = None,
    progress: Report | None = None,
) -> AsyncGenerator[tuple[int, Any], None]:
    """Run every item, and give each result with its position in the input as it comes.

    Arguments and errors as for `run_batch`. No more than twice `concurrency` items are begun and not yet taken, so a
    slow reader slows the batch. Leaving the iteration early ends the batch, at once where it is closed
    (`contextlib.aclosing`).

    Raises:
        InvalidRequestError: An argument makes no sense.
    """
    return _iterate(Items(coros), _checked(concurrency), checkpoint, retry_failed, stop, progress)


async def _iterate(
    items: Items,
    concurrency: int,
    checkpoint: str | PathLike[str] | Checkpoint | None,
    retry_failed: bool,
    stop: asyncio.Event | None,
    progress: Report | None,
) -> AsyncGenerator[tuple[int, Any], None]:
    ready: asyncio.Queue[tuple[int, Any] | None] = asyncio.Queue()
    room = asyncio.Semaphore(concurrency)

    async def deliver(index: int, result: Any) -> None:
        await room.acquire()
        ready.put_nowait((index, result))

    # A task of its own holds the group of the items' tasks: an iteration that is dropped is closed by another task
    # than the one that began it, and a group must be left by the task that entered it.
    running = asyncio.ensure_future(_Run(items, concurrency, checkpoint, retry_failed, stop, deliver, progress)())
    running.add_done_callback(lambda _: ready.put_nowait(None))
    try:
        while (entry := await ready.get()) is not None:
            room.release()
            yield entry
        await running
    finally:
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # raised above, unless the reader left first
        await items.aclose()  # where the task was cancelled before its first step


class _Run:
    """One run of a batch."""

    def __init__(
        self,
        items: Items,
        concurrency: int,
        checkpoint: str | PathLike[str] | Checkpoint | None,
        retry_failed: bool,
        stop: asyncio.Event | None,
        deliver: Callable[[int, Any], Awaitable[None]],
        progress: Report | None,
    ) -> None:
        self._items = items
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._checkpoint = checkpoint if isinstance(checkpoint, Checkpoint | None) else Checkpoint(checkpoint)
        self._retry_failed = retry_failed
        self._stop = stop
        self._deliver = deliver
        self._report = automatic_report() if progress is None else progress
        self._held: set[Item] = set()
        self._is_ending = False
        self._done = self._failed = self._restored = 0
        self._began_at = time.monotonic()

    async def __call__(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                if self._checkpoint is not None:
                    await stack.enter_async_context(self._checkpoint)
                await self._run_all()
        finally:
            for item in self._held:
                item.discard()
            await self._items.aclose()
            self._tell(is_over=True)

    async def _run_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._feed(group)
                    # Awaited here and not by the group, so that a cancellation is noticed before the items' tasks
                    # get theirs: one that was not meant for all is an item's own.
                    for _ in range(self._concurrency):
                        await self._slots.acquire()
                except BaseException:
                    self._is_ending = True
                    raise
        except BaseExceptionGroup as group_of_one:
            # The first failure cancels the rest; a caller wants it as it was raised.
            raise group_of_one.exceptions[0] from None

    async def _feed(self, group: asyncio.TaskGroup) -> None:
        """Begin items until there are none, or it is time to stop."""
        while True:
            await self._slots.acquire()
            item = None if self._is_stopped() else await self._next()
            if item is None or self._is_stopped():
                if item is not None:
                    item.discard()
                self._slots.release()
                break
            self._held.add(item)
            group.create_task(self._work(item))
        if self._checkpoint is not None and not self._is_stopped():
            self._checkpoint.check_end(self._items.count)

    async def _next(self) -> Item | None:
        """The next item that is to be run; the results of those before it that are done are given."""
        while (item := await self._items.take()) is not None:
            checkpoint = self._checkpoint
            if checkpoint is None:
                return item
            try:
                is_done = checkpoint.holds(item.index, item.key, even_failed=not self._retry_failed)
            except InvalidRequestError:
                item.discard()
                raise
            if not is_done:
                return item
            item.discard()
            self._restored += 1
            await self._give(item.index, checkpoint.result(item.index))
            if self._restored % RESTORED_AT_ONCE == 0:
                await asyncio.sleep(0)
            if self._is_stopped():
                return None
        return None

    async def _work(self, item: Item) -> None:
        try:
            result = await self._outcome(item)
            if self._checkpoint is not None:
                result = self._checkpoint.put(item.index, item.key, result)
                await self._checkpoint.sync()
            await self._give(item.index, result)
        except BaseException:
            self._is_ending = True
            raise
        finally:
            self._held.discard(item)
            self._slots.release()

    async def _outcome(self, item: Item) -> Any:
        """The item's result, or the dictionary that says why there is none."""
        try:
            awaitable = item.begin()
        except Exception as exc:
            return failure(exc, item.index, item.key)
        if not isinstance(awaitable, Awaitable):
            raise InvalidRequestError(
                f"The function of item {item.index} gave {type(awaitable).__name__}, which can't be awaited: "
                "give an async function."
            )
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._is_ending:
                raise
            task = asyncio.current_task()
            while task is not None and task.cancelling():
                task.uncancel()
            return cancelled(item.index, item.key)
        except Exception as exc:
            return failure(exc, item.index, item.key)

    async def _give(self, index: int, result: Any) -> None:
        self._done += 1
        self._failed += is_failure(result)
        self._tell()
        await self._deliver(index, result)

    def _tell(self, *, is_over: bool = False) -> None:
        self._report(
            Progress(
                done=self._done,
                failed=self._failed,
                restored=self._restored,
                total=self._items.total,
                elapsed=time.monotonic() - self._began_at,
                is_over=is_over,
            )
        )

    def _is_stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()


def _checked(concurrency: Any) -> int:
    if type(concurrency) is not int or concurrency < 1:
        raise InvalidRequestError(f"concurrency must be a whole number of at least 1, not {concurrency!r}.")
    return concurrency
