"""A lock on an open file, which the operating system lets go of when the process ends, however it ends."""

from __future__ import annotations

import sys

__all__ = ("try_lock",)

if sys.platform == "win32":
    import msvcrt
    import os

    _FAR_BEYOND_THE_END = 1 << 62
    """Windows keeps others from reading what is locked, so no byte is that anyone reads."""

    def try_lock(file_number: int) -> bool:
        """Whether the file is ours alone now, until it is closed."""
        position = os.lseek(file_number, 0, os.SEEK_CUR)
        os.lseek(file_number, _FAR_BEYOND_THE_END, os.SEEK_SET)
        try:
            msvcrt.locking(file_number, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(file_number, position, os.SEEK_SET)
        return True

else:
    import fcntl

    def try_lock(file_number: int) -> bool:
        """Whether the file is ours alone now, until it is closed.

        Raises:
            OSError: The file system knows no locks.
        """
        try:
            fcntl.flock(file_number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
