"""Cancellation that the driver loses, and how it is found again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ("keeping_cancellation",)


@contextmanager
def keeping_cancellation() -> Iterator[None]:
    """A task that was cancelled within the block is cancelled at its end, whatever the driver made of it.

    redis-py sends each command under `asyncio.wait_for`, which before Python 3.12 drops a cancellation that comes when
    the command is just sent (CPython issue 86296; redis-py 8.1.0, read 2026-11-21). The driver then goes on to read the
    answer, so the cancellation is late by as long as that takes: put a time-out within the block.

    Raises:
        asyncio.CancelledError: The task was cancelled, and the block ended with a result or with another error.
    """
    task = asyncio.current_task()
    # What was asked for before is for those outside to see to, such as clean-up in a task that is being cancelled.
    before = 0 if task is None else task.cancelling()
    lost: Exception | None = None
    try:
        yield
    except Exception as exc:
        if task is None or task.cancelling() <= before:
            raise
        lost = exc
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError from lost
