"""A server that speaks as much of Redis's protocol as a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

HANG = b"HANG"
HANG_UP = b"HANG UP"

Answer = Callable[[list[bytes]], Awaitable[bytes]]


async def ok(command: list[bytes]) -> bytes:
    """`+OK` to everything."""
    return b"+OK\r\n"


async def hang(command: list[bytes]) -> bytes:
    """No answer to anything but a `PING`."""
    return b"+PONG\r\n" if command == [b"PING"] else HANG


class ScriptedRedis:
    """Listens on loopback, keeps the commands that it gets, and answers them.

    Args:
        answer: Gives what is sent for a command: bytes of the protocol, `HANG` or `HANG_UP`.
    """

    def __init__(self, answer: Answer = ok) -> None:
        self.commands: list[list[bytes]] = []
        self.connections = 0
        self.url = ""
        self._answer = answer

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        await self._tasks.__aexit__(exc_type, exc, tb)  # a client that was closed has left

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.create_task(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                command = [await _argument(reader) for _ in range(int(line[1:]))]
                self.commands.append(command)
                answer = await self._answer(command)
                if answer == HANG:
                    await reader.read()
                if answer in (HANG, HANG_UP):
                    break
                writer.write(answer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left in mid-command
        finally:
            writer.close()


async def _argument(reader: asyncio.StreamReader) -> bytes:
    length = int((await reader.readline())[1:])
    return (await reader.readexactly(length + 2))[:-2]


async def heeds_cancellation(step: int, work: Awaitable[object]) -> bool:
    """Whether a task that is cancelled so many turns of the loop after its start, if it still runs, ends cancelled."""

    async def run() -> object:
        return await work

    task = asyncio.ensure_future(run())
    for _ in range(step):
        await asyncio.sleep(0)
    is_running = task.cancel()
    await asyncio.wait([task])
    return task.cancelled() or not is_running


STEPS = range(1, 25)
"""Turns of the loop: from before a command is sent until long after."""
