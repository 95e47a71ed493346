"""A TCP proxy on loopback that can break the connections that go through it, hold them still and slow them down."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Literal, Self

__all__ = ("Direction", "FaultProxy")

Direction = Literal["up", "down"]
"""From whoever connects to the server behind the proxy, or back."""

DIRECTIONS: tuple[Direction, ...] = ("up", "down")
CHUNK = 65_536


class FaultProxy:
    """Forwards to one server until it is told otherwise, inside `async with`.

    Args:
        port: The server's, on loopback.

    Attributes:
        accepted: How many connections there have been.
        delay: Seconds by which each piece is late, in both directions.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._server: asyncio.Server | None = None
        self._is_cut = False
        self._flows = {direction: asyncio.Event() for direction in DIRECTIONS}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self.accepted = 0
        self.delay = 0.0
        self.port = 0

    async def __aenter__(self) -> Self:
        for flow in self._flows.values():
            flow.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def connections(self) -> int:
        """How many connections are open, both sides counted."""
        return len(self._open)

    def reset(self) -> None:
        """Every connection is broken off by a TCP reset on both sides; new ones are welcome."""
        for writer in self._open:
            _reset(writer)

    def cut(self) -> None:
        """As `reset`, and every new connection is reset as well, until `heal`."""
        self._is_cut = True
        self.reset()

    def hold(self, *directions: Direction) -> None:
        """Nothing goes through in these directions, all by default, until `heal`: then it arrives, late."""
        for direction in directions or DIRECTIONS:
            self._flows[direction].clear()

    def heal(self) -> None:
        """Everything goes through again."""
        self._is_cut = False
        self.delay = 0.0
        for flow in self._flows.values():
            flow.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self._open.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            if not self._is_cut:
                await self._flows["up"].wait()
                behind, other = await asyncio.open_connection("127.0.0.1", self._behind, limit=CHUNK)
                self._open.add(other)
                await asyncio.gather(self._pump(reader, other, "up"), self._pump(behind, writer, "down"))
        except (OSError, RuntimeError, asyncio.CancelledError):
            pass  # the task is the server's own: nobody waits for it
        finally:
            self._tasks.discard(task)
            for each in (writer, other):
                if each is not None:
                    self._open.discard(each)
                    _reset(each)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        while data := await reader.read(CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._flows[direction].wait()
            writer.write(data)
            await writer.drain()
        await self._flows[direction].wait()
        if writer.can_write_eof():
            with suppress(OSError, RuntimeError):  # uvloop's word for a connection that is gone
                writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    if transport.is_closing() and transport.get_write_buffer_size() == 0:
        transport.abort()
        return
    plain = transport.get_extra_info("socket")
    if plain is not None:
        with suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
