"""The part of an answer that another process asks the endpoint for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Literal, TypeAlias

from hub.cache.shared import Provenance
from hub.errors import StaleWriterError, StoreError, StreamNotFoundError
from hub.events import Done, EndStatus, LLMEvent, Meta, Snapshot
from hub.flights.log import FIRST_TARGET, says_something
from hub.flights.register import Register
from hub.flights.timing import Timing
from hub.result import Failure
from hub.streams.base import StreamStore
from hub.streams.log import MAX_READ_EVENTS, StreamLog

__all__ = ("FollowEnd", "Following")

_OPEN_AGAIN = 0.02
"""Seconds between two tries to open a log that its leader is about to make."""

FollowEnd: TypeAlias = Literal["ended", "given up", "lost", "stopped"]
"""It was told to its end; its leader is gone; it can't be followed any more; the reader has stopped."""


class Following:
    """Reads the log of a flight as it grows, and sees whether its leader lives.

    A leader without a lease is dead, or was held still: then the log is taken over, so that it writes no more, and
    ended as `cancelled`, so that all who follow know.

    Args:
        flight_id: The log.
        key: The flight's key.
        store: Where the log is.
        register: Where the lease is.
        timing: How long things take.
        provenance: Is told whose answer it is.

    Attributes:
        flight_id: The log.
        outcome: How it ended; None before.
        error: Why it was lost.
    """

    is_own = False
    is_final = True

    def __init__(
        self,
        flight_id: str,
        *,
        key: str,
        store: StreamStore,
        register: Register,
        timing: Timing,
        provenance: Provenance | None,
    ) -> None:
        self.flight_id = flight_id
        self.outcome: FollowEnd | None = None
        self.error: Exception | None = None
        self._key = key
        self._store = store
        self._register = register
        self._timing = timing
        self._provenance = provenance
        self._held: list[LLMEvent] = []
        self._has_said = False
        self._is_stopped = False
        self._more = asyncio.Event()
        self._heard_at = 0.0
        self._looked_at = 0.0

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """The log's events, from the first content on; `outcome` says how it ended."""
        self._heard_at = self._looked_at = asyncio.get_running_loop().time()
        try:
            log = await self._open()
        except (StoreError, TimeoutError) as exc:
            self._lose(exc)
            return
        if log is None:
            return
        unwatch = log.watch(self._more.set)
        try:
            index = 0
            while self.outcome is None:
                events = log.events[index : index + MAX_READ_EVENTS]
                index += len(events)
                if told := self._sift(events):
                    yield told
                await self._go_on(log, index)
        finally:
            unwatch()

    def stop(self) -> None:
        """End it for the reader here."""
        self._is_stopped = True
        self._more.set()

    def leave(self) -> None:
        """Nothing: the leader learns it by and by."""

    def settle(self) -> None:
        """Nothing: the leader's answer is the leader's."""

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent] | None:
        """None: what is due goes by what was told."""
        return None

    async def _open(self) -> StreamLog | None:
        """The log; None where its leader has never made it, or where it is gone."""
        deadline = asyncio.get_running_loop().time() + self._timing.step_timeout
        while not self._is_stopped:
            try:
                async with asyncio.timeout(2 * self._timing.step_timeout):
                    return await self._store.open(self.flight_id)
            except StreamNotFoundError:
                if asyncio.get_running_loop().time() >= deadline:
                    self.outcome = "given up"
                    return None
                await asyncio.sleep(_OPEN_AGAIN)
        self.outcome = "stopped"
        return None

    def _sift(self, events: Sequence[LLMEvent]) -> list[LLMEvent]:
        """What the reader is told of them: nothing before there is content."""
        told: list[LLMEvent] = []
        for event in events:
            if isinstance(event, Snapshot):
                # Its place is for what the log has lost: it can't be told event by event.
                self._lose(StoreError("A part of the answer that another process asked for is gone."))
                break
            if isinstance(event, Meta) and self._provenance is not None:
                self._provenance.follow(is_of_first_target=event.identifier == FIRST_TARGET)
            if isinstance(event, Done):
                if event.status == "cancelled":
                    self.outcome = "given up"
                    break
                self.outcome = "ended"
            self._has_said = self._has_said or says_something(event) or isinstance(event, Done)
            if self._has_said:
                told += [*self._held, event]
                self._held.clear()
            else:
                self._held.append(event)
        if events:
            self._heard_at = asyncio.get_running_loop().time()
        return told

    async def _go_on(self, log: StreamLog, index: int) -> None:
        if self._is_stopped and self.outcome is None:
            self.outcome = "stopped"
        elif self.outcome is None:
            await self._wait(log, index)

    async def _wait(self, log: StreamLog, index: int) -> None:
        """Return when there may be more, or it is settled that there won't be."""
        loop = asyncio.get_running_loop()
        look_at = self._looked_at + self._timing.look_interval
        if loop.time() < look_at:
            if index < len(log.events):
                return
            self._more.clear()
            try:
                async with asyncio.timeout_at(look_at):
                    await self._more.wait()
                return
            except TimeoutError:
                pass
        self._looked_at = loop.time()
        try:
            async with asyncio.timeout(self._timing.step_timeout):
                is_led = await self._register.look(self._key, self.flight_id)
            if is_led:
                self._heard_at = loop.time()
            elif not log.is_closed:
                async with asyncio.timeout(2 * self._timing.step_timeout):
                    await self._end_log()
        except (StoreError, TimeoutError) as exc:
            if loop.time() - self._heard_at > self._timing.lease_ttl:
                self._lose(exc)

    async def _end_log(self) -> None:
        """Take the log from a leader that has no lease, and end it, unless it has ended."""
        try:
            epoch = await self._store.take_over(self.flight_id)
            log = await self._store.open(self.flight_id)
            await self._store.append(self.flight_id, log.ending("cancelled"), epoch=epoch)
        except StaleWriterError:
            pass  # another one who follows does the same
        except StreamNotFoundError:
            self.outcome = "given up"

    def _lose(self, exc: Exception) -> None:
        self.outcome, self.error = "lost", exc
