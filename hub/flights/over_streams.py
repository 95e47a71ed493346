"""Flights over a store of streams that several processes share."""

from __future__ import annotations

import asyncio

from hub.cache.shared import SharedCall, SharedSource
from hub.events import new_stream_id
from hub.flights.answer import Alone, Part, SharedAnswer, Stored
from hub.flights.following import Following
from hub.flights.leading import Leading
from hub.flights.log import FlightLog
from hub.flights.register import Claim, Register
from hub.flights.timing import Timing
from hub.redis_io.background import Background
from hub.streams.base import StreamStore

__all__ = ("StreamFlights",)


class StreamFlights:
    """A `SharedFlights`: who asks has the lease in the register, and writes into a log of its own in the store.

    Each log has one writer from its first event to its last. Where the writer is lost, a follower ends the log and
    leads another flight under a further log.

    Args:
        store: Keeps the logs; closed with this.
        register: Keeps the leases; closed with this.
        timing: How long things take.
        max_bytes: What may wait to be written into a log, at most.
    """

    def __init__(
        self, store: StreamStore, register: Register, *, timing: Timing | None = None, max_bytes: int = 16_000_000
    ) -> None:
        self._store = store
        self._register = register
        self._timing = timing or Timing()
        self._max_bytes = max_bytes
        self._background = Background()
        self._led: dict[Leading, asyncio.Task[None]] = {}
        self._away_until = float("-inf")
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def source(self, call: SharedCall) -> SharedSource:
        """The answer to a call; nothing happens before it is read."""
        return SharedAnswer(call, self)

    async def join(self, call: SharedCall, *, instead_of: str | None) -> Part:
        """Lead or follow the call's flight, or ask for this call alone where that can't be settled."""
        if self._closed or not self._is_at_home(call) or asyncio.get_running_loop().time() < self._away_until:
            return Alone(call.make())
        flight_id = f"flt_{new_stream_id().removeprefix('str_')}"
        try:
            async with asyncio.timeout(self._timing.step_timeout):
                claim = await self._register.claim(call.key, flight_id, instead_of=instead_of)
            if not claim.is_own:
                return self._following(call, claim.flight_id)
            async with asyncio.timeout(self._timing.step_timeout):
                epoch = await self._store.create(flight_id, model=call.model)
            if instead_of is None and (entry := await call.look()) is not None:
                # It was stored, and its flight had ended, between the call's look-up and its claim.
                await self._give_up(call.key, flight_id, epoch)
                return Stored(entry)
        except Exception as exc:  # whatever a store raises: the call goes on
            self.lost(call, exc)
            return Alone(call.make())
        return self._leading(call, claim, epoch)

    def lost(self, call: SharedCall, exc: Exception) -> None:
        """Sharing failed; for a while it isn't tried."""
        self._away_until = asyncio.get_running_loop().time() + self._timing.away_delay
        call.report(exc)

    async def aclose(self) -> None:
        """End what is led here, so that other processes go on with it, and hang up."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            return  # what there was has ended with its event loop
        # An answer that has come whole is written whole: nobody should ask for it once more.
        whole = [task for leading, task in self._led.items() if leading.has_ended]
        for leading in self._led:
            leading.settle()
        if whole:
            await asyncio.wait(whole, timeout=self._timing.goodbye_timeout)
        await self._background.aclose()
        await self._register.aclose()
        await self._store.aclose()

    async def _give_up(self, key: str, flight_id: str, epoch: int) -> None:
        """Nobody needs to lead: whoever follows already looks again."""
        async with asyncio.timeout(self._timing.step_timeout):
            await self._register.release(key, flight_id)
            log = await self._store.open(flight_id)
            await self._store.append(flight_id, log.ending("cancelled"), epoch=epoch)

    def _is_at_home(self, call: SharedCall) -> bool:
        """Whether the event loop that runs is the one that connections and tasks here belong to."""
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            call.report(RuntimeError("Flights over processes serve one event loop: give each a client of its own."))
        return loop is self._loop

    def _following(self, call: SharedCall, flight_id: str) -> Following:
        return Following(
            flight_id,
            key=call.key,
            store=self._store,
            register=self._register,
            timing=self._timing,
            provenance=call.provenance,
        )

    def _leading(self, call: SharedCall, claim: Claim, epoch: int) -> Leading:
        log = FlightLog(
            self._store,
            claim.flight_id,
            epoch,
            max_bytes=self._max_bytes,
            is_first_target=lambda: call.provenance is None or call.provenance.is_of_first_target,
            timing=self._timing,
        )
        leading = Leading(call.make(), log, claim, key=call.key, register=self._register, timing=self._timing)
        leads = self._lead(call, leading, log)
        self._led[leading] = self._background.start(leads, name=f"leading flight {claim.flight_id}")
        return leading

    async def _lead(self, call: SharedCall, leading: Leading, log: FlightLog) -> None:
        try:
            await leading.run()
        finally:
            del self._led[leading]
            if log.error is not None:
                self.lost(call, log.error)
