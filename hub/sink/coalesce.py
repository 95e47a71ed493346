"""Fewer, larger events for a sink that pays by the event."""

from __future__ import annotations

import asyncio
import logging
from typing import Self

from hub.errors import ClosedError
from hub.events import LLMEvent, merge, mergeable
from hub.sink.base import CLOSE_TIMEOUT, Sink, carried_text, trouble_of

__all__ = ("Coalesce",)

log = logging.getLogger(__name__)


class Coalesce:
    """A sink in front of another that merges neighbouring deltas by time and size.

    The first delta goes on at once, so the time to the first token stays; what follows within `max_delay` seconds
    is sent as one event, whose `span` is the number it stands for. Any other event first sends what is held. An
    error of the sink behind is raised by the next `send`, else by `aclose`; after it nothing more is sent. What a
    cancelled `send` was sending goes again, unchanged, with the next.

    Use it as an async context manager; leaving it sends what is held and closes the sink behind. It may be closed by
    another task than entered it.

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
        self._sending: LLMEvent | None = None
        self._last_seq = -1
        self._flushed_at = float("-inf")
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._failure: Exception | None = None
        self._told = False
        self._tasks: asyncio.TaskGroup | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise ClosedError("a Coalesce is entered once")
        # As in FanOut: the one child never raises, so whoever entered is never cancelled for it.
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._flusher = self._tasks.create_task(self._flush_late())
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if exc_type is None:
            await self.aclose()
            return
        try:
            await self._close(CLOSE_TIMEOUT)
        except Exception as exc:
            # Its own error would hide the one that ends the block, which may be a cancellation.
            log.warning("%s did not take what was held for it: %s", type(self._sink).__name__, exc)

    async def send(self, event: LLMEvent) -> None:
        """Hold the event, or send it on with what is held before it."""
        if self._tasks is None or self._closed:
            raise ClosedError("a Coalesce takes events inside its `async with` block only")
        async with self._lock:
            try:
                await self._take(event)
            except Exception:
                self._told = True
                raise

    @property
    def trouble(self) -> str | None:
        """As the sink behind says."""
        return trouble_of(self._sink)

    async def aclose(self) -> None:
        """Send what is held and close the sink behind; a second call does nothing."""
        await self._close(None)

    async def _take(self, event: LLMEvent) -> None:
        if self._failure is not None:
            raise self._failure
        if self._held and not mergeable(self._held[-1], event):
            await self._flush()
        if event.seq > self._last_seq:  # else it repeats what is held or was sent
            self._last_seq = event.seq
            self._held.append(event)
            self._held_bytes += len(carried_text(event).encode(errors="replace"))
        late = asyncio.get_running_loop().time() - self._flushed_at >= self._max_delay
        if late or self._held_bytes >= self._max_bytes or not _is_delta(event):
            await self._flush()
        else:
            self._wake.set()

    async def _flush(self) -> None:
        """Send what is held; what a cancelled call was sending goes first."""
        if self._failure is not None:
            raise self._failure
        try:
            if self._sending is not None:
                await self._send_on(self._sending)
            if self._held:
                # Frozen from here on: what may have arrived must not come again merged with more.
                self._sending = merge(self._held)
                self._held, self._held_bytes = [], 0
                await self._send_on(self._sending)
        except Exception as exc:
            self._failure = exc
            raise

    async def _send_on(self, event: LLMEvent) -> None:
        await self._sink.send(event)
        self._sending = None
        if _is_delta(event):  # `meta` must not make the first delta wait
            self._flushed_at = asyncio.get_running_loop().time()

    async def _flush_late(self) -> None:
        """Send what is held when its time is over and no further event came to do it."""
        loop = asyncio.get_running_loop()
        while self._failure is None:
            await self._wake.wait()
            delay = self._flushed_at + self._max_delay - loop.time()
            if self._held and delay > 0:
                await asyncio.sleep(delay)
                continue  # what was held may have gone meanwhile, and newer deltas have their own time
            self._wake.clear()
            async with self._lock:
                try:
                    await self._flush()
                except Exception as exc:
                    log.debug("a late send failed; the next call raises it: %s", exc)

    async def _close(self, timeout: float | None) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(timeout):
                if self._tasks is not None and self._flusher is not None:
                    self._flusher.cancel()
                    await self._tasks.__aexit__(None, None, None)
                if not self._told:
                    await self._flush()
        finally:
            async with asyncio.timeout(timeout):
                await self._sink.aclose()


def _is_delta(event: LLMEvent) -> bool:
    """Whether an event is a delta, which may be held for the next one."""
    return event.type in ("text_delta", "reasoning_delta", "refusal_delta", "tool_call_delta")
