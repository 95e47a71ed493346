"""Opens an installation over each kind of servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.faults.harness import World
from tests.faults.servers import Cluster, OneServer, WithSentinel

__all__ = ("KINDS", "open_world")

KINDS: dict[str, Callable[[str, Path], Any]] = {"one": OneServer, "sentinel": WithSentinel, "cluster": Cluster}


@asynccontextmanager
async def open_world(kind: str, binary: str, folder: Path, *, webs: int = 2, workers: int = 2) -> AsyncIterator[World]:
    """An installation with servers of that kind, of which nothing is left afterwards but what is in the folder.

    Args:
        kind: One of `KINDS`.
        binary: One of `redis_binaries()`.
        folder: An empty one, or none yet.
        webs: Web processes.
        workers: Workers.
    """
    servers = KINDS[kind](binary, folder / "servers")
    try:
        await asyncio.to_thread(servers.__enter__)
        async with World(servers, folder, webs=webs, workers=workers) as world:
            yield world
    finally:
        await asyncio.to_thread(servers.__exit__, None, None, None)
