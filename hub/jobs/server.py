"""The queue's script and its blocking read, on whichever server has its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from hub.errors import StoreError
from hub.jobs.suspects import Room
from hub.redis_io.calls import Calls
from hub.redis_io.cancellation import keeping_cancellation
from hub.redis_io.connection import send
from hub.redis_io.faults import FAULTS, reason
from hub.redis_io.script import Script, pack
from hub.redis_io.servers import Servers

__all__ = ("QUEUES", "JobServer", "Place", "Waiting")

Place = tuple[int, str]
"""Where an entry is: the number of its stream, as the script counts them, and its id."""

GROUP: Final = b"workers"

FULL_WAIT: Final = 1.0
"""Seconds that a worker waits at most while it has no room for some of the jobs."""

QUEUES: Final = ("again", "suspect", "last", "high", "normal", "low")
"""What is waited at, in the order in which it is served."""

_NAMES = ("jobs", "announced", "workers", "birth", "aside", "why", *QUEUES, "restored", "places", "promises", "kept")
_FIRST_QUEUE = _NAMES.index(QUEUES[0])


class JobServer:
    """Runs the script's operations.

    Args:
        servers: Where keys lie.
        prefix: Of all keys, with a hash tag, so that a cluster has them on one node.
        timeout: Seconds that a group of commands has.
        outage_timeout: Seconds for which an operation is tried while the server is away.
    """

    def __init__(self, servers: Servers, prefix: str, *, timeout: float, outage_timeout: float) -> None:
        self.keys = tuple(f"{prefix}:{name}".encode() for name in _NAMES)
        self.servers = servers
        self.timeout = timeout
        self._calls = Calls(servers, timeout=timeout, outage_timeout=outage_timeout)
        self._script = Script(Path(__file__).with_name("jobs.lua"), keys=len(_NAMES), arguments=3)

    async def run(self, operation: str, *arguments: Any, value: bytes = b"") -> Any:
        """Carry out an operation, and return its reply.

        Raises:
            StoreError: The server refuses it, or was away for too long.
        """
        try:
            try:
                return await self._call(operation, arguments, value)
            except ResponseError as exc:
                if "NOGROUP" not in str(exc):
                    raise
            # A new server, or one that has lost its memory.
            await self._call("found", (uuid4().hex,), b"")
            return await self._call(operation, arguments, value)
        except FAULTS as exc:
            raise self.unreachable(exc) from exc

    async def found(self) -> bytes:
        """Make what the server lacks; returns the queue's birth, another one after the server has lost its memory."""
        birth: bytes = await self.run("found", uuid4().hex)
        return birth

    def unreachable(self, exc: Exception) -> StoreError:
        """What the driver raised, in words that say where."""
        return StoreError(f"Redis at {self.servers.address} can't serve the queue of jobs: {reason(exc)}.")

    async def aclose(self) -> None:
        """Hang up."""
        await self._calls.aclose()
        await self.servers.aclose()

    async def _call(self, operation: str, arguments: Sequence[Any], value: bytes) -> Any:
        command = self._script.call(self.keys, operation.encode(), msgspec.json.encode(arguments), value)
        return await self._calls.run(self.keys[0], command, script=self._script)


class Waiting:
    """A connection of its own on which a worker waits for its next job, since nothing else may use it meanwhile.

    Args:
        server: Where the queue is.
        worker: Whose jobs they are.
        wait: Seconds to wait for one.
    """

    def __init__(self, server: JobServer, worker: str, *, wait: float) -> None:
        self._server = server
        self._worker = worker.encode()
        self._wait = wait
        self._numbers = {server.keys[_FIRST_QUEUE - 1 + number]: number for number in range(1, len(QUEUES) + 1)}
        self._connection: AbstractConnection | None = None

    async def next(self, room: Room) -> list[Place]:
        """The places of what came: one job, or as many as came between two commands; none after the wait.

        Args:
            room: What may come of suspects. Where there is room for none, the wait is a second at most, so that what
                has room again is seen.

        Raises:
            StoreError: The server is away, or has no group. Jobs may have been given all the same.
        """
        wait = min(self._wait, FULL_WAIT) if room.is_full else self._wait
        keys = [key for key, number in self._numbers.items() if room.has(QUEUES[number - 1])]
        try:
            with keeping_cancellation():
                async with asyncio.timeout(wait + self._server.timeout):
                    reply = await self._read(self._command(keys, wait))
        except BaseException as exc:
            await self.aclose()
            if isinstance(exc, FAULTS):
                raise self._server.unreachable(exc) from exc
            raise
        return [(self._numbers[key], entry[0].decode()) for key, entries in reply or () for entry in entries]

    async def aclose(self) -> None:
        """Hang up; the next wait connects anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    def _command(self, keys: Sequence[bytes], wait: float) -> bytes:
        # One entry of each stream at most: the server counts for each of them, and not all together.
        options = (b"COUNT", b"1", b"BLOCK", b"%d" % (wait * 1_000), b"STREAMS")
        return pack(b"XREADGROUP", b"GROUP", GROUP, self._worker, *options, *keys, *[b">"] * len(keys))

    async def _read(self, command: bytes) -> Any:
        connection = self._connection
        if connection is None:
            key = self._server.keys[0]
            if (node := self._server.servers.node(key)) is None:
                await self._server.servers.discover()
                node = self._server.servers.node(key)
            if node is None:
                raise ConnectionError("no node has the queue's keys")
            connection = self._connection = await node.dial()
        await send(connection, command)
        return await connection.read_response()
