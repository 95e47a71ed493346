"""One stream to several sinks."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Self

from hub.errors import ClosedError, SinkError
from hub.events import LLMEvent, merge_neighbours
from hub.sink.base import CLOSE_TIMEOUT, Sink, carried_text

__all__ = ("FanOut",)

log = logging.getLogger(__name__)


class FanOut:
    """A sink that sends to several, each at its own pace; one that fails or lags harms no other.

    Each sink has a queue and a task that empties it. A full queue first merges neighbouring deltas; if it is still
    full, that sink has failed: it gets nothing more and is closed. No single event is dropped in silence. `send`
    never waits for a sink, but gives the queues a turn when one is full. It raises `SinkError` once every sink has
    failed; where that comes out only at the end, `aclose` raises it.

    Use it as an async context manager; leaving it waits up to `drain_timeout` seconds for the queues to empty (one
    second where the block was cancelled), then closes every sink. It may be closed by another task than entered it.

    Args:
        sinks: Where the events go.
        max_queue: Events waiting for one sink, at most.
        max_queue_chars: Characters of text among them, at most; a sink that never takes a delta costs no more.
        drain_timeout: Seconds that `aclose` waits for the queues to empty and the sinks to close.
        on_failure: Called once for each sink that failed, with the sink and its exception.

    Attributes:
        failures: The sinks that failed, each with its exception.
    """

    def __init__(
        self,
        *sinks: Sink,
        max_queue: int = 1000,
        max_queue_chars: int = 16_000_000,
        drain_timeout: float = 5.0,
        on_failure: Callable[[Sink, Exception], None] | None = None,
    ) -> None:
        self._lanes = [_Lane(sink, max_queue, max_queue_chars, self._failed) for sink in sinks]
        self._drain_timeout = drain_timeout
        self._on_failure = on_failure
        self._tasks: asyncio.TaskGroup | None = None
        self._closed = False
        self._told = False
        self.failures: list[tuple[Sink, Exception]] = []

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise ClosedError("a FanOut is entered once")
        # A group cancels the task that entered it when a child raises. None does: a lane keeps what its sink raised.
        self._tasks = await asyncio.TaskGroup().__aenter__()
        for lane in self._lanes:
            lane.task = self._tasks.create_task(lane.run())
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if exc_type is not None:
            self._told = True  # its own error would hide the one that ends the block
            if issubclass(exc_type, asyncio.CancelledError):
                self._drain_timeout = min(self._drain_timeout, CLOSE_TIMEOUT)
        await self.aclose()

    async def send(self, event: LLMEvent) -> None:
        """Queue the event for every sink that still works."""
        if self._tasks is None or self._closed:
            raise ClosedError("a FanOut takes events inside its `async with` block only")
        if any(lane.is_full for lane in self._lanes):
            await asyncio.sleep(0)  # a producer that never waits would fill the queue of the fastest sink
        for lane in self._lanes:
            lane.put(event)
        self._raise_if_all_failed()

    async def aclose(self) -> None:
        """Wait for the queues to empty, for a bounded time, and close every sink; a second call does nothing.

        Raises:
            SinkError: Every sink has failed, and no `send` has said so.
        """
        if self._closed:
            return
        self._closed = True
        if self._tasks is None:
            for lane in self._lanes:
                await lane.close()
        else:
            await self._drain(self._tasks)
        if not self._told:
            self._raise_if_all_failed()

    async def _drain(self, tasks: asyncio.TaskGroup) -> None:
        running = [lane.task for lane in self._lanes if lane.task is not None]
        try:
            for lane in self._lanes:
                lane.finish()
            if running:
                await asyncio.wait(running, timeout=self._drain_timeout)
        finally:
            for lane in self._lanes:
                lane.break_off(TimeoutError(f"it took no end within {self._drain_timeout:g} s"))
            await tasks.__aexit__(None, None, None)

    def _raise_if_all_failed(self) -> None:
        if self._lanes and all(lane.failure for lane in self._lanes):
            self._told = True
            raise SinkError("every sink of the fan-out has failed") from self._lanes[0].failure

    def _failed(self, sink: Sink, exc: Exception) -> None:
        self.failures.append((sink, exc))
        log.warning("%s failed and gets no further events: %s", type(sink).__name__, exc)
        if self._on_failure is None:
            return
        try:
            self._on_failure(sink, exc)
        except Exception:
            log.exception("the report on a failed sink failed itself")


class _Lane:
    """One sink of a fan-out: its queue, and the task that empties it."""

    def __init__(
        self, sink: Sink, max_queue: int, max_chars: int, on_failure: Callable[[Sink, Exception], None]
    ) -> None:
        self.failure: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self._sink = sink
        self._queue: deque[LLMEvent] = deque()
        self._chars = 0
        self._max_queue = max_queue
        self._max_chars = max_chars
        self._on_failure = on_failure
        self._wake = asyncio.Event()
        self._finished = False

    @property
    def is_full(self) -> bool:
        return len(self._queue) >= self._max_queue or self._chars > self._max_chars

    def put(self, event: LLMEvent) -> None:
        if self.failure is not None:
            return
        if self.is_full:
            self._queue = deque(merge_neighbours(self._queue))
            if self.is_full:
                self.break_off(SinkError(f"it lags by {len(self._queue)} events"))
                return
        self._queue.append(event)
        self._chars += len(carried_text(event))
        self._wake.set()

    def finish(self) -> None:
        """Let the task end once the queue is empty."""
        self._finished = True
        self._wake.set()

    def break_off(self, exc: Exception) -> None:
        """End the task now, as failed, where it runs."""
        if self.task is not None and not self.task.done():
            self._fail(exc)
            self.task.cancel()

    async def run(self) -> None:
        try:
            await self._carry()
        except asyncio.CancelledError:
            self._fail(SinkError("it was cancelled from within"))
            raise
        except Exception as exc:
            self._fail(exc)
        finally:
            await self.close()

    async def close(self) -> None:
        try:
            # A sink in order has the time of the whole drain, and is cancelled at its end.
            async with asyncio.timeout(CLOSE_TIMEOUT if self.failure else None):
                await self._sink.aclose()
        except Exception as exc:
            self._fail(exc)

    async def _carry(self) -> None:
        while True:
            while self._queue:
                event = self._queue.popleft()
                self._chars -= len(carried_text(event))
                await self._sink.send(event)
            if self._finished:
                return
            self._wake.clear()
            await self._wake.wait()

    def _fail(self, exc: Exception) -> None:
        if self.failure is None:
            self.failure = exc
            self._queue.clear()
            self._on_failure(self._sink, exc)
