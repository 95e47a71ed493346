"""Fifty processes at one directory: `python -m tests.hub.cache.racing DIRECTORY MAX_BYTES [victims]`.

Exits with the number of processes that saw what must not be seen. Half of the `victims` are killed in the midst of it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from hub.cache.filesystem import FilesystemCache
from tests.contracts.cache_backends import an_entry

PROCESSES = 50
KEYS = 5
OPERATIONS = 30


def said(writer: int, number: int) -> list[str]:
    """What an entry says whole: every piece tells who wrote it, so that two that were mixed would show."""
    return [f"{writer}.{number} "] * (number % 7 * 20 + 1)


async def race(cache_dir: Path, max_bytes: int, process: int) -> None:
    rand = random.Random(process)
    cache = FilesystemCache(cache_dir, max_bytes=max_bytes)
    for number in range(OPERATIONS):
        name = f"key {rand.randrange(KEYS)}"
        entry = an_entry(name, *said(process, number), created_at=time.time())
        if rand.random() < 0.5:
            await cache.put(entry, keep_older=rand.random() < 0.3)
        found = await cache.get(entry.key)
        if found is not None:
            texts = [event.text for event in found.events if event.type == "text_delta"]
            writer, _, count = texts[0].strip().partition(".")
            assert found.identifier == name
            assert texts == said(int(writer), int(count)), f"an entry of two writers: {texts}"
    await cache.aclose()


def main() -> None:
    cache_dir, max_bytes, killed = Path(sys.argv[1]), int(sys.argv[2]), "victims" in sys.argv[3:]
    children = []
    for process in range(PROCESSES):
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(race(cache_dir, max_bytes, process))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    if killed:
        for child in children[::2]:
            os.kill(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(sum(code not in (0, -signal.SIGKILL if killed else 0) for code in codes))


if __name__ == "__main__":
    main()
