"""The event loop of a command that runs for long."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from hub.stopping import break_off

__all__ = ("loop_factory", "run")

log = logging.getLogger(__name__)

BREAK_OFF_TIMEOUT = 1.0
"""Seconds for what still runs when the command is done."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop: uvloop's, where it is installed; None for asyncio's own."""
    try:
        import uvloop  # not on Windows, and not without the extra `server`
    except ImportError:
        return None
    return uvloop.new_event_loop


def run(command: Coroutine[Any, Any, None]) -> int:
    """Run a command to its end, and return the exit code.

    Where an application's own tasks or threads don't stop, the process ends here and now: closing the loop would wait
    for them, which may be for ever.
    """
    runner = asyncio.Runner(loop_factory=loop_factory())
    is_done = False
    try:
        runner.run(command)
        is_done = True
    finally:
        if not runner.run(_left_behind()):
            runner.close()
        elif is_done:
            _end_process()
    return 0


async def _left_behind() -> bool:
    """Whether anything goes on that was told to stop: tasks, or threads that do what blocks."""
    resisting = await break_off(asyncio.all_tasks() - {asyncio.current_task()}, BREAK_OFF_TIMEOUT)
    for task in resisting:
        log.error("%s doesn't stop; the process ends without it", task.get_name())
    joining = asyncio.ensure_future(asyncio.get_running_loop().shutdown_default_executor())
    _, late = await asyncio.wait([joining], timeout=BREAK_OFF_TIMEOUT)
    if late:
        log.error("a thread doesn't end; the process ends without it")
    return bool(resisting or late)


def _end_process() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
