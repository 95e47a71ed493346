"""One pub/sub connection to one server, which tells each time it may have missed something."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, ResponseError

from hub.redis_io.calls import pauses
from hub.redis_io.connection import send
from hub.redis_io.faults import FAULTS, is_passing, reason
from hub.redis_io.script import pack
from hub.redis_io.servers import Node

__all__ = ("OnChannel", "OnMessage", "Subscription")

log = logging.getLogger(__name__)

PING_INTERVAL = 5.0
"""Seconds of silence after which a connection is asked for a sign of life; after as many more it is given up."""

MAX_COMMANDS = 500
MESSAGES_A_TURN = 64

OnMessage: TypeAlias = Callable[[bytes, bytes], None]
OnChannel: TypeAlias = Callable[[bytes], None]


class Subscription:
    """Holds the subscriptions to a server's channels, over as many connections in turn as it takes.

    The driver's own pub/sub connects again in silence. Here the server's confirmation is told each time: what was
    published before it may have been missed. What the server sends is read as fast as it is taken; it keeps up to its
    own bound (`client-output-buffer-limit pubsub`) and hangs up beyond, which shows as a new confirmation.

    Args:
        node: The server.
        is_sharded: Channels lie where keys do.
        on_message: Gets channel and message; must neither wait nor raise.
        on_confirmed: Gets a channel that the server has just confirmed.
        on_lost: Gets a channel that is not heard for now: its connection is lost, or the server has given it up.
            Empty where the server has refused some channel.
        on_refused: Gets the error by which the server refuses one channel, and that channel; or every connection, such
            as for a wrong password, and None.
        timeout: Seconds to dial, and for each write.
    """

    def __init__(
        self,
        node: Node,
        *,
        is_sharded: bool,
        on_message: OnMessage,
        on_confirmed: OnChannel,
        on_lost: OnChannel,
        on_refused: Callable[[Exception, bytes | None], None],
        timeout: float,
    ) -> None:
        self.node = node
        self.channels: set[bytes] = set()
        shard = b"S" if is_sharded else b""
        self._subscribe, self._unsubscribe = shard + b"SUBSCRIBE", shard + b"UNSUBSCRIBE"
        self._on_message = on_message
        self._on_confirmed = on_confirmed
        self._on_lost = on_lost
        self._on_refused = on_refused
        self._timeout = timeout
        self._commands: deque[tuple[bytes, bytes]] = deque()
        # The server answers in order, and doesn't say which channel it refuses.
        self._asked: deque[bytes] = deque()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._has_heard = False
        self._is_up = False

    def add(self, channel: bytes) -> None:
        """Subscribe to a channel, now or as soon as the server can be reached."""
        self.channels.add(channel)
        self._command(self._subscribe, channel)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="redis pub/sub")

    def remove(self, channel: bytes) -> None:
        """Hear no more of a channel."""
        if channel in self.channels:
            self.channels.discard(channel)
            self._command(self._unsubscribe, channel)

    async def aclose(self) -> None:
        """Hang up."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _command(self, verb: bytes, channel: bytes) -> None:
        if self._is_up:  # else a new connection begins with all of them
            self._commands.append((verb, channel))
        self._work.set()

    async def _run(self) -> None:
        waits = pauses()
        while True:
            while not self.channels:
                self._work.clear()
                await self._work.wait()
            self._has_heard = False
            try:
                await self._connect_and_listen()
            except FAULTS as exc:
                if isinstance(exc, (ResponseError, AuthenticationError)):
                    log.warning("Redis refuses subscriptions: %s", reason(exc))
                if not is_passing(exc):
                    self._on_refused(exc, None)
            except Exception:
                log.exception("the pub/sub connection to Redis failed; it is made anew")
            for channel in tuple(self.channels):
                self._on_lost(channel)
            if self._has_heard:
                waits = pauses()
            await asyncio.sleep(next(waits))

    async def _connect_and_listen(self) -> None:
        """Until the connection is lost."""
        async with asyncio.timeout(self._timeout):
            connection = await self.node.dial()
        self._commands.clear()
        self._commands.extend((self._subscribe, channel) for channel in self.channels)
        self._asked.clear()
        self._is_up = True
        writing = asyncio.get_running_loop().create_task(self._write(connection), name="redis pub/sub writer")
        reading = asyncio.get_running_loop().create_task(self._read(connection), name="redis pub/sub reader")
        try:
            await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._is_up = False
            await connection.disconnect(nowait=True)
            for task in (writing, reading):
                task.cancel()
            await asyncio.wait((writing, reading))
        for exc in [task.exception() for task in (reading, writing) if not task.cancelled()]:
            if exc is not None:
                raise exc

    async def _write(self, connection: AbstractConnection) -> None:
        """Send what is to be sent, and ask for a sign of life where none came."""
        has_asked = False
        while True:
            self._work.clear()
            if not self._commands:
                try:
                    async with asyncio.timeout(PING_INTERVAL):
                        await self._work.wait()
                except TimeoutError:
                    if has_asked and not self._has_heard:
                        raise
                    has_asked, self._has_heard = True, False
                    await self._send(connection, pack(b"PING"))
            group = [self._commands.popleft() for _ in range(min(MAX_COMMANDS, len(self._commands)))]
            if group:
                self._asked.extend(channel for verb, channel in group if verb == self._subscribe)
                # One channel a command: on a cluster those of one command would have to lie in one slot.
                await self._send(connection, b"".join([pack(*command) for command in group]))

    async def _send(self, connection: AbstractConnection, data: bytes) -> None:
        async with asyncio.timeout(self._timeout):
            await send(connection, data)

    async def _read(self, connection: AbstractConnection) -> None:
        count = 0
        while True:
            try:
                message = await connection.read_response()
            except ResponseError as exc:
                log.info("Redis refuses a subscription: %s", reason(exc))
                self._on_lost(b"")
                if self._asked:
                    channel = self._asked.popleft()
                    if not is_passing(exc):
                        self._on_refused(exc, channel)
                continue
            self._has_heard = True
            match message:
                case [b"message" | b"smessage", bytes(channel), bytes(data)]:
                    self._on_message(channel, data)
                case [b"subscribe" | b"ssubscribe", bytes(channel), _]:
                    if self._asked and self._asked[0] == channel:
                        self._asked.popleft()
                    if channel in self.channels:
                        self._on_confirmed(channel)
                case [b"sunsubscribe", bytes(channel), _]:
                    if channel in self.channels:  # its slot has moved
                        self._on_lost(channel)
                case _:
                    pass
            count += 1
            if count % MESSAGES_A_TURN == 0:
                await asyncio.sleep(0)  # what is in the buffer already is read without a pause
