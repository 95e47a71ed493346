"""The `hub` command with a window: on SIGUSR1 it tells how many tasks it has, on SIGUSR2 its wall clock jumps.

Run as `python -m tests.faults.watched FOLDER hub-arguments…`. It says what it has to say in `FOLDER/tasks`, and takes
from `FOLDER/clock` by how many seconds its clock is to be wrong.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
import time
from pathlib import Path
from types import FrameType

__all__ = ("CLOCK", "TASKS")

PR_SET_PDEATHSIG = 1
"""From Linux's sys/prctl.h."""

TASKS = "tasks"
CLOCK = "clock"


class Clock:
    """The wall clock, wrong by `offset` seconds."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._right = time.time

    def __call__(self) -> float:
        return self._right() + self.offset


def main(folder: Path) -> int:
    """Run `hub` to its end."""
    # Whatever becomes of the tests, nothing of them runs on.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    clock = Clock()

    def tell(number: int, frame: FrameType | None) -> None:
        try:
            names = sorted(task.get_name().split(" str_")[0] for task in asyncio.all_tasks())
        except RuntimeError:  # the loop doesn't run
            names = []
        written = folder / f"{TASKS}.new"
        written.write_text("\n".join(names))
        written.rename(folder / TASKS)

    def jump(number: int, frame: FrameType | None) -> None:
        clock.offset = float((folder / CLOCK).read_text())

    signal.signal(signal.SIGUSR1, tell)
    signal.signal(signal.SIGUSR2, jump)
    # Before anything of ours is imported, as a wrong clock would be there from the beginning.
    time.time = clock
    from hub.__main__ import main as hub

    return hub()


if __name__ == "__main__":
    place = Path(sys.argv.pop(1))
    sys.exit(main(place))
