"""A cache before calls: looks up, shares what is under way, stores what came whole, and never breaks a call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from hub.cache.answer import CachedAnswer, Request
from hub.cache.base import Cache, CacheMaintenance, check_limits
from hub.cache.counts import CacheCounts
from hub.cache.entry import CacheEntry
from hub.cache.faults import CacheFault, FaultLog, Report
from hub.cache.flights import Flight, Leg
from hub.cache.keys import KeyKind, cache_key
from hub.cache.replay import record
from hub.cache.shared import Provenance, SharedCall, SharedFlights
from hub.completion import fold
from hub.errors import ClosedError
from hub.events import Done, Meta
from hub.result import LLMResult
from hub.upstream.stream import AnswerSource

__all__ = ("CacheCore",)

log = logging.getLogger(__name__)

_MAX_LANDED = 10_000


class CacheCore:
    """Puts a cache before calls. One for each client; it owns the cache.

    Args:
        cache: Where answers are kept.
        namespace: The tenant: a part of every key, so that no other finds its answers.
        failures: Store also answers that failed, where they are to be stored. A stored failure is told until it is
            evicted, expired or replaced.
        replay_speed: How fast a stored answer is told again: 1.0 as fast as it came, 2.0 in half the time. None
            means at once.
        get_timeout: Seconds a look-up may take; then it is a miss.
        put_timeout: Seconds storing may take; the end of a stream waits for it, after its `done`.
        max_flight_bytes: What is held of an answer that several may read, at most; a larger one is not stored. See
            `Flight`.
        flights: Brings equal calls of several processes together; closed with the core. None for those of this one.
        report: Is told of each fault; by default they are logged.
        clock: Unix seconds.

    Raises:
        ValueError: A limit is not above 0.

    Attributes:
        counts: What it did so far.
        cache: The cache.
        namespace: The tenant.
        replay_speed: As above.
        get_timeout: As above.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        namespace: str = "",
        failures: bool = False,
        replay_speed: float | None = None,
        get_timeout: float = 2.0,
        put_timeout: float = 5.0,
        max_flight_bytes: int = 16_000_000,
        flights: SharedFlights | None = None,
        report: Report | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_limits(replay_speed=replay_speed, get_timeout=get_timeout, put_timeout=put_timeout)
        self.cache = cache
        self.namespace = namespace
        self.replay_speed = replay_speed
        self.get_timeout = get_timeout
        self.counts = CacheCounts()
        self._failures = failures
        self._put_timeout = put_timeout
        self._max_flight_bytes = max_flight_bytes
        self._shared = flights
        self._report = FaultLog() if report is None else report
        self._clock = clock
        self._flights: dict[tuple[str, str, bool], Flight] = {}
        self._under_way: set[Flight] = set()
        # When the answers to which keys were stored last, counted in answers.
        self._landed: dict[str, int] = {}
        self._closed = False

    def key(self, identifier: str, *, endpoint: str, kind: KeyKind = "identifier") -> str:
        """The key of a request of this tenant; arguments as for `cache_key`."""
        return cache_key(identifier, endpoint=endpoint, namespace=self.namespace, kind=kind)

    def answer(
        self,
        key: str,
        make: Callable[[float | None], AnswerSource],
        *,
        stream_id: str,
        total_timeout: float | None = None,
        keeps: Callable[[LLMResult], bool] | None = None,
        identifier: str | None = None,
        model: str | None = None,
        group: str = "",
        cache_response: bool = False,
        rewrite_cache: bool = False,
        regen_cache: bool = False,
        can_restart: bool = True,
        provenance: Provenance | None = None,
    ) -> CachedAnswer:
        """The answer to a request: the stored one, the one under way, or a new one. Nothing happens before it is read.

        A failure of the cache is a miss, reported.

        Args:
            key: The request's, as `key` gives it.
            make: Gives the source that asks the endpoint under the same `stream_id`, in so many seconds in all; None
                leaves that to the readers' clocks. Called once at most, when the answer is read.
            stream_id: Goes into every event.
            total_timeout: Seconds for the look-up and the answer together, of which only waiting counts; None for no
                limit. A replay that would take longer goes on without its pace.
            keeps: Whether a whole answer that `make`'s source gave is one to be stored; None where each is.
            identifier: The caller's own name for the request: goes into `meta`, and names the stored entry.
            model: The model asked for, for a `meta` of an answer that was stopped before there was one.
            group: Calls share an answer under way only with those of the same group: what may not differ between them,
                such as whether attempts may restart.
            cache_response: Store the answer, if it runs to its end; and share it while it is under way.
            rewrite_cache: Ask anew, and store the answer beside the older ones, which stay readable.
            regen_cache: Ask anew; with `cache_response` the answer takes the place of all that is there.
            can_restart: The caller can take content back: where another process asks, and dies after content, the
                answer begins afresh, as a further attempt; else it fails.
            provenance: Is told, or tells other processes, whose answer it is; None where that doesn't matter.

        Raises:
            ClosedError: The cache is closed.
        """
        if self._closed:
            raise ClosedError("The cache is closed.")
        request = Request(
            key=key,
            make=make,
            keeps=keeps,
            total_timeout=total_timeout,
            stream_id=stream_id,
            identifier=identifier,
            model=model,
            group=group,
            stores=cache_response or rewrite_cache,
            asks_anew=rewrite_cache or regen_cache,
            keeps_older=rewrite_cache,
            can_restart=can_restart,
            provenance=provenance,
        )
        return CachedAnswer(self, request)

    async def warm(self) -> None:
        """Have the cache do now what the first call would have to wait for.

        Raises:
            CacheError: It can't be used.
        """
        if isinstance(self.cache, CacheMaintenance):
            await self.cache.warm()

    async def aclose(self) -> None:
        """End what is under way, whoever reads it, and close the cache. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for flight in list(self._under_way):
            await flight.aclose()
        for closing in (self._shared, self.cache):
            try:
                if closing is not None:
                    await closing.aclose()
            except Exception as exc:  # the cache is not worth an exception at the end either
                self.fault(CacheFault("close", "", exc))

    def fault(self, fault: CacheFault) -> None:
        """The cache failed."""
        self.counts.faults += 1
        try:
            self._report(fault)
        except Exception:  # a stranger's code, which must not break a call either
            log.exception("the report of a fault of the cache raised")

    def source(self, request: Request) -> AnswerSource:
        """What gives the answer where this request leads a flight: another process may have asked already."""
        if self._shared is None or request.asks_anew:
            return request.make(None)
        call = SharedCall(
            key=f"{request.key}:{request.group}",
            make=partial(request.make, None),
            look=partial(self._look_again, request.key),
            stream_id=request.stream_id,
            identifier=request.identifier,
            model=request.model,
            can_restart=request.can_restart,
            provenance=request.provenance,
            report=lambda exc: self.fault(CacheFault("share", request.key, exc)),
        )
        return self._shared.source(call)

    def flight(self, request: Request) -> Flight | None:
        """The answer under way that this request may read."""
        return self._flights.get(self._place(request))

    def take_off(self, request: Request) -> Flight:
        """A flight for this request; others may join unless it asks anew."""
        place = self._place(request)

        def close() -> None:
            if self._flights.get(place) is flight:
                del self._flights[place]
            self._under_way.discard(flight)

        async def land(leg: Leg) -> None:
            await self._store(request, leg)
            if leg.shared is not None:
                leg.shared.settle()

        flight = Flight(max_bytes=self._max_flight_bytes, land=land, close=close, clock=time.monotonic)
        self._under_way.add(flight)
        if not request.asks_anew:
            self._flights[place] = flight
        return flight

    def landings(self, key: str) -> int:
        """A number that grows when an answer to this key is stored here."""
        return self._landed.get(key, 0)

    def _place(self, request: Request) -> tuple[str, str, bool]:
        # Where another process asks, its answer may begin afresh: then those who can't take that read none of it.
        return request.key, request.group, self._shared is None or request.can_restart

    async def _look_again(self, key: str) -> CacheEntry | None:
        try:
            async with asyncio.timeout(self.get_timeout):
                entry = await self.cache.get(key)
        except Exception as exc:  # as in the first look: whatever a back end raises is a miss
            self.fault(CacheFault("get", key, exc))
            return None
        return entry if entry is not None and entry.key == key else None

    async def _store(self, request: Request, leg: Leg) -> None:
        if leg.shared is not None and leg.shared.origin == "cache":
            return
        try:
            entry = self._entry(request, leg)
            if entry is None:
                return
            async with asyncio.timeout(self._put_timeout):
                await self.cache.put(entry, keep_older=request.keeps_older)
        except Exception as exc:  # whatever a back end, or a validator of the caller's, raises: the answer is there
            self.fault(CacheFault("put", request.key, exc))
            return
        self.counts.stored += 1
        self._landed[request.key] = self.counts.stored
        if len(self._landed) > _MAX_LANDED:
            del self._landed[next(iter(self._landed))]

    def _entry(self, request: Request, leg: Leg) -> CacheEntry | None:
        """The entry for a whole answer; None where it is not one to be stored."""
        recorded = record(leg.batches)
        if recorded is None:
            return None
        events, offsets = recorded
        first, last = events[0], events[-1]
        if not isinstance(first, Meta) or not isinstance(last, Done) or last.status == "cancelled":
            return None
        if last.status == "failed" and not self._failures:
            return None
        keeps = leg.leader.keeps
        if last.status == "completed" and keeps is not None and not keeps(fold(events)):
            return None
        return CacheEntry(
            key=request.key,
            identifier=request.key if request.identifier is None else request.identifier,
            namespace=self.namespace,
            created_at=self._clock(),
            status=last.status,
            model=first.model,
            events=events,
            offsets=offsets,
        )
