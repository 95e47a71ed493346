"""Notices that the file was taken away from under its connection: SQLite goes on with it, and nothing is kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from hub.errors import StoreError

__all__ = ("Presence",)

_Look: TypeAlias = tuple[int, int, int] | None
"""Device, number and size of a file; None where there is none."""


class Presence:
    """The file and its write-ahead log as this process left them: nobody else may change them. Its methods block.

    Args:
        path: The file, which is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._wal_path = f"{os.path.realpath(path)}-wal"
        self._left = self._look()

    def note(self) -> None:
        """Take the files' sizes for what this process left; after each use of them.

        The files themselves stay the same as long as they are open, so others were put in their place meanwhile.
        """
        file, wal = self._look()
        self._left = _unless_replaced(self._left[0], file), _unless_replaced(self._left[1], wal)

    def check(self) -> None:
        """Return where the files are as they were left.

        Raises:
            StoreError: They are not, and what is written now would be lost.
        """
        if self._look() != self._left:
            raise StoreError(
                f"{self._path} or the -wal file beside it was removed, replaced or cut while the hub ran: what is "
                "written now would be lost. Put them back as they were, or restart the hub."
            )

    def _look(self) -> tuple[_Look, _Look]:
        return _look(self._path), _look(self._wal_path)


def _unless_replaced(before: _Look, now: _Look) -> _Look:
    return now if before is None or (now is not None and now[:2] == before[:2]) else before


def _look(path: str) -> _Look:
    try:
        found = os.stat(path)  # noqa: PTH116 - before each commit: a Path costs more than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size
