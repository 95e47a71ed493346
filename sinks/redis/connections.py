"""The connections of a process to Redis, which sinks and subscriptions may share."""

from __future__ import annotations

import os
from typing import Self

from hub.errors import ClosedError, ConfigurationError
from hub.redis_io.calls import Calls
from hub.redis_io.outages import Outages
from hub.redis_io.servers import open_servers
from sinks.redis.hearing import Hearing

__all__ = ("RedisConnections", "channel_name", "chosen")


class RedisConnections:
    """One connection a server to publish, one to read logs, one to hear channels, for as many as share them.

    Each is made when it is needed first. Use it as an async context manager, round the sinks and subscriptions that
    are given it.

    Attributes:
        address: Where Redis is, without user and password.
        outage_timeout: As below.
        publishing: Sends what is published.
        reading: Sends what asks for logs, so that a large page doesn't hold up what is published.

    Args:
        url: `redis://…`, `rediss://…`, `unix://…`, `redis+cluster://HOST:PORT` or
            `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB`; by default the environment variable `REDIS_URL`.
        timeout: Seconds that Redis has for an answer, before it is asked again.
        outage_timeout: Seconds for which everything is tried while Redis is away.

    Raises:
        ConfigurationError: There is no URL, or it makes no sense, or a time-out doesn't.
    """

    def __init__(self, url: str | None = None, *, timeout: float = 2.0, outage_timeout: float = 30.0) -> None:
        if timeout <= 0 or outage_timeout < 0:
            raise ConfigurationError("The time-outs of Redis are seconds: timeout above 0, outage_timeout from 0.")
        found = os.environ.get("REDIS_URL") if url is None else url
        if not found:
            raise ConfigurationError(
                "No URL of Redis. Set the environment variable REDIS_URL (in code, url=… does as well)."
            )
        self._servers = open_servers(found, timeout=timeout)
        self._timeout = timeout
        self.outage_timeout = outage_timeout
        self.address = self._servers.address
        self._outages = Outages()
        self.publishing, self.reading = self._calls(), self._calls()
        self._hearings: dict[bool, Hearing] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def hearing(self, *, sharded: bool) -> Hearing:
        """What hears channels, of the one kind or the other.

        Raises:
            ClosedError: The connections are closed.
        """
        if self._closed:
            raise ClosedError("the connections to Redis are closed")
        found = self._hearings.get(sharded)
        if found is None:
            found = self._hearings[sharded] = Hearing(
                self._servers, sharded=sharded, timeout=self._timeout, outage_timeout=self.outage_timeout
            )
        return found

    @property
    def trouble(self) -> str | None:
        """Which server failed last, and how, while it is asked again; None where none did."""
        return self._outages.trouble

    def _calls(self) -> Calls:
        return Calls(self._servers, timeout=self._timeout, outage_timeout=self.outage_timeout, outages=self._outages)

    async def aclose(self) -> None:
        """Hang up; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for hearing in self._hearings.values():
            await hearing.aclose()
        await self.publishing.aclose()
        await self.reading.aclose()
        await self._servers.aclose()


def chosen(
    connections: RedisConnections | None, url: str | None, *, timeout: float, outage_timeout: float
) -> RedisConnections:
    """Those that are shared, or new ones to the URL.

    Raises:
        ConfigurationError: Both were given, or the URL makes no sense.
    """
    if connections is None:
        return RedisConnections(url, timeout=timeout, outage_timeout=outage_timeout)
    if url is not None:
        raise ConfigurationError("Pass either url or connections, which have an URL of their own.")
    return connections


def channel_name(channel: str) -> bytes:
    """A channel's name as Redis has it.

    Raises:
        ConfigurationError: It is empty, or no text.
    """
    try:
        name = channel.encode()
    except (UnicodeEncodeError, AttributeError):
        name = b""
    if not name:
        raise ConfigurationError("A channel of Redis needs a name: any text that is not empty.")
    return name
