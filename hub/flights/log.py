"""Writes the answer that this process asks for into the log that others follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from hub.cache.entry import event_weight
from hub.cache.replay import Retelling
from hub.errors import StaleWriterError, StoreError
from hub.events import Delta, EndStatus, LLMEvent, Snapshot, ToolResult
from hub.flights.timing import Timing
from hub.result import Failure
from hub.streams.base import StreamStore

__all__ = ("FIRST_TARGET", "FlightLog", "says_something")

FIRST_TARGET: Final = "first"
"""What a log's `meta` has in the place of an identifier, where who was asked first answers, and no fallback."""


def says_something(event: LLMEvent) -> bool:
    """Whether the event is content, after which a failure is everyone's."""
    return isinstance(event, Delta | ToolResult | Snapshot)


class FlightLog:
    """The log of one flight, which this process writes: nobody waits for it.

    Nothing is in it before the first content: until then the flight may be handed over.

    Args:
        store: Where it is.
        flight_id: The log.
        epoch: The writer's.
        max_bytes: What may wait to be written; beyond it the log is given up.
        is_first_target: Whether the answer is that of who was asked first.
        timing: How long events gather.

    Attributes:
        has_said: There was content.
        is_followed: Somebody reads it, as far as is known: what comes is written soon.
        is_off: It is written no more, since another process has taken the flight over or the store failed.
        error: What the store raised; None where it didn't.
    """

    def __init__(
        self,
        store: StreamStore,
        flight_id: str,
        epoch: int,
        *,
        max_bytes: int,
        is_first_target: Callable[[], bool],
        timing: Timing,
    ) -> None:
        self.has_said = False
        self.is_followed = False
        self.is_off = False
        self.error: Exception | None = None
        self._store = store
        self._flight_id = flight_id
        self._epoch = epoch
        self._max_bytes = max_bytes
        self._is_first_target = is_first_target
        self._timing = timing
        self._retelling: Retelling | None = None
        self._pending: list[LLMEvent] = []
        self._weight = 0
        self._ending: tuple[EndStatus, Failure | None] | None = None
        self._is_complete = False
        self._due = asyncio.Event()
        self._urgent = asyncio.Event()

    def put(self, events: Sequence[LLMEvent]) -> None:
        """These came; they are written a little later."""
        if self.is_off:
            return
        self._pending += events
        self._weight += sum(map(event_weight, events))
        if self._weight > self._max_bytes:
            self.error = StoreError("The log of an answer that several processes read is written too slowly.")
            self.turn_off()
        elif self.has_said:
            self._due.set()
        elif any(map(says_something, events)):
            self.has_said = True
            self._due.set()
            self._urgent.set()

    def hurry(self) -> None:
        """Write now what has gathered: somebody has begun to follow."""
        if self._pending and self.has_said:
            self._wake()

    def complete(self) -> None:
        """The answer has ended, by what was put."""
        self._is_complete = True
        self._wake()

    def end(self, status: EndStatus, failure: Failure | None = None) -> None:
        """The answer has no end of its own: `cancelled` tells who follows that it was given up."""
        if not self.has_said and failure is None:
            self._pending.clear()
        self._ending = status, failure
        self.complete()

    def turn_off(self) -> None:
        """Write no more."""
        self.is_off = True
        self._pending.clear()
        self._wake()

    async def run(self) -> None:
        """Write what comes, up to the end. Raises nothing but a cancellation."""
        try:
            while not self.is_off:
                await self._due.wait()
                await self._gather()
                if await self._write():
                    return
        except StaleWriterError:
            self.turn_off()
        except Exception as exc:  # whatever it is, the answer goes on without its log
            self.error = exc
            self.turn_off()

    async def _gather(self) -> None:
        """Let more events come, so that they are written together."""
        if not self._urgent.is_set():
            delay = self._timing.gather_delay if self.is_followed else self._timing.alone_delay
            try:
                async with asyncio.timeout(delay):
                    await self._urgent.wait()
            except TimeoutError:
                pass

    async def _write(self) -> bool:
        """Write what has gathered; whether that was the end."""
        is_complete = self._is_complete
        if not is_complete:
            self._due.clear()
            self._urgent.clear()
        events, self._pending, self._weight = self._pending, [], 0
        if events and not self.is_off:
            if self._retelling is None:
                mark = FIRST_TARGET if self._is_first_target() else None
                self._retelling = Retelling(self._flight_id, mark, cached=False)
            await self._store.append(self._flight_id, self._retelling.take(events, free=False), epoch=self._epoch)
        if is_complete and self._ending is not None and not self.is_off:
            log = await self._store.open(self._flight_id)
            await self._store.append(self._flight_id, log.ending(*self._ending), epoch=self._epoch)
        return is_complete

    def _wake(self) -> None:
        self._due.set()
        self._urgent.set()
