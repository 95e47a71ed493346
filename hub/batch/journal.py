"""A file of lines that only grows: locked while it is open, and whole up to its last line break whatever happens.

A file of somebody else's that has the name is refused and left as it is.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from hub.batch.lock import try_lock
from hub.errors import CheckpointError

__all__ = ("Journal", "in_thread")

T = TypeVar("T")

MAX_HEADER_BYTES = 1024 * 1024
"""Of a first line; what has a longer one is no file of ours."""


class Journal:
    """Lines of one file. Everything here blocks, `append` and `read` for no longer than the system's cache takes.

    All methods raise `CheckpointError` where the file system does not let them.

    Args:
        path: Made where it is missing, for its owner alone to read; its folder is not.
        kind: What such a file is, for messages.
        beginning: The bytes that every file of this kind begins with, enough of them that no other does: by these a
            first line without end, whose writer was killed, is told from somebody else's text.
    """

    def __init__(self, path: Path, *, kind: str, beginning: bytes) -> None:
        self.path = path
        self._kind = kind
        self._beginning = beginning
        self._file: BinaryIO | None = None
        self._size = 0

    def open(self, check_header: Callable[[bytes], None]) -> None:
        """Open the file and lock it, and cut off a last line that has no end: its writer was killed.

        Args:
            check_header: Is called with the first line, where there is one, and raises unless it is one of ours. The
                file is not changed before.

        Raises:
            CheckpointError: It is no file of this kind, another run has it open, or the file system does not let us.
        """
        try:
            file = open(self.path, "a+b", buffering=0, opener=_open_private)  # noqa: SIM115 - Path has no opener
        except OSError as exc:
            raise self._failed("opened", exc) from exc
        try:
            if not try_lock(file.fileno()):
                raise CheckpointError(f"{self.path} is in use by another run: wait for its end, or name another file.")
            self._check(file, check_header)
            end, self._size = file.seek(0, os.SEEK_END), _end_of_lines(file)
            if self._size < end:
                file.truncate(self._size)
        except OSError as exc:
            file.close()
            raise self._failed("opened", exc) from exc
        except BaseException:
            file.close()
            raise
        self._file = file

    def _check(self, file: BinaryIO, check_header: Callable[[bytes], None]) -> None:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CheckpointError(f"{self.path} is no ordinary file: name another.")
        with self.path.open("rb") as reader:
            line = reader.readline(MAX_HEADER_BYTES)
        if line.endswith(b"\n"):
            check_header(line[:-1])
        elif line and (len(line) == MAX_HEADER_BYTES or not line.startswith(self._beginning)):
            raise CheckpointError(f"{self.path} is no {self._kind}: name another file.")

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


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # answers are nobody else's business


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
