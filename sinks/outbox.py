"""Events that wait for a transport, and the one task that hands them over in groups."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, Self

from hub.errors import ClosedError, SinkUnavailableError
from hub.events import LLMEvent
from hub.sink.base import CLOSE_TIMEOUT, with_trouble

__all__ = ("Outbox", "Waiting")

log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """An event, and the bytes by which it counts towards the bounds."""

    event: LLMEvent
    data: bytes


class Outbox:
    """What gathers while one group is under way goes in the next, in order; one group is under way at a time.

    The first event goes at once. What comes within `max_delay` seconds after a group has arrived goes together, sooner
    where a `done` is among it, where it is `eager_bytes` large, or at the end. A group that can't be delivered ends
    it all: the next call raises what `deliver` raised, and nothing more is taken.

    Use it as an async context manager, which owns the task. It may be closed by another task than entered it.

    Args:
        name: What is named in messages: where the events go.
        deliver: Carries one group, and returns once it has arrived.
        release: Lets go of the transport; called once, at the end, also where nobody entered.
        fitting: How many of those that wait, from the first on, go in the next group.
        max_delay: Seconds that an event may wait for others.
        eager_bytes: Bytes after which none waits for others.
        max_bytes: Bytes that wait or are under way, after which `put` waits.
        close_timeout: Seconds that `aclose` waits for the last group, and as many for the release.
        trouble: What the last try of `deliver` failed with, where it tries by itself; None where nothing is amiss.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[list[Waiting]], Awaitable[None]],
        *,
        release: Callable[[], Awaitable[None]],
        fitting: Callable[[Collection[Waiting]], int] = len,
        max_delay: float,
        eager_bytes: int,
        max_bytes: int,
        close_timeout: float,
        trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._name = name
        self._deliver = deliver
        self._release = release
        self._fitting = fitting
        self._max_delay = max_delay
        self._eager_bytes = eager_bytes
        self._max_bytes = max_bytes
        self._close_timeout = close_timeout
        self._trouble = trouble
        self._waiting: deque[Waiting] = deque()
        self._under_way = 0
        self._bytes = 0
        self._last: tuple[str, int] | None = None
        self._next_at = float("-inf")
        self._filled = asyncio.Event()
        self._hurry = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure: Exception | None = None
        self._told = False
        self._closed = False
        self._tasks: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise ClosedError(f"{self._name}: a sink is entered once.")
        # As in FanOut: the one child never raises, so whoever entered is never cancelled for it.
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._task = self._tasks.create_task(self._run())
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if exc_type is None:
            await self.aclose()
            return
        self._close_timeout = min(self._close_timeout, CLOSE_TIMEOUT)
        try:
            await self.aclose()
        except Exception as exc:
            # Its own error would hide the one that ends the block, which may be a cancellation.
            log.warning("What was held did not arrive. %s", exc)

    async def put(self, event: LLMEvent, data: bytes) -> None:
        """Let the event wait for its group, once there is room; what was put before is passed over.

        Raises:
            ClosedError: It is closed, or was not entered.
            Exception: What an earlier group failed with.
        """
        self._check()
        if self._last is not None and event.stream_id == self._last[0] and event.seq <= self._last[1]:
            return  # it comes again after a cancelled call, and waits or went already
        while self._bytes >= self._max_bytes:
            self._room.clear()
            await self._room.wait()
            self._check()
        self._last = event.stream_id, event.seq
        self._waiting.append(Waiting(event, data))
        self._bytes += len(data)
        self._idle.clear()
        self._filled.set()
        if event.type == "done" or self._bytes >= self._eager_bytes:
            self._hurry.set()

    async def flush(self) -> None:
        """Return once everything that was put has arrived.

        Raises:
            Exception: What a group failed with.
        """
        await self._idle.wait()
        self._raise_failure()

    async def aclose(self) -> None:
        """Wait for the last group, for a bounded time, and let go of everything; a second call does nothing.

        Raises:
            SinkUnavailableError: The last group did not arrive in time.
            Exception: What a group failed with, where no call has raised it yet, or what letting go failed with.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._tasks is not None and self._task is not None:
                await self._finish(self._tasks, self._task)
        finally:
            await self._let_go()
        if not self._told:
            self._raise_failure()

    async def _finish(self, tasks: asyncio.TaskGroup, task: asyncio.Task[None]) -> None:
        self._hurry.set()
        try:
            async with asyncio.timeout(self._close_timeout):
                await self._idle.wait()
        except TimeoutError:
            words = f"{self._name} did not take the last events within {self._close_timeout:g} s"
            self._fail(SinkUnavailableError(f"{with_trouble(words, self._trouble())}."))
        finally:
            task.cancel()
            try:
                await tasks.__aexit__(None, None, None)
            finally:
                if not self._idle.is_set():  # whoever waits must learn of it, also where this call was cancelled
                    self._fail(SinkUnavailableError(f"{self._name} was closed before the last events arrived."))

    async def _let_go(self) -> None:
        try:
            async with asyncio.timeout(self._close_timeout):
                await self._release()
        except TimeoutError as exc:
            if self._failure is None:
                raise SinkUnavailableError(f"{self._name} was not closed within {self._close_timeout:g} s.") from exc

    def _check(self) -> None:
        if self._closed or self._tasks is None:
            raise ClosedError(f"{self._name}: a sink takes events inside its `async with` block only.")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._told = True
            raise self._failure

    async def _run(self) -> None:
        while self._failure is None:
            await self._filled.wait()
            await self._wait_for_others()
            group = [self._waiting.popleft() for _ in range(self._fitting(self._waiting))]
            if not self._waiting:
                self._filled.clear()
                self._hurry.clear()
            self._under_way = len(group)
            try:
                await self._deliver(group)
            except Exception as exc:
                self._fail(exc)
            else:
                self._delivered(group)

    async def _wait_for_others(self) -> None:
        delay = self._next_at - asyncio.get_running_loop().time()
        if delay <= 0:
            return
        try:
            async with asyncio.timeout(delay):
                await self._hurry.wait()
        except TimeoutError:
            pass

    def _delivered(self, group: list[Waiting]) -> None:
        self._under_way = 0
        self._bytes -= sum(len(each.data) for each in group)
        self._room.set()
        if [each.event.type for each in group] != ["meta"]:  # which must not make the first delta wait
            self._next_at = asyncio.get_running_loop().time() + self._max_delay
        if not self._waiting:
            self._idle.set()

    def _fail(self, exc: Exception) -> None:
        log.info(
            "%s took no more; of %d events nobody knows that they arrived: %s",
            self._name,
            self._under_way + len(self._waiting),
            exc,
        )
        self._failure = exc
        self._waiting.clear()
        self._room.set()
        self._idle.set()
