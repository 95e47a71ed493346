"""The scripted endpoint: an OpenAI-compatible server on loopback that answers as it is told."""

from __future__ import annotations

import asyncio
from typing import Self

from hub.errors import ClosedError
from hub.testing.connection import Connection
from hub.testing.replies import Reply
from hub.testing.request import RecordedRequest
from hub.testing.script import Handler, Script

__all__ = ("ScriptedEndpoint",)


class ScriptedEndpoint:
    """An OpenAI-compatible endpoint that answers as it is told, running inside `async with`.

    Scripted replies are taken in order, one a request; when none is left, `handler` answers. It listens on
    127.0.0.1 alone. A client that closes its side of the connection, even only for writing, has left: its reply
    ends where it is.

    Args:
        replies: The first replies, as with `enqueue`.
        handler: Answers when no reply is left. Without one an `EchoHandler` does, unless there was a script: then a
            request beyond its end gets a 500 that says so. Where the handler raises, the client gets a 500 too.
        port: The port to listen on; 0 means any that is free.
        max_requests: How many requests are kept in `requests`, at least 1; the oldest go first.

    Attributes:
        requests: What was asked, in order of arrival.

    Raises:
        ValueError: `max_requests` is below 1.
    """

    def __init__(
        self, *replies: Reply, handler: Handler | None = None, port: int = 0, max_requests: int = 10_000
    ) -> None:
        self._script = Script(*replies, handler=handler, max_requests=max_requests)
        self.requests: list[RecordedRequest] = self._script.requests
        self._port = port
        self._open: set[Connection] = set()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        # Hundreds of clients may connect in one turn of the loop: those beyond the backlog would wait a second.
        self._server = await asyncio.get_running_loop().create_server(
            self._connect, "127.0.0.1", self._port, backlog=4096
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening and break every connection off; a second call does nothing."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in self._open:
            connection.abort()
        await self.all_closed()
        await self._tasks.__aexit__(None, None, None)
        await server.wait_closed()

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL: `http://127.0.0.1:PORT/v1`.

        Raises:
            ClosedError: The endpoint is not running.
        """
        if self._server is None:
            raise ClosedError("The scripted endpoint is not running; it runs inside `async with`.")
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def enqueue(self, *replies: Reply) -> None:
        """Add replies to the script."""
        self._script.enqueue(*replies)

    async def received(self, count: int = 1) -> RecordedRequest:
        """Return the latest request once `count` have arrived since the start."""
        return await self._script.received(count)

    async def all_closed(self) -> None:
        """Return once no connection is open."""
        while self._open:
            await self._changed.wait()

    def _connect(self) -> Connection:
        connection = Connection(self._script.answer, self._closed, self._tasks)
        self._open.add(connection)
        if self._server is None:
            connection.abort()
        return connection

    def _closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
