"""A file of lines that several may write to at once, which rotates and always ends with a whole line."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from hub.errors import ConfigurationError, MalformedEventError, SinkError, SinkUnavailableError
from hub.events import decode_event
from sinks.jsonl.lock import try_lock, unlock

__all__ = ("JSONLFile", "checked_path", "file_error", "is_rotated_name", "rotated_files")

log = logging.getLogger(__name__)

_BEGINNING = b'{"type":"'
"""With what each event begins: what begins otherwise is somebody else's file."""


_ROTATED = re.compile(r"(?P<current>.+)\.[0-9]{6,}", re.DOTALL)


class JSONLFile:
    """Lines of events in one file, and in those that it was before. Everything here blocks while the disk does.

    Each `append` locks the file while it writes, so others that go by the same lock, in this process or another, put
    their lines between whole ones; it does not wait for the lock. All methods raise `SinkError` where the file system
    does not let them, and may be called from any thread, one at a time.

    Args:
        path: Made where it is missing, for its owner alone to read; its folder is not.
        max_bytes: Size at which the file gets a number behind its name and a new one begins; None for never. A line
            is never split: one that is larger has a file for itself.
        max_files: How many are kept, the one without number included; None for all.
        is_durable: Whether files that are made or rotated must outlast a power cut.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int | None = None,
        max_files: int | None = None,
        is_durable: bool = False,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._is_durable = is_durable
        self._is_synced = True
        self._file: BinaryIO | None = None

    def open(self) -> bool:
        """Open or make the file, and mend its end where a writer was killed; False while another one has the lock."""
        with self._translated("opened"), self._locked() as size:
            return size is not None

    def append(self, lines: Sequence[bytes], *, sync: bool) -> int:
        """Write lines, each with its line break, and say how many: all, or less where another one has the lock.

        Where it raises, the file ends with the last of them that it took whole.

        Args:
            lines: What to write.
            sync: Wait until they are on the disk.
        """
        done = 0
        with self._translated("written to"):
            while done < len(lines):
                with self._locked() as size:
                    if size is None:
                        break
                    count = self._fitting(lines[done:], size)
                    if count:
                        self._write(b"".join(lines[done : done + count]), size, sync=sync)
                        done += count
                    if done < len(lines):
                        self._rotate()
        return done

    def close(self) -> None:
        """Let go of the file, with what it has on the disk where that is wanted. A second call does nothing."""
        with self._translated("written to"):
            try:
                if self._file is not None and self._is_durable and not self._is_synced:
                    os.fsync(self._file)
            finally:
                self._let_go()

    @contextmanager
    def _locked(self) -> Iterator[int | None]:
        """Hold the lock on the file that has the name now; gives its size, which ends with a whole line.

        None while another one has the lock.
        """
        file = self._open()
        while True:
            if not try_lock(file.fileno()):
                yield None
                return
            if _is_at(file, self.path):
                break
            self._let_go()  # another one rotated it, or somebody moved it away
            file = self._open()
        try:
            yield self._mend(file)
        finally:
            if self._file is not None:
                unlock(self._file.fileno())

    def _open(self) -> BinaryIO:
        if self._file is not None:
            return self._file
        # Unbuffered, and appending whatever others wrote meanwhile.
        file = open(self.path, "a+b", buffering=0, opener=_open_private)  # noqa: SIM115 - Path has no opener
        try:
            self._check(file)
            if self._is_durable:
                _sync_folder(self.path.parent)
        except BaseException:
            file.close()
            raise
        self._file, self._is_synced = file, True
        return file

    def _check(self, file: BinaryIO) -> None:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise SinkError(f"{self.path} is no ordinary file: name another.")
        file.seek(0)
        head = file.read(len(_BEGINNING))
        if not _BEGINNING.startswith(head):
            raise SinkError(f"{self.path} is no file of events: name another.")

    def _mend(self, file: BinaryIO) -> int:
        """End a last line that has no end: its writer was killed. Gives the file's size."""
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return 0
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return size
        end = _end_of_lines(file, size)
        file.seek(end)
        if _is_event(file.read(size - end)):  # all of it but the line break
            file.write(b"\n")
            return size + 1
        file.truncate(end)
        log.warning("%s ended with %d bytes of a line whose writer was killed: they are cut off", self.path, size - end)
        return end

    def _fitting(self, lines: Sequence[bytes], size: int) -> int:
        """How many of the lines go into a file of this size; into one that is empty, at least one."""
        if self._max_bytes is None:
            return len(lines)
        count = 0
        for line in lines:
            size += len(line)
            if size > self._max_bytes and size > len(line):
                break
            count += 1
        return count

    def _write(self, data: bytes, size: int, *, sync: bool) -> None:
        file = self._open()
        written = 0
        self._is_synced = False
        try:
            while written < len(data):
                written += file.write(memoryview(data)[written:])
            if sync:
                os.fsync(file)
                self._is_synced = True
        except OSError:
            with suppress(OSError):  # a disk that is full takes a part
                file.truncate(size + data.rfind(b"\n", 0, written) + 1)
            raise

    def _rotate(self) -> None:
        """Give the file a number, under the lock, and delete the oldest ones where there are too many."""
        if self._is_durable:
            os.fsync(self._open())
        rotated = rotated_files(self.path)
        number = _number(rotated[-1]) + 1 if rotated else 1
        target = self.path.with_name(f"{self.path.name}.{number:06}")
        if sys.platform == "win32":
            self._let_go()  # there, no file is renamed that is open
        self.path.rename(target)
        self._let_go()
        if self._max_files is None:
            return
        rotated.append(target)
        for old in rotated[: max(0, len(rotated) + 1 - self._max_files)]:
            old.unlink(missing_ok=True)
            log.info("%s is deleted: %d files are kept", old, self._max_files)

    def _let_go(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise file_error(self.path, what, exc) from exc


def file_error(path: Path, what: str, exc: OSError) -> SinkError:
    """The error for a file that can't be opened, read or written to."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return SinkUnavailableError(f"{path} can't be {what}: the disk is full. Make room.")
    return SinkError(f"{path} can't be {what}: {exc.strerror or type(exc).__name__}.")


def checked_path(path: str | PathLike[str]) -> Path:
    """The path, if a file can have it.

    Raises:
        ConfigurationError: It has a character that no path can have.
    """
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ConfigurationError(f"No file can have the path {os.fspath(path)!r}: it has a NUL or half a character.")
    return Path(path)


def rotated_files(path: Path) -> list[Path]:
    """What the file was before: those with its name and a number behind it, the oldest first."""
    return sorted((each for each in path.parent.iterdir() if _is_before(each.name, path.name)), key=_number)


def is_rotated_name(name: str) -> bool:
    """Whether a file of this name is taken for one that another file was before, and deleted as such."""
    return _ROTATED.fullmatch(name) is not None


def _is_before(name: str, current: str) -> bool:
    match = _ROTATED.fullmatch(name)
    return match is not None and match["current"] == current


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # answers are nobody else's business


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _is_event(data: bytes) -> bool:
    try:
        decode_event(data)
    except MalformedEventError:
        return False
    return True


def _end_of_lines(file: BinaryIO, position: int) -> int:
    """The position behind the last line break."""
    while position > 0:
        begin = max(0, position - 65_536)
        file.seek(begin)
        found = file.read(position - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        position = begin
    return 0


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder outlast a power cut."""
    if sys.platform == "win32":
        return  # which opens no folders
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
