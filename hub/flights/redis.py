"""Flights over Redis or Valkey: the leases, and how a URL becomes all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from hub.errors import ConfigurationError, StoreError
from hub.flights.over_streams import StreamFlights
from hub.flights.register import HANDED_OVER_TTL, Claim, Pulse
from hub.flights.timing import Timing
from hub.redis_io.calls import Calls
from hub.redis_io.faults import FAULTS
from hub.redis_io.script import Script
from hub.redis_io.servers import Servers, open_servers
from hub.streams.opening import is_shared
from hub.streams.redis import RedisStreamStore

__all__ = ("RedisRegister", "redis_flights")

_SCRIPT: Final = Script(Path(__file__).with_name("register.lua"), keys=2, arguments=5)

RETENTION_TTL = 60.0
"""Seconds that the log of a flight stays after its end, for followers that lag."""

RUNNING_TTL = 3_600.0
"""Seconds that a log stays in which nothing happens: longer than any endpoint is waited for."""


class RedisRegister:
    """The leases in one server, a cluster, or whichever server Sentinel names.

    Args:
        servers: Where the keys lie; closed with the register.
        lease_ttl: Seconds that a lease lasts without a sign of life.
        timeout: Seconds that a step may take.
    """

    def __init__(self, servers: Servers, lease_ttl: float, *, timeout: float) -> None:
        self._servers = servers
        self._lease_ttl = lease_ttl
        self._calls = Calls(servers, timeout=timeout, outage_timeout=timeout)

    async def claim(self, key: str, flight_id: str, *, instead_of: str | None = None) -> Claim:
        """As `Register` says."""
        holder, handovers, is_own, _ = await self._run("claim", key, flight_id, other=instead_of or "")
        return Claim(holder.decode(), handovers, is_own=bool(is_own))

    async def beat(self, key: str, claim: Claim, *, ttl: float | None = None) -> Pulse:
        """As `Register` says."""
        _, _, is_own, is_followed = await self._run("beat", key, claim.flight_id, handovers=claim.handovers, ttl=ttl)
        return Pulse(is_own=bool(is_own), is_followed=bool(is_followed))

    async def look(self, key: str, flight_id: str) -> bool:
        """As `Register` says."""
        return bool((await self._run("look", key, flight_id))[2])

    async def release(self, key: str, flight_id: str, *, handovers: int = 0) -> None:
        """As `Register` says."""
        await self._run("release", key, flight_id, handovers=handovers, ttl=HANDED_OVER_TTL)

    async def aclose(self) -> None:
        """Hang up."""
        await self._calls.aclose()
        await self._servers.aclose()

    async def _run(
        self, operation: str, key: str, flight_id: str, *, other: str = "", handovers: int = 0, ttl: float | None = None
    ) -> Any:
        # The braces put both on one node of a cluster.
        lease = b"hub:flight:{%b}" % key.encode()
        seconds = self._lease_ttl if ttl is None else ttl
        arguments = (operation, flight_id, other, str(handovers), str(round(seconds * 1000)))
        command = _SCRIPT.call((lease, lease + b":followed"), *(each.encode() for each in arguments))
        try:
            return await self._calls.run(lease, command, script=_SCRIPT)
        except FAULTS as exc:
            raise StoreError(f"Redis can't say who asks: {str(exc) or 'it does not answer'}") from exc


def redis_flights(url: str, *, timing: Timing | None = None) -> StreamFlights:
    """Flights over the server behind a URL, as `hub.redis_io.servers.open_servers` takes it. Nothing is connected yet.

    Raises:
        ConfigurationError: It is none. The message doesn't repeat it, since it may hold a password.
    """
    if not is_shared(url):
        raise ConfigurationError(
            "cache_flights (CACHE_FLIGHTS) is 'process', or a URL of Redis such as redis://host:6379/0."
        )
    timing = timing or Timing()
    store = RedisStreamStore.from_url(
        url,
        retention_ttl=RETENTION_TTL,
        running_ttl=RUNNING_TTL,
        timeout=timing.step_timeout,
        outage_timeout=timing.step_timeout,
        answer_timeout=timing.step_timeout,
        is_listed=False,
    )
    servers = open_servers(url, timeout=timing.step_timeout)
    return StreamFlights(store, RedisRegister(servers, timing.lease_ttl, timeout=timing.step_timeout), timing=timing)
