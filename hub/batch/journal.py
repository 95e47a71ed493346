"""A file of lines that only grows: locked while it is open, and whole up to its last line break whatever happens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from hub.batch.lock import try_lock
from hub.errors import CheckpointError

__all__ = ("Journal", "in_thread")

T = TypeVar("T")


class Journal:
    """Lines of one file. Everything here blocks, `append` and `read` for no longer than the system's cache takes.

    All methods raise `CheckpointError` where the file system does not let them.

    Args:
        path: Made where it is missing; its folder is not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._size = 0

    def open(self) -> None:
        """Open the file and lock it, and cut off a last line that has no end: its writer was killed.

        Raises:
            CheckpointError: Another run has it open, or the file system does not let us.
        """
        try:
            file = self.path.open("a+b", buffering=0)
        except OSError as exc:
            raise self._failed("opened", exc) from exc
        try:
            if not try_lock(file.fileno()):
                raise CheckpointError(f"{self.path} is in use by another run: wait for its end, or name another file.")
            self._size = _end_of_lines(file)
            file.truncate(self._size)
        except OSError as exc:
            file.close()
            raise self._failed("opened", exc) from exc
        except BaseException:
            file.close()
            raise
        self._file = file

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Every line without its line break, with the position at which it begins."""
        position = 0
        try:
            with self.path.open("rb") as file:
                for line in file:
                    yield position, line[:-1]
                    position += len(line)
        except OSError as exc:
            raise self._failed("read", exc) from exc

    def append(self, line: bytes) -> int:
        """Write a line, which has no line break in it, and give the position at which it begins.

        It outlives the process from then on; `sync` makes it outlive a power cut.
        """
        file, position = self._open_file(), self._size
        data = memoryview(line + b"\n")
        try:
            while data:
                data = data[file.write(data) :]
        except OSError as exc:
            file.truncate(position)  # a disk that is full takes a part
            raise self._failed("written to", exc) from exc
        self._size = position + len(line) + 1
        return position

    def read(self, position: int, size_bytes: int) -> bytes:
        """The bytes at a position."""
        file = self._open_file()
        parts = []
        try:
            file.seek(position)
            while size_bytes > 0 and (part := file.read(size_bytes)):
                parts.append(part)
                size_bytes -= len(part)
        except OSError as exc:
            raise self._failed("read", exc) from exc
        return b"".join(parts)

    def cut(self, position: int) -> None:
        """Drop everything from a position on."""
        try:
            self._open_file().truncate(position)
        except OSError as exc:
            raise self._failed("written to", exc) from exc
        self._size = position

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        try:
            os.fsync(self._open_file())
        except OSError as exc:
            raise self._failed("written to", exc) from exc

    def close(self) -> None:
        """Let go of the file. A second call does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open_file(self) -> BinaryIO:
        if self._file is None:
            raise CheckpointError(f"{self.path} is not open.")
        return self._file

    def _failed(self, what: str, exc: OSError) -> CheckpointError:
        return CheckpointError(f"{self.path} can't be {what}: {exc.strerror or type(exc).__name__}.")


def _end_of_lines(file: BinaryIO) -> int:
    """The position behind the last line break."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        begin = max(0, position - 65_536)
        file.seek(begin)
        block = file.read(position - begin)
        if (found := block.rfind(b"\n")) >= 0:
            return begin + found + 1
        position = begin
    return 0


async def in_thread(function: Callable[[], T]) -> T:
    """What the function gives, called in a thread. Cancelled, it still waits for the function's end.

    What the function works on can then be closed with nobody left at it.
    """
    working = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # nobody asks for it any more
        raise
