"""A sink whose other side is the body of a `text/event-stream` response."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Self

from hub.errors import ClosedError, SinkError
from hub.events import LLMEvent
from hub.formats import sse

__all__ = ("SSESink",)

MAX_CHUNK_BYTES = 65_536
"""What one piece of the body holds, unless a single frame is larger."""


class SSESink:
    """Events go in by `send`; `async for` gives their SSE frames, in pieces of what is there.

    `send` waits while `max_queue` events are unread, so a reader that stops reading holds the producer back. It
    raises `SinkError` once the reader has left, or has taken nothing for `stuck_timeout` seconds. The iteration ends
    after `aclose`, when everything was read; `aclose` does not wait for that. Comments that keep an idle connection
    alive are the server's business. The sink need not be entered.

    Args:
        max_queue: Events that wait for the reader, at most.
        stuck_timeout: Seconds that a `send` waits for the reader.
    """

    def __init__(self, *, max_queue: int = 256, stuck_timeout: float = 30.0) -> None:
        self._frames: deque[bytes] = deque()
        self._max_queue = max_queue
        self._stuck_timeout = stuck_timeout
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._has_reader = False
        self._has_left = False
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._closed:
            raise ClosedError("the SSESink is closed")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def send(self, event: LLMEvent) -> None:
        """Put the event where the reader finds it."""
        frame = sse.frame(event)
        if len(self._frames) >= self._max_queue:
            await self._wait_for_room()
        if self._closed:
            raise ClosedError("the SSESink is closed")
        if self._has_left:
            raise SinkError("the reader of the response has left")
        self._frames.append(frame)
        self._readable.set()

    async def aclose(self) -> None:
        """End the iteration once everything was read."""
        self._closed = True
        self._readable.set()
        self._writable.set()

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """The frames; there is one reader.

        Raises:
            ClosedError: There was a reader before.
        """
        if self._has_reader:
            raise ClosedError("an SSESink is read once")
        self._has_reader = True
        return self._read()

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._stuck_timeout):
                while len(self._frames) >= self._max_queue and not self._closed:
                    self._writable.clear()
                    await self._writable.wait()
        except TimeoutError as exc:
            raise SinkError(f"the reader of the response took nothing for {self._stuck_timeout:g} s") from exc

    async def _read(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                while self._frames:
                    yield self._take()
                if self._closed:
                    return
                self._readable.clear()
                await self._readable.wait()
        finally:
            self._has_left = True
            self._frames.clear()
            self._writable.set()

    def _take(self) -> bytes:
        """As many frames as fit into one piece, at least one."""
        piece = [self._frames.popleft()]
        size = len(piece[0])
        while self._frames and size + len(self._frames[0]) <= MAX_CHUNK_BYTES:
            piece.append(self._frames.popleft())
            size += len(piece[-1])
        self._writable.set()
        return b"".join(piece)
