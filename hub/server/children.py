"""Several web processes on one listening socket: begun, begun again where one dies, and ended together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from hub.errors import ConfigurationError

__all__ = ("Children",)

log = logging.getLogger(__name__)

STEADY = 5.0
"""Seconds after which a process that ends has at least begun well."""

MAX_FALSE_STARTS = 3
"""So many processes in a row, each in the place of the one before, that end sooner: what is wrong won't pass."""

GRACE = 10.0
"""Seconds beyond the time for draining, before a process is killed."""


class Children:
    """Web processes that share a socket.

    Args:
        arguments: The command line of each, without the program: `("serve", "--store", …)`.
        count: How many.
        listener: Listens already; each is given it.
        environment: Variables on top of this process's own.
        drain_timeout: Seconds that each may take to end.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        count: int,
        listener: socket.socket,
        *,
        environment: Mapping[str, str],
        drain_timeout: float,
    ) -> None:
        self._arguments = arguments
        self._count = count
        self._listener = listener
        self._environment = {**os.environ, **environment}
        self._drain_timeout = drain_timeout
        self._running: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep all of them running until SIGTERM or SIGINT, then let them drain.

        Raises:
            ConfigurationError: They end as soon as they begin; they have said why.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._count):
                    tasks.create_task(self._keep_one())
        except* ConfigurationError as group:
            raise group.exceptions[0] from None
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Let all of them drain; a second time, without waiting for anything."""
        is_second = self._stopping.is_set()
        self._stopping.set()
        for process in self._running:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT if is_second else signal.SIGTERM)

    async def _keep_one(self) -> None:
        # Of this place alone: several that are killed at the same time begin well, one after the other.
        false_starts = 0
        while not self._stopping.is_set():
            began_at = time.monotonic()
            process = await self._begin()
            try:
                await self._wait(process)
            finally:
                self._running.discard(process)
                await _end(process)
            if self._stopping.is_set():
                return
            false_starts = false_starts + 1 if time.monotonic() - began_at < STEADY else 0
            log.error("a web process ended with %s; another one takes its place", process.returncode)
            if false_starts >= MAX_FALSE_STARTS:
                self.stop()
                raise ConfigurationError("The web processes end as soon as they begin; see above for why.")

    async def _begin(self) -> asyncio.subprocess.Process:
        fd = self._listener.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "hub", *self._arguments, "--fd", str(fd), "--until-eof"),
            env=self._environment,
            pass_fds=[fd],
            # It ends with its parent, however that ends: then the pipe closes.
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the parent alone
        )
        self._running.add(process)
        return process

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        """Return once it has ended; once it should have, kill it."""
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.wait((ended,), timeout=self._drain_timeout + GRACE)
        finally:
            stopping.cancel()
            ended.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
