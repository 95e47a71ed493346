"""A server's process: started, killed, held still, ended. Its methods block; a loop runs them in a thread."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ("ServerProcess", "free_port")


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """One server in a process of its own, which can be killed and started again with its data.

    Args:
        command: What to run; it stays in the foreground.
        ready: A piece of the line by which it says, on either output, that it takes connections.
        crash_signal: What ends it at once, children and all.
        options: More of `subprocess.Popen`.
    """

    def __init__(
        self, command: Sequence[str], *, ready: str, crash_signal: signal.Signals = signal.SIGKILL, **options: Any
    ) -> None:
        self._command = command
        self._ready_line = ready
        self._crash_signal = crash_signal
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """It runs, and takes connections."""
        self._said: list[str] = []
        self._heard = threading.Event()
        self._is_ready = False
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            **self._options,
        )
        # All of it, since a pipe that nobody reads would hold the server up.
        self._reader = threading.Thread(target=self._read, args=[self._process], daemon=True)
        self._reader.start()
        if not self._heard.wait(30) or not self._is_ready:
            self.crash()
            raise RuntimeError(f"{self._command[0]} did not start: {''.join(self._said)}")

    def crash(self) -> None:
        """It is gone, without a good-bye, and what it had in memory with it."""
        self._end(self._crash_signal)

    def stop(self) -> None:
        """It has ended, if it ran."""
        self._end(signal.SIGTERM)

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """It is there and answers nothing, to nobody, until the end of the block."""
        pids = self._family()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._said.append(line)
                if not self._is_ready and self._ready_line in line:
                    self._is_ready = True
                    self._heard.set()
        self._heard.set()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            try:
                process.wait(20)
            finally:
                process.kill()
                process.wait()
                self._reader.join()

    def _family(self) -> list[int]:
        assert self._process is not None
        own = self._process.pid
        children = Path(f"/proc/{own}/task/{own}/children")
        if children.exists():  # Linux, where `ps` may not be installed
            return [own, *map(int, children.read_text().split())]
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
        pairs = [tuple(map(int, line.split())) for line in table.splitlines()]
        return [own, *(pid for pid, parent in pairs if parent == own)]
