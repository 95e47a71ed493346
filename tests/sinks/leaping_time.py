"""A loop whose waits take no time although its sockets are real."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from ..contracts.samples import without_leaks

QUIET = 0.005
"""Seconds without any traffic, after which none is under way on loopback."""

STUCK = 10.0


class LeapingTime(selectors.DefaultSelector):
    """A selector under which a loop's time passes only when all tasks wait and nothing comes, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready; when nothing gets so, time goes on to the next timer."""
        if ready := super().select(0):
            return ready
        if timeout is None:
            if ready := super().select(STUCK):
                return ready
            raise RuntimeError("every task waits for something that will never come")
        if timeout > 0 and not (ready := super().select(QUIET)):
            self.now += timeout
        return ready


def in_leaping_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop whose hours take no time, though its peers are at the end of real sockets."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        selector = LeapingTime()

        def new_loop() -> asyncio.AbstractEventLoop:
            loop = asyncio.SelectorEventLoop(selector)
            loop.time = lambda: selector.now  # type: ignore[method-assign]
            return loop

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(without_leaks(test(*args, **kwargs)))

    return run
