"""One stream to several sinks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Self

from hub.errors import ClosedError, ConfigurationError, SinkError
from hub.events import LLMEvent
from hub.sink.backlog import Backlog
from hub.sink.base import CLOSE_TIMEOUT, Sink, trouble_of, with_trouble

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

    Raises:
        ConfigurationError: There is no sink, what is given is none, or a number makes no sense.
    """

    def __init__(
        self,
        *sinks: Sink,
        max_queue: int = 1000,
        max_queue_chars: int = 16_000_000,
        drain_timeout: float = 5.0,
        on_failure: Callable[[Sink, Exception], None] | None = None,
    ) -> None:
        _check(sinks)
        if max_queue < 1 or max_queue_chars < 1 or drain_timeout < 0:
            raise ConfigurationError("A FanOut's queues take 1 or more, and its drain_timeout is 0 seconds or more.")
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
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            for lane in self._lanes:
                lane.finish()
            if running:
                await asyncio.wait(running, timeout=self._drain_timeout)
        finally:
            # Less than the drain_timeout, where this call was cancelled.
            seconds = min(self._drain_timeout, round(clock() - began, 2))
            for lane in self._lanes:
                lane.break_off(lambda cause: TimeoutError(with_trouble(f"it took no end within {seconds:g} s", cause)))
            await tasks.__aexit__(None, None, None)

    def _raise_if_all_failed(self) -> None:
        if self._lanes and all(lane.failure for lane in self._lanes):
            self._told = True
            first = self._lanes[0].failure
            words = str(first).rstrip(".") or type(first).__name__
            raise SinkError(f"every sink of the fan-out has failed, the first one so: {words}") from first

    def _failed(self, sink: Sink, exc: Exception) -> None:
        self.failures.append((sink, exc))
        log.warning("%s failed and gets no further events: %s", type(sink).__name__, str(exc) or type(exc).__name__)
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
        self._backlog = Backlog(max_queue, max_chars)
        self._on_failure = on_failure
        self._wake = asyncio.Event()
        self._finished = False

    @property
    def is_full(self) -> bool:
        return self._backlog.is_full

    def put(self, event: LLMEvent) -> None:
        if self.failure is not None:
            return
        if not self._backlog.put(event):
            lag = len(self._backlog)
            self.break_off(lambda cause: SinkError(with_trouble(f"it lags by {lag} events", cause)))
            return
        self._wake.set()

    def finish(self) -> None:
        """Let the task end once the queue is empty."""
        self._finished = True
        self._wake.set()

    def break_off(self, why: Callable[[str | None], Exception]) -> None:
        """End the task now, as failed, where it runs; `why` is told what the sink says is wrong."""
        if self.task is not None and not self.task.done():
            self._fail(why(trouble_of(self._sink)))
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
            while self._backlog:
                await self._sink.send(self._backlog.pop())
            if self._finished:
                return
            self._wake.clear()
            await self._wake.wait()

    def _fail(self, exc: Exception) -> None:
        if self.failure is None:
            self.failure = exc
            self._backlog.clear()
            self._on_failure(self._sink, exc)


def _check(sinks: tuple[Sink, ...]) -> None:
    if not sinks:
        raise ConfigurationError("A FanOut needs a sink to send to: FanOut(first, second).")
    for sink in sinks:
        has_both = callable(getattr(sink, "send", None)) and callable(getattr(sink, "aclose", None))
        if not has_both or isinstance(sink, type):
            hint = " They are given one by one: FanOut(*sinks)." if isinstance(sink, (list, tuple)) else ""
            raise ConfigurationError(
                f"A FanOut sends to sinks, which have send and aclose; a {type(sink).__name__} is none.{hint}"
            )
