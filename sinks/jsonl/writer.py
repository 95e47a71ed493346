"""A file of lines, written to without holding up the loop, a thread pool or the end of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from hub.errors import SinkUnavailableError
from sinks.jsonl.file import JSONLFile
from sinks.jsonl.thread import thread_of

__all__ = ("LineWriter",)

_MIN_DELAY = 0.002
_MAX_DELAY = 0.25


class LineWriter:
    """Writes lines to a file, in the one thread of all that do; while others have the lock on it, none waits there.

    A call that is cancelled writes no more, but for what is under way. One call at a time, but for `close`.

    Args:
        file: The file.
        lock_timeout: Seconds to wait while others write to the file; a write takes milliseconds.
    """

    def __init__(self, file: JSONLFile, *, lock_timeout: float = 10.0) -> None:
        self._file = file
        self._lock_timeout = lock_timeout
        self._thread = thread_of(file.path)

    async def open(self) -> None:
        """Open or make the file, and mend its end where a writer was killed.

        Raises:
            SinkError: It can't be opened, or holds something else.
            SinkUnavailableError: Another one keeps the lock.
        """
        wait = _Patience(self._lock_timeout)
        while not await self._thread.run(self._file.open):
            await self._wait(wait)

    async def append(self, lines: Sequence[bytes], *, sync: bool) -> None:
        """Write lines, each with its line break; where it raises, the file ends with a whole one.

        Args:
            lines: What to write.
            sync: Wait until they are on the disk.

        Raises:
            SinkError: The file takes no more.
            SinkUnavailableError: Another one keeps the lock, or the disk is full.
        """
        wait = _Patience(self._lock_timeout)
        while lines:
            count = await self._thread.run(partial(self._file.append, lines, sync=sync))
            lines = lines[count:]
            if count:
                wait = _Patience(self._lock_timeout)
            if lines:
                await self._wait(wait)

    async def close(self) -> None:
        """Let go of the file, once what is under way is written. A second call does nothing.

        Raises:
            SinkError: What was written could not be brought to the disk.
        """
        await self._thread.run(self._file.close, in_any_case=True)

    async def _wait(self, patience: _Patience) -> None:
        if not await patience.wait():
            raise SinkUnavailableError(
                f"{self._file.path} has been locked by another writer for {self._lock_timeout:g} s: end that one, or "
                "name another file."
            )


class _Patience:
    """Waits between tries, longer each time, for a bounded time in all."""

    def __init__(self, timeout: float) -> None:
        self._deadline = asyncio.get_running_loop().time() + timeout
        self._delay = _MIN_DELAY

    async def wait(self) -> bool:
        """Wait, and say whether there is time for another try."""
        left = self._deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        await asyncio.sleep(min(self._delay, left))
        self._delay = min(2 * self._delay, _MAX_DELAY)
        return True
