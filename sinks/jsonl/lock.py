"""A lock on an open file for as long as something is written to it. Nothing here waits for it."""

from __future__ import annotations

import os
import sys

__all__ = ("try_lock", "unlock")

if sys.platform == "win32":
    import msvcrt

    _FAR_BEYOND_THE_END = 1 << 62
    """Windows keeps others from reading what is locked, so no byte is that anyone reads."""

    def try_lock(file_number: int) -> bool:
        """Whether the file is ours alone now, as below; moves the file's position."""
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

    def try_lock(file_number: int) -> bool:
        """Whether the file is ours alone now, until `unlock` or until it is closed.

        Holds between any two that opened the file, be it in one process.

        Raises:
            OSError: The file system knows no locks.
        """
        try:
            fcntl.flock(file_number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(file_number: int) -> None:
        """Let others have the lock."""
        fcntl.flock(file_number, fcntl.LOCK_UN)
