"""Entries in PostgreSQL, which is the record, with Redis in front of it for those in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

from hub.cache.base import CacheStats
from hub.cache.entry import CacheEntry
from hub.cache.packing import Compression, is_large, pack, unpack
from hub.cache.postgres import PostgresRecord, Stored
from hub.cache.redis_mirror import RedisMirror
from hub.cache.servers import FaultHandler, check_numbers
from hub.errors import CacheEntryError

__all__ = ("PostgresRedisCache",)

_PAGE = 100
_BATCH = 1_000


class PostgresRedisCache:
    """Entries in PostgreSQL and, for a while, in Redis; with either one away, the other serves.

    A read asks Redis first, then PostgreSQL, and copies what it found there to Redis: a flushed Redis fills again. A
    write goes to PostgreSQL, then to Redis. With Redis away everything works, and the fault is reported; with
    PostgreSQL away what Redis holds can be read, and all else raises `CacheError`. Each server that can't be reached is
    left alone for `cool_down_delay` seconds. Connections are made at the first use, the schema and its tables at the
    first write; any number of processes may share them.

    Args:
        pg_dsn: Address of PostgreSQL, `postgresql://user:password@host:port/database`.
        redis_url: Address of Redis or Valkey, `redis://…`, `rediss://…` or `unix://…`; one server, no cluster.
        redis_ttl_seconds: Seconds an entry stays in Redis after it was written or found in PostgreSQL.
        cache_collection: Name of the PostgreSQL schema, and part of the names of the keys in Redis.
        compression: How new entries are written; `zlib` takes some 10 µs a KB. Others stay readable.
        pg_timeout: Seconds for one operation of PostgreSQL in all; `warm` may take ten times as long.
        redis_timeout: Seconds for one operation of Redis in all, after a wait of twice that at most where many ask.
        cool_down_delay: Seconds an unreachable server is left alone.
        on_fault: Is told of faults that no caller sees, of one kind at most once a minute; None logs them.

    Raises:
        ConfigurationError: An address or the name can't be used.
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        *,
        pg_dsn: str,
        redis_url: str,
        redis_ttl_seconds: float = 3_600.0,
        cache_collection: str = "llm_cache",
        compression: Compression = "none",
        pg_timeout: float = 1.25,
        redis_timeout: float = 0.5,
        cool_down_delay: float = 2.0,
        on_fault: FaultHandler | None = None,
    ) -> None:
        check_numbers(
            above_0={"redis_ttl_seconds": redis_ttl_seconds, "pg_timeout": pg_timeout, "redis_timeout": redis_timeout},
            from_0={"cool_down_delay": cool_down_delay},
        )
        self._record = PostgresRecord(
            pg_dsn, schema=cache_collection, timeout=pg_timeout, cool_down_delay=cool_down_delay
        )
        self._mirror = RedisMirror(
            redis_url,
            prefix=f"hub:cache:{cache_collection}:",
            ttl=redis_ttl_seconds,
            timeout=redis_timeout,
            cool_down_delay=cool_down_delay,
            on_fault=on_fault,
        )
        self._compression: Compression = compression

    def __repr__(self) -> str:
        return f"<PostgresRedisCache: {self._record.server}, {self._mirror.server}>"

    async def get(self, key: str) -> CacheEntry | None:
        """The newest entry of a key; None where there is none.

        Raises:
            CacheEntryError: What PostgreSQL keeps under this key is damaged.
            CacheError: Redis has no copy, and PostgreSQL can't serve.
        """
        copy = await self._mirror.get(key)
        if copy is not None:
            try:
                return await _unpacked(copy, key)
            except CacheEntryError:
                await self._mirror.discard(key)
        stored = await self._record.get(key)
        if stored is None:
            return None
        entry = await _unpacked(stored.body, key)
        await self._mirror.copy(key, stored)
        return entry

    async def put(self, entry: CacheEntry, *, keep_older: bool = False) -> None:
        """Store an entry as its key's only or newest one.

        Raises:
            CacheError: PostgreSQL can't serve; then Redis isn't written either.
        """
        body = await self._packed(entry)
        revision = await self._record.put(entry.key, entry.namespace, entry.created_at, body, keep_older=keep_older)
        await self._mirror.put(entry.key, Stored(body, revision))

    async def older(self, key: str) -> list[CacheEntry]:
        """The entries of a key but the newest, newest first.

        Raises:
            CacheError: PostgreSQL can't serve.
        """
        return await asyncio.to_thread(_sound, await self._record.older([key]))

    async def entries(self, namespace: str | None = None) -> AsyncIterator[CacheEntry]:
        """Every entry of a namespace, or all, key by key.

        Raises:
            CacheError: PostgreSQL can't serve.
        """
        after = ""
        while page := await self._record.page(after, namespace, _PAGE):
            after = page[-1][0]
            older = await self._record.older([key for key, _ in page])
            for entry in await asyncio.to_thread(_sound, page + older):
                yield entry

    async def clear(self, namespace: str | None = None) -> int:
        """Remove the entries of a namespace, or all; returns how many they were.

        A read under way may copy an entry to Redis that is just being removed; it stays there for
        `redis_ttl_seconds` at most.

        Raises:
            CacheError: One of the two can't be reached. What is left, another call removes.
        """
        removed = 0
        while keys := await self._record.keys(namespace, _BATCH):
            # Redis first: where it is away, the record still knows what is to be removed there. And again: readers may
            # have copied from the record in between.
            await self._mirror.remove(keys)
            removed += await self._record.delete(keys)
            await self._mirror.remove(keys)
        return removed

    async def stats(self) -> CacheStats:
        """How many entries PostgreSQL keeps, and their bytes as they are stored.

        Raises:
            CacheError: PostgreSQL can't serve.
        """
        return CacheStats(*await self._record.counts())

    async def warm(self) -> None:
        """Connected to both, and the schema up to date.

        Raises:
            CacheError: PostgreSQL can't serve.
        """
        await self._mirror.ping()
        await self._record.open()

    async def aclose(self) -> None:
        """Close all connections; afterwards every method raises `ClosedError`."""
        await self._mirror.aclose()
        await self._record.aclose()

    async def _packed(self, entry: CacheEntry) -> bytes:
        if self._compression == "none":
            return pack(entry)
        # Off the loop: a megabyte takes 10 ms.
        return await asyncio.to_thread(pack, entry, self._compression)


async def _unpacked(body: bytes, key: str) -> CacheEntry:
    """The entry, which doesn't hold the loop up while it is unpacked."""
    return await asyncio.to_thread(_entry, body, key) if is_large(body) else _entry(body, key)


def _entry(body: bytes, key: str) -> CacheEntry:
    entry = unpack(body)
    if entry.key != key:
        raise CacheEntryError("What the cache keeps under this key is another key's entry.")
    return entry


def _sound(kept: Iterable[tuple[str, bytes]]) -> list[CacheEntry]:
    entries = []
    for key, body in kept:
        with suppress(CacheEntryError):
            entries.append(_entry(body, key))
    return entries
