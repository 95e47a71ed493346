"""The part of an answer that this process asks the endpoint for, while others may follow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Literal, TypeAlias

from hub.cache.flights import MAX_HANDOVERS
from hub.errors import StoreError
from hub.events import Done, EndStatus, LLMEvent
from hub.flights.log import FlightLog, says_something
from hub.flights.register import Claim, Register
from hub.flights.timing import Timing
from hub.result import Failure
from hub.upstream.stream import AnswerSource

__all__ = ("Leading",)

MAX_UNREAD = 64
"""Batches that wait for their reader here; then the endpoint waits too, as it would without others."""

_BROKEN = Failure(code="interrupted", message="The answer was broken off.", retryable=True)

_End: TypeAlias = Literal["whole", "failed", "given up"]


class Leading:
    """Reads a source, gives its batches to a reader here, and writes them into the log.

    Where the reader leaves, it goes on for those who follow, as long as there are some; where there are none, or it
    fails before it has said anything, it gives the flight up, and one of those who follow asks.

    Args:
        source: Asks the endpoint; not read from yet.
        log: What others follow.
        claim: The lease.
        key: The flight's key.
        register: Where the lease is.
        timing: How long things take.

    Attributes:
        claim: The lease.
    """

    is_own = True

    def __init__(
        self, source: AnswerSource, log: FlightLog, claim: Claim, *, key: str, register: Register, timing: Timing
    ) -> None:
        self.claim = claim
        self._source = source
        self._log = log
        self._key = key
        self._register = register
        self._timing = timing
        self._batches: deque[list[LLMEvent]] = deque()
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._hurry = asyncio.Event()
        self._settled = asyncio.Event()
        self._exception: Exception | None = None
        self._done: Done | None = None
        # The last batch of an answer that is not whole: it becomes known once the lease is given up.
        self._tail: Sequence[LLMEvent] = ()
        self._let_go = asyncio.Event()
        self._is_over = False
        self._is_stopped = False
        self._is_detached = False
        self._is_released = False
        self._pumping: asyncio.Task[None] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the source has given all that it will."""
        return self._is_over

    @property
    def is_final(self) -> bool:
        """Whether nobody else asks where this fails."""
        return self.claim.handovers >= MAX_HANDOVERS

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """What the source gives. Left early, it goes on where others follow."""
        while True:
            while self._batches:
                batch = self._batches.popleft()
                self._taken.set()
                yield batch
            if self._is_stopped:
                return
            if self._is_over:
                await self._wait_to_let_go()
                if self._exception is not None:
                    raise self._exception
                return
            self._arrived.clear()
            await self._arrived.wait()

    def stop(self) -> None:
        """End it as `cancelled`: for the reader here alone, where others follow."""
        if self._log.is_followed and not self._log.is_off:
            self._is_stopped = True
            self._arrived.set()
        else:
            self._source.stop()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent] | None:
        """What the source says is due behind what was given; None where it goes on for others."""
        if self._is_over or (self._log.is_followed and not self._log.is_off):
            return None
        unread = [event for batch in self._batches for event in batch]
        self._batches.clear()
        if self._pumping is not None:
            self._pumping.cancel()
        return [*unread, *self._source.ending(status, failure)]

    def leave(self) -> None:
        """Its reader reads no more: it goes on for those who follow, if any do."""
        self._is_detached = True
        self._batches.clear()
        self._taken.set()
        if self._log.is_off:
            self._end_if_alone()
        # Somebody may have begun to follow since the last sign of life.
        self._hurry.set()

    def settle(self) -> None:
        """The answer was stored, or won't be."""
        self._settled.set()

    async def run(self) -> None:
        """Lead the flight from its first event until nobody can need it any more."""
        try:
            async with asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(self._beat(), name="signs of life of a flight")
                writing = tasks.create_task(self._log.run(), name="the log of a flight")
                self._pumping = tasks.create_task(self._pump(), name="the answer of a flight")
                await asyncio.wait([self._pumping])
                end = self._end()
                if end != "whole":
                    # A further sign of life would take the lease back.
                    beating.cancel()
                    await asyncio.wait([beating])
                    # Before the log ends, which wakes all who follow: whoever asks then asks anew.
                    is_handed_over = end == "given up" and self._has_failed()
                    await self._release(handovers=self.claim.handovers + 1 if is_handed_over else 0)
                self._conclude(end)
                await asyncio.wait([writing])
                beating.cancel()
            if end == "whole":
                await self._linger()
        finally:
            self._finish()
            await self._release()

    async def _wait_to_let_go(self) -> None:
        """Return when a call that is made now asks anew, where the answer is not whole."""
        if self._done is None or self._done.status != "completed":
            try:
                async with asyncio.timeout(self._timing.goodbye_timeout):
                    await self._let_go.wait()
            except TimeoutError:
                pass

    def _finish(self) -> None:
        self._is_over = True
        self._arrived.set()

    async def _pump(self) -> None:
        try:
            async with aclosing(self._source.batches()) as batches:
                async for batch in batches:
                    self._give(batch)
                    while len(self._batches) > MAX_UNREAD and not self._is_detached:
                        self._taken.clear()
                        await self._taken.wait()
        except Exception as exc:  # whatever a source raises is its reader's to see
            self._exception = exc
        finally:
            self._finish()

    def _give(self, batch: Sequence[LLMEvent]) -> None:
        last = batch[-1] if batch else None
        if isinstance(last, Done):
            self._done = last
        if self._has_failed() or (self._done is not None and self._done.status == "cancelled"):
            self._tail = batch
        else:
            self._log.put(batch)
        if not self._is_detached:
            self._batches.append(list(batch))
            self._arrived.set()

    def _has_failed(self) -> bool:
        return self._exception is not None or (self._done is not None and self._done.status == "failed")

    def _end(self) -> _End:
        """What has become of the answer."""
        if self._done is not None and self._done.status == "completed":
            return "whole"
        is_everyone_s = self._log.has_said or self.is_final or any(map(says_something, self._tail))
        return "failed" if self._has_failed() and is_everyone_s else "given up"

    def _conclude(self, end: _End) -> None:
        """End the log."""
        if end == "given up":
            self._log.end("cancelled")
        elif self._exception is not None:
            self._log.end("failed", _BROKEN)
        else:
            self._log.put(self._tail)
            self._log.complete()

    async def _beat(self) -> None:
        """Give signs of life, and hear whether somebody follows."""
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while not self._log.is_off:
            try:
                async with asyncio.timeout(self._timing.step_timeout):
                    pulse = await self._register.beat(self._key, self.claim)
            except (StoreError, TimeoutError):
                if loop.time() - heard_at > self._timing.lease_ttl:
                    self._log.is_followed = False
            else:
                heard_at = loop.time()
                if not pulse.is_own:
                    self._log.turn_off()
                    break
                if pulse.is_followed and not self._log.is_followed:
                    self._log.is_followed = True
                    self._log.hurry()
                self._log.is_followed = pulse.is_followed
            self._end_if_alone()
            await self._wait_to_beat()
        self._log.is_followed = False
        self._end_if_alone()
        await self._release()

    async def _wait_to_beat(self) -> None:
        try:
            async with asyncio.timeout(self._timing.beat_interval):
                await self._hurry.wait()
            self._hurry.clear()
        except TimeoutError:
            pass

    def _end_if_alone(self) -> None:
        if self._is_detached and not self._log.is_followed and self._pumping is not None:
            self._pumping.cancel()

    async def _linger(self) -> None:
        """Stay there for who looked into the cache before the answer was in it."""
        if self._log.is_off:
            return
        try:
            async with asyncio.timeout(self._timing.linger_ttl):
                await self._register.beat(self._key, self.claim, ttl=self._timing.linger_ttl)
                await self._settled.wait()
        except (StoreError, TimeoutError):
            pass

    async def _release(self, *, handovers: int = 0) -> None:
        """Give the lease up, where that can be told."""
        if self._is_released:
            return
        self._is_released = True
        try:
            async with asyncio.timeout(self._timing.goodbye_timeout):
                await self._register.release(self._key, self.claim.flight_id, handovers=handovers)
        except (StoreError, TimeoutError):
            pass
        finally:
            self._let_go.set()
