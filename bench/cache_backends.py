"""The back ends of the cache, each opened and ready, for what is measured without a client."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from redis.asyncio import Redis

from bench.cache_servers import Servers
from hub.cache.base import Cache
from hub.cache.filesystem import FilesystemCache
from hub.cache.memory import MemoryCache
from hub.cache.postgres_redis import PostgresRedisCache
from hub.cache.qdrant import QdrantCache

__all__ = ("Backend", "Open", "backends")


async def _nothing() -> None:
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A cache, and what to do before each round of reading."""

    cache: Cache
    before: Callable[[], Awaitable[None]] = _nothing


Open: TypeAlias = Callable[[Servers], AbstractAsyncContextManager[Backend]]


@asynccontextmanager
async def _memory(servers: Servers) -> AsyncIterator[Backend]:
    yield Backend(MemoryCache())


@asynccontextmanager
async def _filesystem(servers: Servers) -> AsyncIterator[Backend]:
    with tempfile.TemporaryDirectory() as directory:
        cache = FilesystemCache(Path(directory))
        yield Backend(cache)
        await cache.aclose()


@asynccontextmanager
async def _redis(servers: Servers) -> AsyncIterator[Backend]:
    cache = _postgres_redis(servers)
    yield Backend(cache)
    await cache.aclose()


@asynccontextmanager
async def _postgres(servers: Servers) -> AsyncIterator[Backend]:
    async with Redis.from_url(servers.addresses["redis"]) as redis:

        async def flush() -> None:
            await redis.flushdb()

        cache = _postgres_redis(servers)
        yield Backend(cache, flush)
        await cache.aclose()


def _postgres_redis(servers: Servers) -> PostgresRedisCache:
    dsn, url = servers.addresses["postgres"], servers.addresses["redis"]
    return PostgresRedisCache(pg_dsn=dsn, redis_url=url, cache_collection=f"bench_{uuid4().hex}")


@asynccontextmanager
async def _qdrant(servers: Servers) -> AsyncIterator[Backend]:
    cache = QdrantCache(qdrant_url=servers.addresses["qdrant"], cache_collection=f"bench_{uuid4().hex}")
    yield Backend(cache)
    await cache.aclose()


def backends(servers: Servers) -> dict[str, Open]:
    """Those that can be opened, by the names that a table shows."""
    found: dict[str, Open] = {"`memory`": _memory, "`fs`": _filesystem}
    if servers.can_serve("postgres", "redis"):
        found["`pg_redis`, in Redis"] = _redis
        found["`pg_redis`, in PostgreSQL alone"] = _postgres
    if servers.can_serve("qdrant"):
        found["`qdrant`"] = _qdrant
    return found
