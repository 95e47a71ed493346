"""Blocking calls in a thread of their own, which keeps nobody's process from ending."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from hub.errors import SinkUnavailableError

__all__ = ("OwnThread", "thread_of")

T = TypeVar("T")


class OwnThread:
    """Makes calls one after another, in a thread that is there while there are any.

    The loop's own pool has few threads, which its DNS look-ups need too, and the process waits for them when it ends: a
    disk that never answers would take the one from everybody and keep the other from ever coming.

    Args:
        name: Of the thread, for who looks at a process that hangs.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._mutex = threading.Lock()
        self._calls: deque[_Call[Any]] = deque()
        self._is_running = False

    async def run(self, function: Callable[[], T], *, in_any_case: bool = False) -> T:
        """What the function returns or raises.

        Cancelled while the function is under way, it goes on, and nobody waits for it. Cancelled sooner, it is not
        called, unless that is to happen `in_any_case`. What is not done when the process ends is left.

        Raises:
            SinkUnavailableError: The process may have no more threads.
        """
        call = _Call(function, asyncio.get_running_loop())
        with self._mutex:
            if not self._is_running:
                self._start()
            self._calls.append(call)
        try:
            return await call.future
        except asyncio.CancelledError:
            if not in_any_case:
                with self._mutex, suppress(ValueError):
                    self._calls.remove(call)
            raise

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as exc:
            raise SinkUnavailableError("The system gives this process no more threads: let it have more.") from exc
        self._is_running = True

    def _work(self) -> None:
        while True:
            with self._mutex:
                if not self._calls:
                    self._is_running = False
                    return
                call = self._calls.popleft()
            call.make()
            del call  # with what it holds, before the next one


_threads: WeakValueDictionary[tuple[int, str], OwnThread] = WeakValueDictionary()
"""By process, since a thread is not in those that are forked off, and by path."""


def thread_of(path: Path) -> OwnThread:
    """The thread of all that write to a file of this path in this process.

    They would wait for each other's lock otherwise, as those do that spell the path in another way, and each would hang
    where the file does.
    """
    key = os.getpid(), str(path)
    thread = _threads.get(key)
    if thread is None:
        thread = _threads[key] = OwnThread(f"JSONL {path.name}")
    return thread


class _Call(Generic[T]):
    """A function, and the future of a loop that gets what comes of it."""

    def __init__(self, function: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[T] = loop.create_future()
        self._function = function
        self._loop = loop

    def make(self) -> None:
        """Call the function; in the thread."""
        try:
            settle = partial(self.future.set_result, self._function())
        except BaseException as exc:  # whatever it is, somebody waits
            settle = partial(self.future.set_exception, exc)
        with suppress(RuntimeError):  # the loop is closed: nobody does
            self._loop.call_soon_threadsafe(self._settle, settle)

    def _settle(self, settle: Callable[[], None]) -> None:
        if not self.future.done():  # as one that was cancelled is
            settle()
