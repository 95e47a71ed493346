"""The Sink protocol, and what works for every sink: `pump`, `FanOut`, `Coalesce`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Protocol, Self, runtime_checkable

from hub.completion import Completion
from hub.errors import ClosedError, SinkError
from hub.events import EndStatus, LLMEvent, merge, merge_neighbours, mergeable
from hub.result import Failure, LLMResult

__all__ = ("Coalesce", "Endable", "FanOut", "Sink", "pump")

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes the events of one stream, in order, and carries them away.

    `send` is awaited before the next `send` begins, so a slow sink holds its producer back; it raises when the
    sink can't carry the event. An event may be sent again after a cancelled `send`: readers know a repeat by its
    `seq`. `aclose` flushes what is held, may be called twice, and is not called while a `send` runs.
    """

    async def send(self, event: LLMEvent) -> None:
        """Carry one event away."""
        ...

    async def aclose(self) -> None:
        """Flush and release; a second call does nothing."""
        ...


@runtime_checkable
class Endable(Protocol):
    """A source of events that can say how its stream ends when it is left early."""

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events still due, from the first one not yet handed out through `done`."""
        ...


async def pump(events: AsyncIterable[LLMEvent], sink: Sink, *, cancel_timeout: float = 1.0) -> LLMResult:
    """Send every event to the sink and return their fold. The sink stays open: its owner closes it.

    A cancelled pump still sends the end of the stream (`usage`, and `done` with status `cancelled`), for at most
    `cancel_timeout` seconds, before the cancellation goes on.

    Raises:
        Exception: What the sink's `send` raised.
    """
    completion = Completion()
    unsent: LLMEvent | None = None
    try:
        async for event in events:
            unsent = event
            completion.add(event)
            await sink.send(event)
            unsent = None
    except asyncio.CancelledError:
        ending = events.ending("cancelled") if isinstance(events, Endable) else completion.ending("cancelled")
        due = [unsent, *ending] if unsent is not None else ending
        await _send_last(due, sink, cancel_timeout)
        raise
    return completion.result()


async def _send_last(events: Sequence[LLMEvent], sink: Sink, timeout: float) -> None:
    """Send the end of a cancelled stream; a sink that can't take it must not delay the cancellation."""
    try:
        async with asyncio.timeout(timeout):
            for event in merge_neighbours(events):
                await sink.send(event)
    except Exception as exc:
        log.warning("the end of a cancelled stream did not reach %s: %s", type(sink).__name__, exc)


class FanOut:
    """A sink that sends to several, each at its own pace; one that fails or lags harms no other.

    Each sink has a queue of at most `max_queue` events and a task that empties it. A full queue first merges
    neighbouring deltas; if it is still full, that sink has failed: it gets nothing more and is closed. No single
    event is dropped in silence. `send` never waits for a sink. It raises `SinkError` once every sink has failed.

    Use it as an async context manager; leaving it waits up to `drain_timeout` seconds for the queues to empty,
    then closes every sink.

    Args:
        sinks: Where the events go.
        max_queue: Events waiting for one sink, at most.
        drain_timeout: Seconds that `aclose` waits for a queue to empty.
        on_failure: Called once for each sink that failed, with the sink and its exception.
    """

    def __init__(
        self,
        *sinks: Sink,
        max_queue: int = 1000,
        drain_timeout: float = 5.0,
        on_failure: Callable[[Sink, Exception], None] | None = None,
    ) -> None:
        self._lanes = [_Lane(sink, max_queue, self._failed) for sink in sinks]
        self._drain_timeout = drain_timeout
        self._on_failure = on_failure
        self._tasks: asyncio.TaskGroup | None = None
        self._closed = False
        self.failures: list[tuple[Sink, Exception]] = []

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        for lane in self._lanes:
            lane.task = self._tasks.create_task(lane.run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def send(self, event: LLMEvent) -> None:
        """Queue the event for every sink that still works; returns at once."""
        if self._tasks is None or self._closed:
            raise ClosedError("a FanOut takes events inside its `async with` block only")
        for lane in self._lanes:
            lane.put(event)
        if self._lanes and all(lane.failure for lane in self._lanes):
            raise SinkError("every sink of the fan-out has failed") from self._lanes[0].failure

    async def aclose(self) -> None:
        """Wait for the queues to empty, for a bounded time, then close every sink."""
        if self._tasks is None or self._closed:
            return
        self._closed = True
        try:
            for lane in self._lanes:
                lane.finish()
            if pending := [lane.task for lane in self._lanes if lane.task is not None]:
                await asyncio.wait(pending, timeout=self._drain_timeout)
        finally:
            for lane in self._lanes:
                if lane.task is not None and not lane.task.done():
                    lane.fail(TimeoutError(f"its queue did not empty in {self._drain_timeout:g} s"))
                    lane.task.cancel()
            await self._tasks.__aexit__(None, None, None)

    def _failed(self, sink: Sink, exc: Exception) -> None:
        self.failures.append((sink, exc))
        log.warning("%s failed and gets no further events: %s", type(sink).__name__, exc)
        if self._on_failure is not None:
            self._on_failure(sink, exc)


class _Lane:
    """One sink of a fan-out: its queue, and the task that empties it."""

    def __init__(self, sink: Sink, max_queue: int, on_failure: Callable[[Sink, Exception], None]) -> None:
        self.sink = sink
        self.failure: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self._queue: deque[LLMEvent] = deque()
        self._max_queue = max_queue
        self._on_failure = on_failure
        self._wake = asyncio.Event()
        self._finished = False

    def put(self, event: LLMEvent) -> None:
        if self.failure is not None:
            return
        if len(self._queue) >= self._max_queue:
            self._queue = deque(merge_neighbours(self._queue))
            if len(self._queue) >= self._max_queue:
                self.fail(SinkError(f"it lags by {self._max_queue} events"))
                if self.task is not None:
                    self.task.cancel()
                return
        self._queue.append(event)
        self._wake.set()

    def finish(self) -> None:
        self._finished = True
        self._wake.set()

    def fail(self, exc: Exception) -> None:
        self.failure = exc
        self._queue.clear()
        self._on_failure(self.sink, exc)

    async def run(self) -> None:
        try:
            while not (self._finished and not self._queue):
                while self._queue and self.failure is None:
                    await self.sink.send(self._queue.popleft())
                if self._finished or self.failure is not None:
                    break
                self._wake.clear()
                await self._wake.wait()
        except Exception as exc:
            self.fail(exc)
        finally:
            await self._close()

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self.sink.aclose()
        except Exception as exc:
            if self.failure is None:
                self.fail(exc)


class Coalesce:
    """A sink in front of another that merges neighbouring deltas by time and size.

    The first delta goes on at once, so the time to the first token stays; what follows within `max_delay` seconds
    is sent as one event, whose `span` is the number it stands for. Any other event first sends what is held. An
    error of the sink behind is raised by the next `send` or by `aclose`.

    Use it as an async context manager; leaving it sends what is held and closes the sink behind.

    Args:
        sink: Where the merged events go.
        max_delay: Seconds that a delta may be held.
        max_bytes: UTF-8 bytes of text after which what is held goes on without waiting.
    """

    def __init__(self, sink: Sink, *, max_delay: float = 0.05, max_bytes: int = 4096) -> None:
        self._sink = sink
        self._max_delay = max_delay
        self._max_bytes = max_bytes
        self._held: list[LLMEvent] = []
        self._held_bytes = 0
        self._flushed_at = float("-inf")
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._failure: Exception | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._flusher = self._tasks.create_task(self._flush_late())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def send(self, event: LLMEvent) -> None:
        """Hold the event, or send it on with what is held before it."""
        if self._tasks is None or self._closed:
            raise ClosedError("a Coalesce takes events inside its `async with` block only")
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._held and not mergeable(self._held[-1], event):
                await self._flush()
            self._held.append(event)
            self._held_bytes += _text_bytes(event)
            now = asyncio.get_running_loop().time()
            late = now - self._flushed_at >= self._max_delay
            if late or self._held_bytes >= self._max_bytes or not _is_delta(event):
                await self._flush()
            else:
                self._wake.set()

    async def aclose(self) -> None:
        """Send what is held and close the sink behind."""
        if self._tasks is None or self._closed:
            return
        self._closed = True
        if self._flusher is not None:
            self._flusher.cancel()
        await self._tasks.__aexit__(None, None, None)
        try:
            if self._failure is not None:
                raise self._failure
            await self._flush()
        finally:
            await self._sink.aclose()

    async def _flush(self) -> None:
        if not self._held:
            return
        await self._sink.send(merge(self._held))
        # Forgotten only once it is sent: a send that was cancelled is tried again, and readers know a repeat.
        self._held, self._held_bytes = [], 0
        self._flushed_at = asyncio.get_running_loop().time()

    async def _flush_late(self) -> None:
        """Send what is held when its time is over and no further event came to do it."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(max(0.0, self._flushed_at + self._max_delay - loop.time()))
            async with self._lock:
                try:
                    await self._flush()
                except Exception as exc:
                    self._failure = exc
                    return


def _is_delta(event: LLMEvent) -> bool:
    """Whether an event is a delta, which may be held for the next one."""
    return event.type in ("text_delta", "reasoning_delta", "refusal_delta", "tool_call_delta")


def _text_bytes(event: LLMEvent) -> int:
    match event.type:
        case "text_delta" | "reasoning_delta" | "refusal_delta":
            return len(event.text.encode())
        case "tool_call_delta":
            return len(event.arguments.encode())
        case _:
            return 0
