"""One connection to a scripted endpoint: takes requests and carries out the replies, step by step."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from typing import assert_never

from hub.testing.replies import Close, Gate, Hang, Pause, Reply, Reset, Step, status_reply
from hub.testing.request import MAX_HEAD_BYTES, BadRequestError, RecordedRequest, read_request
from hub.testing.steps import head_fields, phrase, sliced, wait

__all__ = ("Connection",)

_LINGER_ZERO = struct.pack("ii", 1, 0)


class Connection(asyncio.StreamReaderProtocol):
    """Serves one connection in a task of `tasks`, which ends at once when the client leaves.

    Args:
        answer: Gives the reply to a request.
        on_closed: Called once the connection is gone.
        tasks: Owns the task.
    """

    def __init__(
        self,
        answer: Callable[[RecordedRequest], Reply],
        on_closed: Callable[[Connection], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        super().__init__(asyncio.StreamReader(limit=MAX_HEAD_BYTES), self._start)
        self._answer = answer
        self._on_closed = on_closed
        self._tasks = tasks
        self._left = asyncio.Event()
        self._over = False
        self._writer: asyncio.StreamWriter | None = None
        self._serving: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Break the connection off from this side."""
        self._over = True
        if self._writer is not None:
            self._writer.transport.abort()

    def eof_received(self) -> bool:
        """The client has closed its side: it left, and the connection closes."""
        super().eof_received()
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever closed it."""
        self._end()
        # Not how it ended: asyncio would keep the error in a future that nobody looks at, and complain of that.
        super().connection_lost(None)
        self._on_closed(self)

    def _end(self) -> None:
        if not self._over:
            self._left.set()
        if self._serving is not None:
            self._serving.cancel()

    def _start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        if self._over:
            writer.transport.abort()
            return
        # With no buffer above the kernel's, `drain` returns once everything has left this process.
        writer.transport.set_write_buffer_limits(high=0)
        self._serving = self._tasks.create_task(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            go_on = True
            while go_on:
                try:
                    request = await read_request(reader, writer, self._left)
                except BadRequestError as exc:
                    await _Answer(writer, status_reply(400, str(exc)), keep_alive=False).send()
                    break
                go_on = await _Answer(writer, self._answer(request), keep_alive=request.keep_alive).send()
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client left between two turns of the loop
        finally:
            self._over = True
            writer.close()


class _ConnectionOverError(Exception):
    """The reply ends its connection here."""


class _Answer:
    """Sends one reply."""

    def __init__(self, writer: asyncio.StreamWriter, reply: Reply, *, keep_alive: bool) -> None:
        self._writer = writer
        self._reply = reply
        self._keep_alive = keep_alive and reply.framing != "close"

    async def send(self) -> bool:
        """Carry the reply out; whether the connection can take another request."""
        reply = self._reply
        try:
            await self._carry_out(reply.before, chunked=False)
            self._writer.write(self._head())
            await self._carry_out(reply.steps, chunked=reply.framing == "chunked")
        except _ConnectionOverError:
            return False
        if reply.framing == "chunked":
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        return self._keep_alive

    def _head(self) -> bytes:
        reply = self._reply
        headers = head_fields(reply, keep_alive=self._keep_alive)
        version = "HTTP/1.0" if reply.framing == "close" else "HTTP/1.1"
        lines = [f"{version} {reply.status} {phrase(reply.status)}", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join((*lines, "\r\n")).encode("latin-1")

    async def _carry_out(self, steps: Sequence[Step], *, chunked: bool) -> None:
        after_bytes = False
        for step in sliced(steps, self._reply.slice_bytes):
            if isinstance(step, bytes):
                if after_bytes:
                    # A turn of the loop between two writes, so that a reader can find them apart.
                    await asyncio.sleep(0)
                self._writer.write(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)
                await self._writer.drain()
                after_bytes = True
            else:
                await self._do(step)
                after_bytes = False

    async def _do(self, step: Pause | Gate | Hang | Reset | Close) -> None:
        match step:
            case Pause() | Gate() | Hang():
                await wait(step)
            case Reset():
                connection: socket.socket = self._writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
                raise _ConnectionOverError
            case Close():
                raise _ConnectionOverError
            case _:
                assert_never(step)
