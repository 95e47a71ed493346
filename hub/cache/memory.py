"""Answers in this process's memory: nothing survives it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from hub.cache.base import CacheStats, check_limits
from hub.cache.entry import CacheEntry, event_weight
from hub.errors import CacheError, ClosedError

__all__ = ("MemoryCache",)

_ENTRY_BYTES = 500


class MemoryCache:
    """Keeps answers up to a size and for a time; those that were read longest ago go first.

    Args:
        max_bytes: What the entries may take together, by estimate.
        entry_ttl: Seconds that an entry is kept after `created_at`; None keeps it while there is room.
        clock: Unix seconds.

    Raises:
        ValueError: A limit is not above 0.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 256_000_000,
        entry_ttl: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_limits(max_bytes=max_bytes, entry_ttl=entry_ttl)
        self._max_bytes = max_bytes
        self._entry_ttl = entry_ttl
        self._clock = clock
        # Keys in the order they were used, each with its entries, the newest last.
        self._entries: dict[str, list[CacheEntry]] = {}
        self._size_bytes = 0
        self._closed = False

    async def get(self, key: str) -> CacheEntry | None:
        """The newest entry of a key; None where there is none."""
        self._require_open()
        self._expire(key)
        kept = self._entries.pop(key, None)
        if kept is None:
            return None
        self._entries[key] = kept
        return kept[-1]

    async def put(self, entry: CacheEntry, *, keep_older: bool = False) -> None:
        """Store an entry as its key's only or newest one.

        Raises:
            CacheError: It is larger than the cache may be.
        """
        self._require_open()
        size = _weight(entry)
        if size > self._max_bytes:
            raise CacheError(f"An answer of {size} bytes is larger than the cache may be, {self._max_bytes} bytes.")
        if not keep_older:
            self._drop(entry.key)
        kept = self._entries.pop(entry.key, [])
        kept.append(entry)
        self._entries[entry.key] = kept
        self._size_bytes += size
        self._evict()

    async def aclose(self) -> None:
        """Forget everything."""
        self._closed = True
        self._entries.clear()
        self._size_bytes = 0

    async def stats(self) -> CacheStats:
        """How many entries there are, and what they take by estimate."""
        self._require_open()
        self._expire_all()
        return CacheStats(sum(map(len, self._entries.values())), self._size_bytes)

    async def clear(self, namespace: str | None = None) -> int:
        """Remove the entries of a namespace, or all."""
        self._require_open()
        removed = 0
        for key, kept in list(self._entries.items()):
            if namespace is None or kept[0].namespace == namespace:
                removed += len(kept)
                self._drop(key)
        return removed

    async def entries(self, namespace: str | None = None) -> AsyncIterator[CacheEntry]:
        """Every entry of a namespace, or all."""
        self._require_open()
        self._expire_all()
        for entry in [entry for kept in self._entries.values() for entry in kept]:
            if namespace is None or entry.namespace == namespace:
                yield entry

    async def older(self, key: str) -> list[CacheEntry]:
        """The entries of a key but the newest, newest first."""
        self._require_open()
        self._expire(key)
        return self._entries.get(key, [])[-2::-1]

    async def warm(self) -> None:
        """Nothing: it is ready."""
        self._require_open()

    def _evict(self) -> None:
        while self._size_bytes > self._max_bytes:
            key, kept = next(iter(self._entries.items()))
            self._size_bytes -= _weight(kept.pop(0))
            if not kept:
                del self._entries[key]

    def _expire_all(self) -> None:
        for key in list(self._entries):
            self._expire(key)

    def _expire(self, key: str) -> None:
        kept = self._entries.get(key)
        if self._entry_ttl is None or kept is None:
            return
        oldest = self._clock() - self._entry_ttl
        for entry in [entry for entry in kept if entry.created_at <= oldest]:
            kept.remove(entry)
            self._size_bytes -= _weight(entry)
        if not kept:
            del self._entries[key]

    def _drop(self, key: str) -> None:
        self._size_bytes -= sum(map(_weight, self._entries.pop(key, ())))

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("The cache is closed.")


def _weight(entry: CacheEntry) -> int:
    return _ENTRY_BYTES + len(entry.identifier) + sum(map(event_weight, entry.events))
