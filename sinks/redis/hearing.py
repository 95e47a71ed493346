"""Who in this process hears which channel: one subscription a channel at the server, whoever listens."""

from __future__ import annotations

import asyncio
from typing import Protocol

from hub.redis_io.background import Background
from hub.redis_io.channels import Channels
from hub.redis_io.servers import Servers

__all__ = ("Hearing", "Listener")

LOOK_INTERVAL = 1.0
"""Seconds between looks at where the channels of a cluster lie."""


class Listener(Protocol):
    """Somebody who listens to a channel. Its methods neither wait nor raise."""

    def hear(self, message: bytes) -> None:
        """Take a message."""
        ...

    def confirmed(self) -> None:
        """The channel is heard from now on; what was published before may have been missed."""
        ...

    def lost(self) -> None:
        """The channel is not heard for now."""
        ...

    def close(self) -> None:
        """Nothing is heard any more."""
        ...


class Hearing:
    """The channels that are heard, and by whom.

    Args:
        servers: Where channels lie; they are their owner's to close.
        sharded: The channels are a cluster's sharded ones.
        timeout: Seconds to dial, and for each write.
        outage_timeout: Seconds for which `add` waits while the server is away.
    """

    def __init__(self, servers: Servers, *, sharded: bool, timeout: float, outage_timeout: float) -> None:
        self._is_cluster = servers.is_cluster
        self._listeners: dict[bytes, list[Listener]] = {}
        self._background = Background()
        self._looking: asyncio.Task[None] | None = None
        self._channels = Channels(
            servers,
            on_message=self._hear,
            on_confirmed=self._confirm,
            on_lost=self._lose,
            timeout=timeout,
            outage_timeout=outage_timeout,
            is_sharded=sharded,
        )

    async def add(self, channel: bytes, listener: Listener) -> None:
        """Have somebody listen; the server has confirmed the channel.

        Raises:
            Exception: One of `hub.redis_io.faults.FAULTS`: the server was away for too long.
        """
        if self._is_cluster and self._looking is None:
            self._looking = self._background.start(self._look(), name="looking where channels lie")
        self._listeners.setdefault(channel, []).append(listener)
        try:
            await self._channels.add(channel)
        except BaseException:
            self.remove(channel, listener)
            raise

    def remove(self, channel: bytes, listener: Listener) -> None:
        """Have somebody listen no more."""
        listeners = self._listeners.get(channel, [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[channel]
                self._channels.remove(channel)

    async def aclose(self) -> None:
        """Hang up; everybody who listens is told."""
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.close()
        await self._background.aclose()
        await self._channels.aclose()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            await self._channels.look()

    def _hear(self, channel: bytes, message: bytes) -> None:
        for listener in self._listeners.get(channel, ()):
            listener.hear(message)

    def _confirm(self, channel: bytes) -> None:
        for listener in self._listeners.get(channel, ()):
            listener.confirmed()

    def _lose(self, channel: bytes) -> None:
        for listener in self._listeners.get(channel, ()):
            listener.lost()
