"""Tasks that belong to something which is closed one day."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from hub.errors import ClosedError

__all__ = ("Background", "outcome")

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Background:
    """Owns tasks, none of which outlives `aclose`. One that fails is logged at level DEBUG, and tells `outcome`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Result], *, name: str) -> asyncio.Task[Result]:
        """Run it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    async def aclose(self) -> None:
        """Cancel what runs, and wait for it."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.debug("%s: %s", task.get_name(), str(exc) or type(exc).__name__)


async def outcome(task: asyncio.Task[Result]) -> Result:
    """What a task comes to that others wait for as well: it goes on where the one who waits is cancelled.

    Raises:
        ClosedError: Its owner was closed meanwhile.
    """
    await asyncio.wait([task])
    if task.cancelled():
        raise ClosedError("it was closed meanwhile")
    return task.result()
