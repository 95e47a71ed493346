"""Damages bodies of endpoints at random until a time is up: `python -m bench.fuzz --minutes 60 --seed 7`.

What must hold is written in `tests/hub/upstream/fuzzing_checks.py`. Each finding is told once, with its seed; its
body, made smaller where that goes, and its traceback are written to a folder. `--case SEED` runs one case again.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from types import FrameType
from typing import NoReturn

from bench.children import resident_bytes
from tests.hub.upstream.fuzzing import Finding, broken_by, make_case, smaller

__all__ = ("main",)

HANG_SECONDS = 60
"""CPU after which a case is broken off: without end, as far as a fuzzer can tell."""

MAX_MEMORY_BYTES = 4 * 1024**3
"""Of the process; a case that needs more gets a `MemoryError`, which is a finding, instead of the machine."""

TOO_DEAR = ("s of CPU", "StuckError", "MemoryError")
"""Words of findings that would take too long to make smaller."""


class StuckError(Exception):
    """A case didn't come to its end."""


class Fuzzing:
    """A run and its count.

    Args:
        seed: Decides every case.
        folder: Where findings go.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed = seed
        self._folder = folder
        self._keys: set[str] = set()
        self._cases = 0
        self._repeats = 0
        self._began_at = time.monotonic()

    async def run(self, minutes: float) -> int:
        """Go on for so many minutes; gives how many findings there were."""
        ends_at = self._began_at + minutes * 60
        told_at = self._began_at
        while (now := time.monotonic()) < ends_at:
            if now - told_at >= 60:
                told_at = now
                self._tell()
            await self._case(f"{self._seed}:{self._cases}")
            self._cases += 1
            await asyncio.sleep(0)  # the loop drops cancelled timers only when it turns
        self._tell()
        return len(self._keys)

    async def _case(self, seed: str) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, HANG_SECONDS)
        try:
            found = await broken_by(make_case(seed))
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if found is None:
            return
        if found.key in self._keys:
            self._repeats += 1
            return
        self._keys.add(found.key)
        if not any(words in found.exception for words in TOO_DEAR):
            found = await smaller(found)
        path = found.save(self._folder)
        print(f"finding, --case {seed}: {found.key}\n  {found.exception[:400]}\n  {path}", flush=True)

    def _tell(self) -> None:
        seconds = time.monotonic() - self._began_at
        megabytes = resident_bytes() / 1e6
        print(
            f"{seconds / 60:5.1f} min: {self._cases:,} cases, {len(self._keys)} findings ({self._repeats} repeated), "
            f"{self._cases / seconds:.0f} cases/s, {megabytes:.0f} MB",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with these arguments, or the process's own; exit status 1 where there was a finding."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description="A fuzzer of the decoders.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="of the whole run (default: another each time)")
    parser.add_argument("--case", metavar="SEED", help="run this one case, as a finding names it")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for findings' bodies")
    options = parser.parse_args(arguments)
    with suppress(ValueError, OSError):  # not every system has such a limit
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    signal.signal(signal.SIGVTALRM, _break_off)
    if options.case is not None:
        found = asyncio.run(_once(options.case))
        print("nothing found" if found is None else found.trace)
        sys.exit(found is not None)
    seed = SystemRandom().randrange(10**9) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    sys.exit(asyncio.run(Fuzzing(seed, options.findings).run(options.minutes)) > 0)


async def _once(seed: str) -> Finding | None:
    return await broken_by(make_case(seed))


def _break_off(number: int, frame: FrameType | None) -> NoReturn:
    raise StuckError(f"no end after {HANG_SECONDS} s of CPU")


if __name__ == "__main__":
    main()
