"""Commands to the server that has their key, sent again until they are carried out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

from redis.exceptions import NoScriptError

from hub.redis_io.faults import FAULTS, is_misplaced, is_passing
from hub.redis_io.lane import Lane
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
    """

    def __init__(self, servers: Servers, *, timeout: float, outage_timeout: float) -> None:
        self._servers = servers
        self._timeout = timeout
        self._outage_timeout = outage_timeout
        self._lanes: dict[str, Lane] = {}

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
        waits = None
        loop = asyncio.get_running_loop()
        while True:
            lane = self._lane(key)
            try:
                if lane is None:
                    await self._servers.discover()
                    continue
                return await lane.send(command)
            except NoScriptError:
                if script is None or lane is None:
                    raise
                await self._load(lane, script)
            except FAULTS as exc:
                if not is_passing(exc):
                    raise
                if waits is None:
                    waits, deadline = pauses(), loop.time() + self._outage_timeout
                pause = next(waits)
                if loop.time() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
                if self._servers.is_cluster and is_misplaced(exc):
                    await self._discover()

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
