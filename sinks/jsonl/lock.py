"""A lock on an open file for as long as something is written to it."""

from __future__ import annotations

import os
import sys
import time

__all__ = ("lock", "unlock")

_POLL_INTERVAL = 0.002

if sys.platform == "win32":
    import msvcrt

    _FAR_BEYOND_THE_END = 1 << 62
    """Windows keeps others from reading what is locked, so no byte is that anyone reads."""

    def _try(file_number: int) -> bool:
        return _locking(file_number, msvcrt.LK_NBLCK)

    def unlock(file_number: int) -> None:
        """Let others have the lock."""
        _locking(file_number, msvcrt.LK_UNLCK)

    def _locking(file_number: int, mode: int) -> bool:
        os.lseek(file_number, _FAR_BEYOND_THE_END, os.SEEK_SET)
        try:
            msvcrt.locking(file_number, mode, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try(file_number: int) -> bool:
        try:
            fcntl.flock(file_number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(file_number: int) -> None:
        """Let others have the lock."""
        fcntl.flock(file_number, fcntl.LOCK_UN)


def lock(file_number: int, timeout: float) -> bool:
    """Whether the file is ours alone within `timeout` seconds; blocks. Closing the file lets go of it too.

    Holds between any two that opened the file, be it in one process, and moves the file's position.

    Raises:
        OSError: The file system knows no locks.
    """
    deadline = time.monotonic() + timeout
    while not _try(file_number):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_INTERVAL)
    return True
