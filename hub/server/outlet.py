"""What the edge writes through to one connection: it stops where the peer takes no more, for a bounded time."""

from __future__ import annotations

import asyncio

from hub.server.audience import Audience, Subscriber

__all__ = ("Outlet",)


class Outlet:
    """The writing side of a connection, whoever writes, and the subscriber that is served over it, where one is.

    Args:
        transport: The connection's.
        loop: The one it runs in.
        stuck_timeout: Seconds after which a connection that takes no byte of what is written is aborted.

    Attributes:
        subscriber: Who is served over the connection now.
    """

    __slots__ = ("_audience", "_loop", "_stuck_timeout", "_timer", "_transport", "subscriber")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, stuck_timeout: float) -> None:
        self.subscriber: Subscriber | None = None
        self._transport = transport
        self._loop = loop
        self._stuck_timeout = stuck_timeout
        self._audience: Audience | None = None
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, subscriber: Subscriber, audience: Audience, *, is_paused: bool) -> None:
        """The edge writes from now on."""
        subscriber.is_paused = is_paused
        self.subscriber, self._audience = subscriber, audience

    def detach(self) -> None:
        """The edge writes no more."""
        self.subscriber = self._audience = None

    def pause(self) -> None:
        """The peer takes no more for now: for how long without a single byte is bounded."""
        self.watch()
        if self.subscriber is not None:
            self.subscriber.is_paused = True

    def resume(self) -> None:
        """The peer takes bytes again: go on from the cursor."""
        if not self._transport.is_closing():
            self._unwatch()
        if self.subscriber is not None and self._audience is not None:
            self.subscriber.is_paused = False
            self._loop.call_soon(self._audience.serve, self.subscriber)

    def watch(self) -> None:
        """Abort the connection once its peer takes nothing of what is written; a slow one may take its time."""
        if self._timer is None:
            self._watch(self._transport.get_write_buffer_size())

    def lose(self) -> None:
        """The connection is lost, or about to be: nothing is written any more."""
        if self.subscriber is not None:
            self.subscriber.leave()

    def close(self) -> None:
        """The connection is lost."""
        self._unwatch()
        self.lose()

    def _watch(self, left_bytes: int) -> None:
        self._timer = self._loop.call_later(self._stuck_timeout, self._check, left_bytes)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, left_bytes: int) -> None:
        left_now = self._transport.get_write_buffer_size()
        if left_now < left_bytes:
            self._watch(left_now)
        else:
            self._transport.abort()
