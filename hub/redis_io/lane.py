"""One connection to one server, for commands that leave together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ReadOnlyError, ResponseError

from hub.errors import ClosedError
from hub.redis_io.connection import send
from hub.redis_io.servers import Node

__all__ = ("Lane",)

MAX_COMMANDS = 1_000
MAX_BYTES = 1_000_000
"""What leaves together at most, so that a time-out measures the server and not the load."""

Call: TypeAlias = "tuple[bytes, asyncio.Future[Any]]"


class Lane:
    """Sends what gathers while earlier commands are under way as one group, and gives each its reply.

    Nothing is sent again from here: after a lost connection every call of the group fails, carried out or not, and
    the next group dials anew. What waits here is bounded by those who wait for it.

    Args:
        node: The server.
        timeout: Seconds that a group has, dialling included.
    """

    def __init__(self, node: Node, *, timeout: float) -> None:
        self._node = node
        self._timeout = timeout
        self._queue: deque[Call] = deque()
        self._connection: AbstractConnection | None = None
        self._idle: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Send a command with the next group; the future has its reply, or one of `FAULTS`.

        Raises:
            ClosedError: The lane is closed.
        """
        if self._closed:
            raise ClosedError("the connection to Redis is closed")
        loop = asyncio.get_running_loop()
        call: asyncio.Future[Any] = loop.create_future()
        self._queue.append((command, call))
        if self._task is None:
            self._task = loop.create_task(self._run(), name="redis lane")
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        return call

    @property
    def server(self) -> str:
        """The server's address."""
        return self._node.name

    async def aclose(self) -> None:
        """Hang up; calls under way fail with `ClosedError`."""
        self._closed = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._hang_up()

    async def _run(self) -> None:
        group: list[Call] = []
        try:
            while True:
                while not self._queue:
                    self._idle = asyncio.get_running_loop().create_future()
                    await self._idle
                group = self._take()
                try:
                    await self._exchange(group)
                except Exception as exc:  # whatever it is, who waits must learn it
                    await self._hang_up()
                    _fail(group, exc)
        finally:
            _fail([*group, *self._queue], ClosedError("the connection to Redis is closed"))

    def _take(self) -> list[Call]:
        group: list[Call] = []
        size = 0
        while self._queue and len(group) < MAX_COMMANDS and (size < MAX_BYTES or not group):
            call = self._queue.popleft()
            if not call[1].done():  # else its caller has left before it went out
                group.append(call)
                size += len(call[0])
        return group

    async def _exchange(self, group: Sequence[Call]) -> None:
        is_stale = False
        async with asyncio.timeout(self._timeout):
            connection = self._connection
            if connection is None:
                connection = self._connection = await self._node.dial()
            await send(connection, b"".join([command for command, _ in group]))
            for _, call in group:
                try:
                    reply = await connection.read_response()
                except ResponseError as exc:
                    is_stale = is_stale or isinstance(exc, ReadOnlyError)
                    if not call.done():
                        call.set_exception(exc)
                else:
                    if not call.done():
                        call.set_result(reply)
        if is_stale:
            await self._hang_up()  # it is no master any more; another name or sentinel's answer may lead to one

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def _fail(calls: Sequence[Call], exc: Exception) -> None:
    for _, call in calls:
        if not call.done():
            call.set_exception(exc)
