"""The back ends that the contract of `Cache` is run over. A further one is one more entry in `BACKENDS`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hub.cache.base import Cache
from hub.cache.entry import CacheEntry
from hub.cache.filesystem import FilesystemCache
from hub.cache.keys import cache_key
from hub.cache.memory import MemoryCache
from hub.cache.replay import record

from .samples import a_stream

NOW = 1_800_000_000.0

HOSTILE = (
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "x" * 5_000,
    "\x00",
    "con.txt",
    "a/b\\c:d*e?f",
    "\r\nSet-Cookie: a=b",
    "שלום 😀",
    "'; DROP TABLE entries; --",
    "%s%n{0}",
)


@dataclass(frozen=True)
class Backend:
    """One back end with storage of its own.

    Attributes:
        open: A further cache on the same storage, as another process would have it.
        damage: Spoils what is stored under a key; None where nothing can be spoilt.
        survives: What one cache stored, another one finds.
    """

    open: Callable[[], Cache]
    damage: Callable[[str], None] | None = None
    survives: bool = True


@asynccontextmanager
async def memory(workspace: Path) -> AsyncIterator[Backend]:
    yield Backend(MemoryCache, survives=False)


@asynccontextmanager
async def filesystem(workspace: Path) -> AsyncIterator[Backend]:
    def damage(key: str) -> None:
        (path,) = (workspace / "cache").rglob(f"*{key[:32]}*.json")
        path.write_bytes(path.read_bytes()[:-20])

    yield Backend(lambda: FilesystemCache(workspace / "cache"), damage)


BACKENDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Backend]]] = {
    "memory": memory,
    "filesystem": filesystem,
}
"""By name: given an empty directory, a back end with empty storage; closed, nothing of it is left running."""


def an_entry(
    identifier: str = "mine", *said: str, namespace: str = "", created_at: float = NOW, endpoint: str = "https://x/v1"
) -> CacheEntry:
    """The entry of an answer that says these pieces."""
    recorded = record([(index * 0.1, [event]) for index, event in enumerate(a_stream(*(said or ("Hello", " world"))))])
    assert recorded is not None
    events, offsets = recorded
    return CacheEntry(
        key=cache_key(identifier, endpoint=endpoint, namespace=namespace),
        identifier=identifier,
        namespace=namespace,
        created_at=created_at,
        status="completed",
        model="model-x",
        events=events,
        offsets=offsets,
    )
