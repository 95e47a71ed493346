"""Subscriptions to channels, wherever they lie: one pub/sub connection a server."""

from __future__ import annotations

import asyncio
import logging

from hub.redis_io.faults import FAULTS
from hub.redis_io.servers import Node, Servers
from hub.redis_io.subscription import OnChannel, OnMessage, Subscription

__all__ = ("Channels",)

log = logging.getLogger(__name__)


class Channels:
    """The channels that this process hears.

    Args:
        servers: Where channels lie.
        on_message: Gets channel and message; must neither wait nor raise.
        on_confirmed: Gets a channel each time the server confirms it, the first time and after each lost connection:
            what was published before may have been missed.
        timeout: Seconds to dial, and for each write.
        outage_timeout: Seconds for which `add` waits while the server is away.
        on_lost: Gets a channel each time it is not heard for now; must neither wait nor raise.
        is_sharded: The channels are sharded ones; by default they are on a cluster, and else not.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        on_message: OnMessage,
        on_confirmed: OnChannel,
        timeout: float,
        outage_timeout: float,
        on_lost: OnChannel | None = None,
        is_sharded: bool | None = None,
    ) -> None:
        self._servers = servers
        self._on_message = on_message
        self._on_confirmed = on_confirmed
        self._on_lost = on_lost
        self._is_sharded = servers.is_cluster if is_sharded is None else is_sharded
        self._timeout = timeout
        self._outage_timeout = outage_timeout
        self._subscriptions: dict[str, Subscription] = {}
        # None until it is known on which server the channel lies.
        self._homes: dict[bytes, Subscription | None] = {}
        self._unconfirmed: set[bytes] = set()
        self._waiters: dict[bytes, asyncio.Future[None]] = {}
        self._has_lost = False

    def __contains__(self, channel: bytes) -> bool:
        return channel in self._homes

    def begin(self, channel: bytes) -> None:
        """Subscribe to a channel, without waiting for the server."""
        if channel not in self._homes:
            self._unconfirmed.add(channel)
            self._homes[channel] = None
            self._settle(channel)

    async def add(self, channel: bytes) -> None:
        """Subscribe to a channel; the server has confirmed it.

        Raises:
            Exception: One of `FAULTS`: the server was away for too long, or refuses us.
        """
        self.begin(channel)
        if channel not in self._unconfirmed:
            return
        if self._homes[channel] is None:
            await self._servers.discover()
            self._settle(channel)
        waiter = self._waiters.get(channel)
        if waiter is None:
            waiter = self._waiters[channel] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(self._outage_timeout):
            await asyncio.shield(waiter)

    def remove(self, channel: bytes) -> None:
        """Hear no more of a channel."""
        home = self._homes.pop(channel, None)
        self._unconfirmed.discard(channel)
        if home is not None:
            home.remove(channel)
        waiter = self._waiters.pop(channel, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def look(self) -> None:
        """Move the channels of a cluster whose slots have moved. To be called now and then; never raises `FAULTS`."""
        if not self._servers.is_cluster or not (self._has_lost or self._unconfirmed):
            return
        self._has_lost = False
        try:
            await self._servers.discover()
        except FAULTS as exc:
            log.info("the cluster can't be asked where its channels lie: %s", exc)
            return
        for channel in tuple(self._unconfirmed):
            self._settle(channel)

    async def aclose(self) -> None:
        """Hang up."""
        for subscription in self._subscriptions.values():
            await subscription.aclose()
        for waiter in self._waiters.values():
            waiter.cancel()

    def _settle(self, channel: bytes) -> None:
        """Subscribe to a channel where it lies now."""
        if channel not in self._homes:
            return
        node = self._servers.node(channel)
        if node is None:
            return
        before, home = self._homes[channel], self._subscription(node)
        if before is not None and before is not home:
            before.remove(channel)
        self._homes[channel] = home
        if before is not home or self._servers.is_cluster:  # a cluster's node may have refused it before
            home.add(channel)

    def _subscription(self, node: Node) -> Subscription:
        found = self._subscriptions.get(node.name)
        if found is None:
            found = self._subscriptions[node.name] = Subscription(
                node,
                is_sharded=self._is_sharded,
                on_message=self._on_message,
                on_confirmed=self._confirm,
                on_lost=self._lose,
                on_refused=self._refuse,
                timeout=self._timeout,
            )
        return found

    def _confirm(self, channel: bytes) -> None:
        self._unconfirmed.discard(channel)
        waiter = self._waiters.pop(channel, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        self._on_confirmed(channel)

    def _refuse(self, exc: Exception, channel: bytes | None) -> None:
        """Tell who waits for that channel, or for any; connecting is tried again, for a password may change."""
        for each in tuple(self._waiters) if channel is None else (channel,):
            waiter = self._waiters.pop(each, None)
            if waiter is not None and not waiter.done():
                waiter.set_exception(exc)
                waiter.exception()  # who waited may have left

    def _lose(self, channel: bytes) -> None:
        self._has_lost = True
        if channel in self._homes:
            self._unconfirmed.add(channel)
            if self._on_lost is not None:
                self._on_lost(channel)
