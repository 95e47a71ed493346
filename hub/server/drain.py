"""A uvicorn server that drains before it closes connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Collection, Iterator
from types import FrameType

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from hub.hub import Hub
from hub.server.edge import Edge

__all__ = ("DrainingServer",)

log = logging.getLogger(__name__)

FAREWELL_DELAY = 0.2
"""Seconds for the last bytes to subscribers to be written before connections are told to close."""


class DrainingServer(uvicorn.Server):
    """On SIGTERM or SIGINT: no new streams, `drain_timeout` seconds for the running ones, then an end for everyone.

    uvicorn by itself closes connections first, and the application hears of it last.

    Args:
        config: uvicorn's.
        hub: Whose streams are drained.
        edge: Whose subscribers are sent away after them.
        drain_timeout: Seconds for the running streams.
        hurrying: The signals that, when they come a second time, break off what runs at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        hub: Hub,
        edge: Edge,
        *,
        drain_timeout: float,
        hurrying: Collection[int] = HANDLED_SIGNALS,
    ) -> None:
        super().__init__(config)
        self._hub = hub
        self._edge = edge
        self._drain_timeout = drain_timeout
        self._hurrying = hurrying

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; told so again, without waiting for anything."""
        if self.should_exit and sig in self._hurrying:
            self.force_exit = True
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals here, and let the process end by itself: raised again, they would cut our caller short."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then do what uvicorn does."""
        if self._hub.running:
            log.info(
                "waiting up to %g s for %d running streams (CTRL+C to quit)", self._drain_timeout, self._hub.running
            )
        drained = asyncio.ensure_future(self._hub.drain(self._drain_timeout))
        while not drained.done() and not self.force_exit:
            await asyncio.wait([drained], timeout=0.1)
        if not drained.done():
            drained.cancel()
            await self._hub.drain(0)
        await asyncio.sleep(FAREWELL_DELAY if len(self._edge) else 0)
        self._edge.drain()
        await super().shutdown(sockets)
