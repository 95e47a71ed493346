"""Child processes that do as they are told, a line of JSON each way."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import msgspec

__all__ = ("Child", "Usage", "obey", "obey_async", "raise_file_limit", "resident_bytes")

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Child:
    """A process of `python -m MODULE ARGUMENTS`; it ends when the block does, or when this process does.

    Args:
        module: Calls `obey` or `obey_async`.
        arguments: Its command line.
        timeout: Seconds it may take for one answer.
    """

    def __init__(self, module: str, *arguments: str, timeout: float = 270.0) -> None:
        self._name = " ".join((module, *arguments))
        self._timeout = timeout
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # LiteLLM would ask the network for prices when it is imported.
            env={**os.environ, "HUB_NO_DOTENV": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            cwd=Path(__file__).parent.parent,
        )
        self._unread = b""
        self.hello: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.hello = self.answer()
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.tell(command, **arguments)
        return self.answer()

    def tell(self, command: str, **arguments: Any) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode({"command": command, **arguments}) + b"\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the oldest command.

        Raises:
            RuntimeError: The child has ended, or takes too long.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise RuntimeError(f"{self._name} did not answer within {self._timeout:g} s")
                data = os.read(self._process.stdout.fileno(), 65_536)
                if not data:
                    raise RuntimeError(f"{self._name} ended with status {self._process.wait()}")
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer


class Usage:
    """CPU seconds of this process from now on."""

    def __init__(self) -> None:
        gc.collect()
        self._began = resource.getrusage(resource.RUSAGE_SELF)
        self._began_at = time.perf_counter()

    def so_far(self) -> dict[str, float]:
        """CPU seconds, user's and system's, and seconds by the wall clock."""
        wall = time.perf_counter() - self._began_at
        now = resource.getrusage(resource.RUSAGE_SELF)
        user, system = now.ru_utime - self._began.ru_utime, now.ru_stime - self._began.ru_stime
        return {"cpu": user + system, "user": user, "system": system, "wall": wall}


def obey(hello: dict[str, Any], carry_out: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """In a child: say hello, then carry out one command a line until the parent closes its end."""
    _say(hello)
    for line in sys.stdin.buffer:
        _say(carry_out(msgspec.json.decode(line)))
    os._exit(0)  # the contenders' open connections are nobody's loss


async def obey_async(hello: dict[str, Any], carry_out: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
    """The same in an event loop that has other things to do meanwhile."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        os._exit(0)

    _say(hello)
    threading.Thread(target=read, daemon=True).start()
    while True:
        _say(await carry_out(msgspec.json.decode(await lines.get())))


def resident_bytes() -> int:
    """What this process holds in memory now; where the system doesn't tell, the most it has held."""
    gc.collect()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def raise_file_limit() -> int:
    """As many open files as may be; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard and hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()
