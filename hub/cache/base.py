"""What a cache of answers promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hub.cache.entry import CacheEntry
from hub.errors import CacheError

__all__ = ("Cache", "CacheError", "CacheMaintenance", "CacheStats", "check_limits")


class Cache(Protocol):
    """Keeps answers by their keys. Every method may be called from any task at any time.

    A key may have several entries, of which the one that was put last is the newest. All methods but `aclose` raise
    `CacheError` where the back end fails, and `ClosedError` after `aclose`. An entry may go at any time: evicted,
    expired, or removed by another process.
    """

    async def get(self, key: str) -> CacheEntry | None:
        """The newest entry of a key; None where there is none.

        Raises:
            CacheEntryError: What is kept there is no entry, or one of another key. A later `put` replaces it.
            CacheError: The back end failed.
        """
        ...

    async def put(self, entry: CacheEntry, *, keep_older: bool = False) -> None:
        """Store an entry, whole or not at all, as its key's only one; with `keep_older`, as its newest one.

        Of several that are put at once under one key, one is the newest, and each is whole.

        Raises:
            CacheError: The back end failed, or the entry is larger than the cache may be.
        """
        ...

    async def aclose(self) -> None:
        """Release what is held; what is stored stays. A second call does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How full a cache is. `size_bytes` is what the entries take; in memory it is an estimate."""

    entries: int
    size_bytes: int


@runtime_checkable
class CacheMaintenance(Protocol):
    """What an operator does with a cache, where its back end can; a second ability beside `Cache`.

    All raise `CacheError` where the back end fails, and `ClosedError` after `aclose`.
    """

    async def stats(self) -> CacheStats:
        """How many entries there are, older ones included, and what they take."""
        ...

    async def clear(self, namespace: str | None = None) -> int:
        """Remove the entries of a namespace, older ones included; all of them where it is None. How many they were."""
        ...

    def entries(self, namespace: str | None = None) -> AsyncIterator[CacheEntry]:
        """Every entry of a namespace, older ones included, in no order; of all where it is None.

        Damaged ones are passed over. What is put meanwhile may be there or not.
        """
        ...

    async def older(self, key: str) -> list[CacheEntry]:
        """The entries of a key but the newest, which `get` gives: newest first. Damaged ones are passed over."""
        ...

    async def warm(self) -> None:
        """Do now what the first call would have to do: connect, make what is missing.

        Raises:
            CacheError: The back end can't be used.
        """
        ...


def check_limits(**limits: float | None) -> None:
    """Return where each limit is above 0, or None, which is no limit.

    Raises:
        ValueError: One isn't; the message begins with its name.
    """
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            raise ValueError(f"{name} must be above 0, not {limit!r}")
