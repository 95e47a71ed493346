"""Ends tasks that run other people's code, in bounded time: such code can hold a cancellation up, or swallow it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

__all__ = ("break_off", "is_from_outside")


async def break_off(tasks: Collection[asyncio.Task[Any]], timeout: float) -> set[asyncio.Task[Any]]:
    """Cancel tasks, and wait for them a while.

    Args:
        tasks: What is to end.
        timeout: Seconds that they have.

    Returns:
        Those that go on all the same. Nobody should wait for them.
    """
    for task in tasks:
        task.cancel()
    if not tasks:
        return set()
    _, resisting = await asyncio.wait(tasks, timeout=timeout)
    return resisting


def is_from_outside(exc: BaseException) -> bool:
    """Whether something else ends the task, rather than what it runs: a Ctrl-C, or somebody who cancelled it.

    A generation that awaits a task which was cancelled raises `CancelledError` as well; nobody would go on with it.
    """
    if isinstance(exc, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    if isinstance(exc, BaseExceptionGroup):
        return exc.subgroup(KeyboardInterrupt) is not None
    return isinstance(exc, KeyboardInterrupt | GeneratorExit)
