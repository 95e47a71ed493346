"""Answers as files of one directory, which any number of processes on this machine share."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from os import PathLike
from pathlib import Path

from hub.cache.base import CacheStats, check_limits
from hub.cache.directory import Directory, EntryFile
from hub.cache.entry import CacheEntry
from hub.errors import CacheError, ClosedError

__all__ = ("FilesystemCache",)

log = logging.getLogger(__name__)

SWEPT_SHARE = 0.9
"""How full the cache is after a sweep, of `max_bytes`."""

UNSEEN_SHARE = 0.1
"""How much this process writes, of `max_bytes`, before it looks at what others have written."""

AGE_SWEEPS = 10
"""How often in an `entry_ttl` the expired files are removed, at most."""

_PAGE = 64


class FilesystemCache:
    """Keeps each answer in a file that only its owner may read; a file is there whole or not at all.

    `put` writes a temporary file and renames it. When the files take more than `max_bytes`, those that were read or
    written longest ago go, in a thread after the `put`. Nobody looks at the whole directory at each `put`: a process
    counts what it writes, and looks again after each tenth of `max_bytes`, so several processes that write at once may
    together go beyond the limit by a tenth each for a while.

    Args:
        cache_dir: The directory; made at the first `put`, or by `warm`.
        max_bytes: What the files may take together.
        entry_ttl: Seconds that an entry is kept after `created_at`; None keeps it while there is room.
        fsync: Wait at each `put` until the file is on the disk.
        clock: Unix seconds.

    Raises:
        ValueError: A limit is not above 0.
    """

    def __init__(
        self,
        cache_dir: str | PathLike[str],
        *,
        max_bytes: int = 1_000_000_000,
        entry_ttl: float | None = None,
        fsync: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_limits(max_bytes=max_bytes, entry_ttl=entry_ttl)
        self._directory = Directory(Path(cache_dir), fsync=fsync)
        self._max_bytes = max_bytes
        self._entry_ttl = entry_ttl
        self._clock = clock
        self._count = _Count(max_bytes, entry_ttl)
        self._sweeping: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def cache_dir(self) -> Path:
        """The directory."""
        return self._directory.path

    async def get(self, key: str) -> CacheEntry | None:
        """The newest entry of a key; None where there is none."""
        self._require_open()
        return await asyncio.to_thread(self._directory.read, key, after=self._expired_stamp(), now=self._clock())

    async def put(self, entry: CacheEntry, *, keep_older: bool = False) -> None:
        """Store an entry as its key's only or newest one."""
        self._require_open()
        grown = await asyncio.to_thread(self._directory.write, entry, keep_older=keep_older, max_bytes=self._max_bytes)
        self._count.add(grown)
        if self._count.wants_sweep(self._clock()) and (self._sweeping is None or self._sweeping.done()):
            self._sweeping = asyncio.get_running_loop().run_in_executor(None, self._sweep)

    async def aclose(self) -> None:
        """Wait for a sweep under way; the files stay."""
        self._closed = True
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None and sweeping.get_loop() is asyncio.get_running_loop():
            await sweeping

    async def stats(self) -> CacheStats:
        """How many files there are, and what they take."""
        self._require_open()
        sizes = await asyncio.to_thread(lambda: [file.size_bytes for file in self._current()])
        return CacheStats(len(sizes), sum(sizes))

    async def clear(self, namespace: str | None = None) -> int:
        """Remove the entries of a namespace, or all, damaged ones too."""
        self._require_open()
        return await asyncio.to_thread(self._clear, namespace)

    async def entries(self, namespace: str | None = None) -> AsyncIterator[CacheEntry]:
        """Every entry of a namespace, or all."""
        self._require_open()
        files = await asyncio.to_thread(lambda: list(self._current()))
        for first in range(0, len(files), _PAGE):
            for entry in await asyncio.to_thread(self._load, files[first : first + _PAGE]):
                if namespace is None or entry.namespace == namespace:
                    yield entry

    async def older(self, key: str) -> list[CacheEntry]:
        """The entries of a key but the newest, newest first."""
        self._require_open()
        return await asyncio.to_thread(self._directory.older, key, after=self._expired_stamp())

    async def warm(self) -> None:
        """Make the directory, and count what is there."""
        self._require_open()
        await asyncio.to_thread(self._directory.make)
        await asyncio.to_thread(self._sweep)

    def _expired_stamp(self) -> int:
        """The stamp up to which entries have expired."""
        return 0 if self._entry_ttl is None else max(0, int((self._clock() - self._entry_ttl) * 1e6))

    def _current(self) -> Iterator[EntryFile]:
        expired = self._expired_stamp()
        return (file for file in self._directory.files() if file.stamp > expired)

    def _load(self, files: list[EntryFile]) -> list[CacheEntry]:
        entries = (self._directory.load(file.path) for file in files)
        return [entry for entry in entries if entry is not None]

    def _clear(self, namespace: str | None) -> int:
        removed = 0
        for file in self._directory.files():
            entry = None if namespace is None else self._directory.load(file.path)
            if namespace is None or (entry is not None and entry.namespace == namespace):
                removed += self._directory.remove(file.path)
        return removed

    def _sweep(self) -> None:
        """Remove what has expired and what is too much. Two processes may do so at once."""
        now, expired = self._clock(), self._expired_stamp()
        self._count.begin(now)
        try:
            self._directory.remove_left_behind(now=now)
            kept = []
            for file in self._directory.files():
                if file.stamp <= expired:
                    self._directory.remove(file.path)
                else:
                    kept.append(file)
            self._count.found(self._evict(kept))
        except CacheError as exc:
            # The put that began this has succeeded. One that finds the disk full will fail by itself.
            log.warning("the cache could not be tidied up: %s", exc)

    def _evict(self, files: list[EntryFile]) -> int:
        """Remove what was read longest ago where the files are too much; how many bytes are left."""
        size = sum(file.size_bytes for file in files)
        if size <= self._max_bytes:
            return size
        for file in sorted(files, key=lambda file: (file.read_at, file.stamp)):
            if size <= self._max_bytes * SWEPT_SHARE:
                break
            self._directory.remove(file.path)
            size -= file.size_bytes
        return size

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("The cache is closed.")


class _Count:
    """About how many bytes are there: what a sweep found and what was written since. Used from several threads."""

    def __init__(self, max_bytes: int, entry_ttl: float | None) -> None:
        self._max_bytes = max_bytes
        self._interval = None if entry_ttl is None else entry_ttl / AGE_SWEEPS
        self._lock = threading.Lock()
        self._found: int | None = None
        self._written = 0
        self._swept_at = 0.0

    def add(self, grown: int) -> None:
        with self._lock:
            self._written += grown

    def wants_sweep(self, now: float) -> bool:
        with self._lock:
            if self._found is None or self._written >= self._max_bytes * UNSEEN_SHARE:
                return True
            if self._interval is not None and now >= self._swept_at + self._interval:
                return True
            return self._found + self._written > self._max_bytes

    def begin(self, now: float) -> None:
        with self._lock:
            self._swept_at = now
            self._written = 0
            # Until the sweep has counted; one that fails is not repeated at every put.
            self._found = self._found or 0

    def found(self, size: int) -> None:
        with self._lock:
            self._found = size
