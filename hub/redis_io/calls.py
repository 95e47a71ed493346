"""Commands to the server that has their key, sent again until they are carried out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

from redis.exceptions import AskError, NoScriptError, TryAgainError

from hub.redis_io.faults import FAULTS, is_misplaced, is_passing
from hub.redis_io.lane import Lane
from hub.redis_io.outages import Outages
from hub.redis_io.script import Script
from hub.redis_io.servers import Servers

__all__ = ("Calls", "pauses")

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0


def pauses() -> Iterator[float]:
    """Seconds to wait before each further try: none, then longer and longer up to 1 s, at random by a half."""
    yield 0.0  # the server may have closed a connection that was idle
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 2, LONGEST_PAUSE)


class Calls:
    """Sends commands over one connection a server, those that gather together.

    Args:
        servers: Where keys lie.
        timeout: Seconds that a group of commands has.
        outage_timeout: Seconds for which a command is tried while the server is away.
        outages: Says so, then; None to leave it to those who call.
    """

    def __init__(
        self, servers: Servers, *, timeout: float, outage_timeout: float, outages: Outages | None = None
    ) -> None:
        self._servers = servers
        self._timeout = timeout
        self._outage_timeout = outage_timeout
        self._outages = outages
        self._lanes: dict[str, Lane] = {}

    def within(self, outage_timeout: float) -> Calls:
        """The same connections, for commands that are tried for so many seconds; they stay this one's to close."""
        calls = Calls(self._servers, timeout=self._timeout, outage_timeout=outage_timeout, outages=self._outages)
        calls._lanes = self._lanes
        return calls

    async def run(self, key: bytes, command: bytes, *, script: Script | None = None) -> Any:
        """Carry out a packed command, and return its reply.

        It may be carried out more than once, where a reply was lost: it has to do no harm then.

        Args:
            key: Says which server; the command's own first key.
            command: The packed command.
            script: The script it calls.

        Raises:
            Exception: One of `FAULTS`: the server refused it, or was away for too long.
        """
        waits, server = None, ""
        loop = asyncio.get_running_loop()
        while True:
            lane = self._lane(key)
            try:
                if lane is None:
                    await self._servers.discover()
                    continue
                reply = await lane.send(command)
            except NoScriptError:
                if script is None or lane is None:
                    raise
                await self._load(lane, script)
            except FAULTS as exc:
                if not is_passing(exc):
                    raise
                now = loop.time()
                if waits is None:
                    waits, deadline = pauses(), now + self._outage_timeout
                server = self._failed(lane, exc, now)
                pause = next(waits)
                if now + pause > deadline:
                    raise
                await asyncio.sleep(pause)
                if self._servers.is_cluster and is_misplaced(exc):
                    await self._discover()
            else:
                if self._outages is not None and self._outages.is_any:
                    self._answered({lane.server, server}, self._outages, loop.time())
                return reply

    def send(self, key: bytes, command: bytes) -> asyncio.Future[Any] | None:
        """Send a command once; None where it isn't known yet to which server."""
        lane = self._lane(key)
        return None if lane is None else lane.send(command)

    async def aclose(self) -> None:
        """Hang up. The servers are their owner's."""
        for lane in self._lanes.values():
            await lane.aclose()

    def _lane(self, key: bytes) -> Lane | None:
        node = self._servers.node(key)
        if node is None:
            return None
        lane = self._lanes.get(node.name)
        if lane is None:
            lane = self._lanes[node.name] = Lane(node, timeout=self._timeout)
        return lane

    def _failed(self, lane: Lane | None, exc: Exception, now: float) -> str:
        """Take note of a failure, and return whose it was."""
        server = self._servers.address if lane is None else lane.server
        is_elsewhere = isinstance(exc, (AskError, TryAgainError))
        if self._outages is not None and not is_elsewhere:
            self._outages.failed(server, exc, now=now, outage_timeout=self._outage_timeout)
        return server

    def _answered(self, servers: set[str], outages: Outages, now: float) -> None:
        """Take note of an answer: of one server, maybe in the place of another that failed before."""
        if self._servers.address not in self._lanes:  # a cluster's, which has been found then
            servers.add(self._servers.address)
        for server in servers:
            outages.answered(server, now=now)

    async def _load(self, lane: Lane, script: Script) -> None:
        try:
            await lane.send(script.load)
        except FAULTS as exc:
            if not is_passing(exc):
                raise

    async def _discover(self) -> None:
        try:
            await self._servers.discover()
        except FAULTS as exc:
            if not is_passing(exc):
                raise
