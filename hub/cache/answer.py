"""One call's answer with a cache before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Protocol

from hub.cache.base import Cache
from hub.cache.counts import CacheCounts
from hub.cache.entry import CacheEntry
from hub.cache.faults import CacheFault
from hub.cache.flights import Flight, Leg, Reader
from hub.cache.replay import Retelling, Told
from hub.cache.shared import Origin, Provenance
from hub.errors import CacheEntryError
from hub.events import EndStatus, LLMEvent
from hub.result import Failure, LLMResult
from hub.upstream.clocks import InterruptedByWatchdog, Timeouts, Watchdog
from hub.upstream.stream import AnswerSource

__all__ = ("CachedAnswer", "Core", "Request")

_BATCH = 256
_LOOKS = 3
_INSTANT = 0.005

_LEFT_BEHIND = Failure(
    code="interrupted", message="This reader fell too far behind an answer that others read too.", retryable=True
)
_BROKEN_OFF = Failure(code="interrupted", message="The answer was broken off.", retryable=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a call wants of the cache.

    Attributes:
        key: The request's.
        make: Gives the source that asks the endpoint, in so many seconds in all; None for no limit of its own.
        keeps: Whether a whole answer of that source is one to be stored; None where each is.
        total_timeout: Seconds for the whole call; None for no limit.
        stream_id: Goes into every event.
        identifier: The caller's own name for it.
        model: The model asked for.
        group: Shares an answer under way only with those of the same group.
        stores: The answer is to be stored.
        asks_anew: What is there is not looked at.
        keeps_older: What is there stays beside the answer.
        can_restart: The caller can take content back.
        provenance: Whose answer it is; None where that doesn't matter.
    """

    key: str
    make: Callable[[float | None], AnswerSource]
    keeps: Callable[[LLMResult], bool] | None
    total_timeout: float | None
    stream_id: str
    identifier: str | None
    model: str | None
    group: str
    stores: bool
    asks_anew: bool
    keeps_older: bool
    can_restart: bool
    provenance: Provenance | None


class Core(Protocol):
    """What an answer needs of the core."""

    cache: Cache
    counts: CacheCounts
    get_timeout: float
    replay_speed: float | None

    def fault(self, fault: CacheFault) -> None:
        """The cache failed."""
        ...

    def source(self, request: Request) -> AnswerSource:
        """What gives the answer where this request leads a flight."""
        ...

    def flight(self, request: Request) -> Flight | None:
        """The answer under way that this request may read."""
        ...

    def take_off(self, request: Request) -> Flight:
        """A flight for this request."""
        ...

    def landings(self, key: str) -> int:
        """A number that grows when an answer to this key is stored."""
        ...


class CachedAnswer:
    """An `AnswerSource` that looks into the cache first, and asks the endpoint where nothing is there.

    Args:
        core: Whose cache it is.
        request: What is asked.

    Attributes:
        origin: Where the answer comes from: the `cache`, a `flight` that another call began, or the `endpoint`. None
            before that is known.
    """

    def __init__(self, core: Core, request: Request) -> None:
        self.origin: Origin | None = None
        self._core = core
        self._request = request
        self._told = Told(request.stream_id, request.identifier, request.model)
        self._watchdog: Watchdog | None = None
        self._stopped = False
        self._flight: Flight | None = None
        self._reader: Reader | None = None
        self._was_alone: bool | None = None
        self._began_at = 0.0
        # The source that is this call's alone.
        self._source: AnswerSource | None = None

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """Every event from `meta` to `done`, in lists of what came together."""
        limits = Timeouts(
            connect_timeout=None,
            first_token_timeout=self._core.get_timeout,
            stall_timeout=None,
            total_timeout=self._request.total_timeout,
        )
        self._began_at = asyncio.get_running_loop().time()
        watchdog = self._watchdog = Watchdog(limits)
        watchdog.expect_nothing()
        if self._stopped:
            watchdog.stop()
        try:
            async with aclosing(self._events(watchdog)) as batches:
                async for batch in batches:
                    yield batch
                    watchdog.resume()
        finally:
            watchdog.close()

    def stop(self) -> None:
        """End the answer as `cancelled` at once; does nothing after its end. Others that read it read on."""
        self._stopped = True
        if self._flight is not None and self._reader is not None and self._flight.stop(self._reader):
            return
        if self._source is not None:
            self._source.stop()
        elif self._watchdog is not None:
            self._watchdog.stop()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events from the last batch's end through `done`; nothing where `done` has been given already."""
        if self._source is not None:
            return self._source.ending(status, failure)
        events = self._source_s_ending(status, failure)
        if events is None:
            events = self._told.ending(status, failure, free=self._is_free())
        self._told.add(events)
        return events

    async def _events(self, watchdog: Watchdog) -> AsyncGenerator[list[LLMEvent], None]:
        try:
            found = await self._find(watchdog)
        except InterruptedByWatchdog:
            yield self._cut_short(watchdog)
            return
        match found:
            case CacheEntry():
                events = self._retell(found, watchdog)
            case Flight():
                events = self._read(found, watchdog)
            case None:
                events = self._ask()
        async with aclosing(events) as batches:
            async for batch in batches:
                yield batch

    async def _find(self, watchdog: Watchdog) -> CacheEntry | Flight | None:
        """The stored answer, or the one under way, which this call may have begun; None where it asks for itself."""
        core, request = self._core, self._request
        if request.asks_anew:
            if watchdog.interruption is not None:
                raise InterruptedByWatchdog
            return core.take_off(request) if request.stores else None
        for _ in range(_LOOKS):
            landings = core.landings(request.key)
            flight = core.flight(request)
            if flight is None:
                entry = await self._look_up(watchdog)
                if entry is not None:
                    core.counts.hits += 1
                    return entry
                flight = core.flight(request)
            if flight is not None:
                return flight
            # An answer may have been stored after the look-up and have left the air before its end.
            if core.landings(request.key) == landings:
                break
        core.counts.misses += 1
        return core.take_off(request) if request.stores else None

    async def _look_up(self, watchdog: Watchdog) -> CacheEntry | None:
        key = self._request.key
        watchdog.expect_first_token()
        error: Exception
        try:
            entry = await watchdog.guard(partial(self._core.cache.get, key))
            if entry is None or entry.key == key:
                return entry
            error = CacheEntryError("The cache gave an entry of another key.")
        except InterruptedByWatchdog:
            if watchdog.interruption == "cancelled":
                raise
            if watchdog.interruption == "total_timeout":
                error = TimeoutError(f"no answer within the call's total_timeout of {self._request.total_timeout} s")
                self._core.fault(CacheFault("get", key, error))
                raise
            watchdog.go_on()
            error = TimeoutError(f"no answer within {self._core.get_timeout} s")
        except Exception as exc:  # whatever a back end raises: it is a miss
            error = exc
        finally:
            watchdog.expect_nothing()
        self._core.fault(CacheFault("get", key, error))
        return None

    async def _retell(self, entry: CacheEntry, watchdog: Watchdog) -> AsyncGenerator[list[LLMEvent], None]:
        """A stored answer."""
        self.origin = "cache"
        retelling = Retelling(self._request.stream_id, self._request.identifier)
        for delay, events in _paced(entry, self._core.replay_speed):
            if delay is not None and not await self._waited(delay, watchdog):
                yield self.ending("cancelled")
                return
            batch = retelling.take(events)
            self._told.add_later(batch)
            yield batch

    async def _waited(self, delay: float, watchdog: Watchdog) -> bool:
        """Whether the replay goes on. The pace is given up, not the answer, when the call's time has run out."""
        try:
            if watchdog.interruption == "total_timeout":
                await asyncio.sleep(0)
            else:
                await watchdog.guard(partial(asyncio.sleep, delay))
        except InterruptedByWatchdog:
            pass
        return not self._stopped

    async def _ask(self) -> AsyncGenerator[list[LLMEvent], None]:
        """An answer that is this call's alone, and is not stored."""
        self.origin = "endpoint"
        source = self._source = self._request.make(self._left())
        if self._stopped:
            source.stop()
        async with aclosing(source.batches()) as batches:
            async for batch in batches:
                yield batch

    async def _read(self, flight: Flight, watchdog: Watchdog) -> AsyncGenerator[list[LLMEvent], None]:
        """An answer that others may read too."""
        # No clock over the whole call in what several read: each reader has its own here.
        reader = self._reader = flight.join(partial(self._core.source, self._request), self._request.keeps)
        self._flight = flight
        retelling = Retelling(self._request.stream_id, self._request.identifier)
        try:
            try:
                async with aclosing(flight.read(reader, watchdog)) as batches:
                    async for events in batches:
                        if watchdog.interruption is not None:
                            raise InterruptedByWatchdog
                        self._note_origin(reader)
                        leads = reader.leg is not None and reader.leg.leader is reader
                        batch = list(events) if leads else retelling.take(events, free=self._is_free())
                        self._told.add(batch)
                        yield batch
                # An end that was given is not given twice: this is where there was none.
                if end := self.ending("failed", _LEFT_BEHIND if reader.is_dropped else _BROKEN_OFF):
                    yield end
            except InterruptedByWatchdog:
                if end := self._cut_short(watchdog):
                    yield end
        finally:
            self._was_alone = flight.is_alone(reader)
            await flight.leave(reader)

    def _cut_short(self, watchdog: Watchdog) -> list[LLMEvent]:
        """The end of an answer that was stopped, or whose time has run out."""
        if watchdog.interruption != "total_timeout":
            return self.ending("cancelled")
        message = f"The answer was not complete after {self._request.total_timeout} s."
        return self.ending("failed", Failure(code="total_timeout", message=message, retryable=True))

    def _left(self) -> float | None:
        """Seconds that the look-up left of the call's; None where they have no limit."""
        total = self._request.total_timeout
        spent = asyncio.get_running_loop().time() - self._began_at
        return total if total is None or spent < _INSTANT else max(_INSTANT, round(total - spent, 3))

    def _note_origin(self, reader: Reader) -> None:
        if self.origin is None and reader.leg is not None:
            led = "endpoint" if reader.leg.shared is None else reader.leg.shared.origin
            self.origin = led if reader.leg.leader is reader else "flight"
            self._core.counts.joined += self.origin == "flight"

    def _source_s_ending(self, status: EndStatus, failure: Failure | None) -> list[LLMEvent] | None:
        """The source's own end, where this call alone reads what it leads: it knows the tokens of the prompt."""
        leg = self._reader.leg if self._reader is not None else None
        if self._reader is None or self._flight is None or leg is None or leg.source is None:
            return None
        alone = self._was_alone if self._was_alone is not None else self._flight.is_alone(self._reader)
        if self._told.has_ended or leg.leader is not self._reader or leg.is_ended or not alone:
            return None
        return [*leg.unread(self._reader.position), *leg.source.ending(status, failure)]

    def _is_free(self) -> bool:
        leg: Leg | None = self._reader.leg if self._reader is not None else None
        if leg is not None and leg.shared is not None and leg.shared.origin != "endpoint":
            return True
        return self.origin == "cache" or (leg is not None and leg.payer is not self._reader)


def _paced(entry: CacheEntry, speed: float | None) -> Iterator[tuple[float | None, list[LLMEvent]]]:
    """The events in lists, each with the seconds to wait before it; None for the first list, which comes at once."""
    if speed is None:
        for first in range(0, len(entry.events), _BATCH):
            # Waiting for no time lets others have their turn.
            yield (0.0 if first else None), list(entry.events[first : first + _BATCH])
        return
    before = None
    for offset, pairs in groupby(zip(entry.offsets, entry.events, strict=True), key=lambda pair: pair[0]):
        yield (None if before is None else max(0.0, offset - before) / speed), [event for _, event in pairs]
        before = offset
