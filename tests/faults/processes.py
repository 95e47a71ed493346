"""Processes of the hub, as a supervisor has them: started, killed, held still, started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.watched import CLOCK, TASKS

__all__ = ("HubProcess", "Vitals")

START_TIMEOUT = 120.0
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a process holds: open file descriptors, threads, and the names of its tasks."""

    files: int
    threads: int
    tasks: tuple[str, ...]


class HubProcess:
    """`hub serve` or `hub work` in a process of its own.

    Args:
        name: Tells it from others in messages.
        arguments: What follows `hub`.
        environment: All of its variables.
        folder: Its own, for what it tells.

    Attributes:
        said: The last lines of its output, over all its lives.
    """

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.said: deque[str] = deque(maxlen=400)
        self._arguments = arguments
        self._environment = environment
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs, held still or not."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """It has said that it works; at once where it runs."""
        if self.is_alive:
            return
        self._ready.clear()
        command = [sys.executable, "-m", "tests.faults.watched", str(self._folder), *self._arguments]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            env=self._environment,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._reading}, timeout=START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self.kill()
            raise RuntimeError(f"{self.name} did not start: {' | '.join(self.said)}")

    async def kill(self) -> None:
        """It is gone, without a good-bye."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """It was asked to end, and has; returns its exit code."""
        return await self._end(signal.SIGTERM)

    def hold(self) -> None:
        """It does nothing until `go_on`, and knows nothing of it."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It goes on where it was held."""
        self._signal(signal.SIGCONT)

    def jump(self, offset: float) -> None:
        """Its wall clock is wrong by so many seconds from now on."""
        (self._folder / CLOCK).write_text(str(offset))
        self._signal(signal.SIGUSR2)

    async def vitals(self) -> Vitals:
        """What it holds now."""
        told = self._folder / TASKS
        told.unlink(missing_ok=True)
        self._signal(signal.SIGUSR1)
        async with asyncio.timeout(20):
            while not told.exists():  # noqa: ASYNC110 - another process tells us in no other way
                await asyncio.sleep(0.01)
        here = Path(f"/proc/{self.pid}")
        files = len(os.listdir(here / "fd"))  # noqa: PTH208 - only their number
        threads = next(line for line in (here / "status").read_text().splitlines() if line.startswith("Threads:"))
        return Vitals(files, int(threads.split()[1]), tuple(told.read_text().splitlines()))

    async def _end(self, number: signal.Signals) -> int:
        process, reading = self._process, self._reading
        if process is None:
            return 0
        if process.returncode is None:
            self._signal(number)
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
        try:
            async with asyncio.timeout(40):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise RuntimeError(f"{self.name} did not end: {' | '.join(self.said)}") from None
        if reading is not None:
            await reading
        return code

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.said.append(line.decode(errors="replace").rstrip())
            if "llm-stream-hub" in self.said[-1]:
                self._ready.set()
