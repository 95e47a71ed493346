"""Processes that share flights, each with a cache of its own, in this one's memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from hub.cache.core import CacheCore
from hub.cache.faults import CacheFault
from hub.cache.memory import MemoryCache
from hub.errors import StoreError
from hub.events import Done, EndStatus, Error, LLMEvent, Meta
from hub.flights.over_streams import StreamFlights
from hub.flights.register import Claim, MemoryRegister, Pulse
from hub.flights.timing import Timing
from hub.streams.memory import MemoryStreamStore
from tests.hub.cache.support import Asked, call, events_of

TIMING = Timing()


class Register(MemoryRegister):
    """One that many share, and that may be away."""

    def __init__(self) -> None:
        super().__init__(TIMING.lease_ttl)
        self.is_away = False
        self.hangs = False
        self.claims = 0

    async def claim(self, key: str, flight_id: str, *, instead_of: str | None = None) -> Claim:
        self.claims += 1
        await self._reach()
        return await super().claim(key, flight_id, instead_of=instead_of)

    async def beat(self, key: str, claim: Claim, *, ttl: float | None = None) -> Pulse:
        await self._reach()
        return await super().beat(key, claim, ttl=ttl)

    async def look(self, key: str, flight_id: str) -> bool:
        await self._reach()
        return await super().look(key, flight_id)

    async def _reach(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.is_away:
            raise StoreError("The register is away.")


class Store(MemoryStreamStore):
    """One that many share: it outlives each of them."""

    def __init__(self) -> None:
        super().__init__(retention_ttl=60.0)
        self.is_away = False
        self.appended: list[LLMEvent] = []

    async def append(self, stream_id: str, events: Sequence[LLMEvent], *, epoch: int) -> None:
        if self.is_away:
            raise StoreError("The store is away.")
        await super().append(stream_id, events, epoch=epoch)
        self.appended += events

    async def aclose(self) -> None:
        pass


class Process:
    """One process's cache, and what it asks."""

    def __init__(self, world: World, number: int) -> None:
        self.faults: list[CacheFault] = []
        self.flights = StreamFlights(world.store, world.register, timing=TIMING)
        self.core = CacheCore(
            MemoryCache(), flights=self.flights, report=self.faults.append, namespace=world.namespaces[number]
        )
        self._asked = world.asked

    def reading(self, identifier: str = "mine", **use: Any) -> asyncio.Task[list[LLMEvent]]:
        """A call that is read to its end."""
        return asyncio.create_task(events_of(call(self.core, self._asked, identifier, **use)))


class World:
    """Some processes over one register and one store."""

    def __init__(self, asked: Asked, processes: int, namespaces: Sequence[str]) -> None:
        self.asked = asked
        self.register = Register()
        self.store = Store()
        self.namespaces = namespaces or [""] * processes
        self.processes = [Process(self, number) for number in range(processes)]


@asynccontextmanager
async def a_world(asked: Asked, processes: int = 2, *, namespaces: Sequence[str] = ()) -> AsyncIterator[World]:
    world = World(asked, processes, namespaces)
    try:
        yield world
    finally:
        for process in world.processes:
            await process.core.aclose()


def end_of(events: list[LLMEvent]) -> tuple[EndStatus, str | None]:
    done, errors = events[-1], [event.code for event in events if isinstance(event, Error)]
    assert isinstance(done, Done)
    return done.status, errors[0] if errors else None


def cost_of(events: list[LLMEvent]) -> tuple[float | None, float | None]:
    """What the stream cost its reader, and what it would have."""
    done = events[-1]
    assert isinstance(done, Done)
    assert done.usage is not None
    return done.usage.cost_usd, done.usage.original_cost_usd


def attempts(events: list[LLMEvent]) -> list[int]:
    return [event.attempt for event in events if isinstance(event, Meta)]
