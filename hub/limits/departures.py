"""What is still to be told to a server when a caller leaves, without keeping that caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

__all__ = ("MAX_DEPARTURES", "Departures")

MAX_DEPARTURES = 64
"""As many are under way at once. A place whose departure is not told runs out by itself."""

MOMENT = 0.05
"""Seconds for which a caller stays: a server that is well has answered by then, and nothing is left under way."""


class Departures:
    """Owns the tasks that tell of departures, in one event loop. Each has to end by itself and never raises."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending = _cancelled_at_end(self._tasks)

    @property
    def is_full(self) -> bool:
        """No further one is to be told."""
        return len(self._tasks) >= MAX_DEPARTURES

    async def open(self) -> None:
        """None outlives the event loop, where that shuts down in order, as `asyncio.run` does.

        It cancels what waits in line, and who is cancelled leaves: too late to be cancelled with the others.
        """
        await anext(self._ending)

    async def tell(self, departure: Coroutine[Any, Any, None]) -> None:
        """Tell of it; after a moment the caller goes its way, and the departure its own."""
        task = asyncio.get_running_loop().create_task(departure, name="leave the rate limit's queue")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait([task], timeout=MOMENT)

    async def aclose(self) -> None:
        """Wait for those under way; where that is cancelled, so are they."""
        tasks = set(self._tasks)
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            _cancel(tasks)


async def _cancelled_at_end(tasks: set[asyncio.Task[Any]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        under_way = set(tasks)
        _cancel(under_way)
        if under_way:
            await asyncio.wait(under_way)


def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
