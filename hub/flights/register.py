"""Who leads which flight: a lease for each key, in memory for tests and for clients of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ("HANDED_OVER_TTL", "Claim", "MemoryRegister", "Pulse", "Register")

HANDED_OVER_TTL = 5.0
"""Seconds for which it is remembered how often a flight was handed over, for whoever claims it next."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Which flight a key has.

    Attributes:
        flight_id: Its log.
        handovers: How many leaders of it have failed before they had said anything.
        is_own: It is the one that was claimed, and has to be led.
    """

    flight_id: str
    handovers: int
    is_own: bool


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a leader hears: whether it leads still, and whether somebody follows."""

    is_own: bool
    is_followed: bool


class Register(Protocol):
    """The leases. Each step is atomic, and may be repeated after a lost reply; all raise `StoreError`.

    A lease ends by itself where its leader gives no sign of life.
    """

    async def claim(self, key: str, flight_id: str, *, instead_of: str | None = None) -> Claim:
        """Make this the key's flight, unless it has another one than `instead_of`, which then is followed."""
        ...

    async def beat(self, key: str, claim: Claim, *, ttl: float | None = None) -> Pulse:
        """Keep the lease, for `ttl` seconds instead of the usual time; have it again where it was lost to nobody."""
        ...

    async def look(self, key: str, flight_id: str) -> bool:
        """Whether the flight has its lease still. Its leader learns that somebody follows."""
        ...

    async def release(self, key: str, flight_id: str, *, handovers: int = 0) -> None:
        """Give the lease up, if it is the flight's; the next claim learns of so many handovers."""
        ...

    async def aclose(self) -> None:
        """Release what is held."""
        ...


@dataclass(slots=True)
class _Lease:
    flight_id: str
    handovers: int
    until: float
    followed_until: float = float("-inf")


class MemoryRegister:
    """The leases of one process.

    Args:
        lease_ttl: Seconds that a lease lasts without a sign of life.
        clock: Seconds; by default the event loop's.
    """

    def __init__(self, lease_ttl: float = 3.5, *, clock: Callable[[], float] | None = None) -> None:
        self._lease_ttl = lease_ttl
        self._clock = clock
        self._leases: dict[str, _Lease] = {}

    async def claim(self, key: str, flight_id: str, *, instead_of: str | None = None) -> Claim:
        """As `Register` says."""
        lease, now = self._current(key), self._now()
        if lease is not None and lease.flight_id not in ("", flight_id, instead_of):
            lease.followed_until = now + self._lease_ttl
            return Claim(lease.flight_id, lease.handovers, is_own=False)
        handovers = 0 if lease is None else lease.handovers
        self._leases[key] = _Lease(flight_id, handovers, now + self._lease_ttl)
        return Claim(flight_id, handovers, is_own=True)

    async def beat(self, key: str, claim: Claim, *, ttl: float | None = None) -> Pulse:
        """As `Register` says."""
        lease, now = self._current(key), self._now()
        if lease is None:
            lease = self._leases[key] = _Lease(claim.flight_id, claim.handovers, now)
        if lease.flight_id != claim.flight_id:
            return Pulse(is_own=False, is_followed=False)
        lease.until = now + (self._lease_ttl if ttl is None else ttl)
        return Pulse(is_own=True, is_followed=now < lease.followed_until)

    async def look(self, key: str, flight_id: str) -> bool:
        """As `Register` says."""
        lease = self._current(key)
        if lease is None or lease.flight_id != flight_id:
            return False
        lease.followed_until = self._now() + self._lease_ttl
        return True

    async def release(self, key: str, flight_id: str, *, handovers: int = 0) -> None:
        """As `Register` says."""
        lease = self._current(key)
        if lease is None or lease.flight_id != flight_id:
            return
        if handovers:
            self._leases[key] = _Lease("", handovers, self._now() + HANDED_OVER_TTL)
        else:
            del self._leases[key]

    async def aclose(self) -> None:
        """Nothing."""

    def _now(self) -> float:
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()

    def _current(self, key: str) -> _Lease | None:
        lease = self._leases.get(key)
        if lease is not None and self._now() >= lease.until:
            del self._leases[key]
            return None
        return lease
