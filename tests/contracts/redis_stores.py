"""The stores of streams over Redis and Valkey, for the contracts."""

from __future__ import annotations

import atexit
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any

from redis.asyncio import Redis, RedisCluster

from hub.streams.base import StreamStore
from hub.streams.redis import RedisStreamStore
from tests.real.redis_cluster import ClusterServer
from tests.real.redis_server import RedisServer, redis_binaries

__all__ = ("redis_stores",)


def redis_stores() -> dict[str, Callable[..., AbstractAsyncContextManager[Callable[..., StreamStore]]]]:
    """An opener for each server at hand, by name; and for a cluster of the first."""
    binaries = redis_binaries()
    openers = {name: _opener(_server, binary) for name, binary in binaries.items()}
    if binaries:
        openers["cluster"] = _opener(_cluster, next(iter(binaries.values())))
    return openers


@cache
def _server(binary: str) -> str:
    """One server for the whole run, emptied for each test."""
    server = RedisServer(binary)
    server.start()
    atexit.register(server.stop)
    return server.url


@cache
def _cluster(binary: str) -> str:
    cluster = ClusterServer(binary).__enter__()
    atexit.register(cluster.__exit__, None, None, None)
    return cluster.url


def _opener(start: Callable[[str], str], binary: str) -> Callable[..., Any]:
    @asynccontextmanager
    async def opener(clock: Callable[[], float]) -> AsyncIterator[Callable[..., StreamStore]]:
        url = start(binary)
        await _empty(url)

        def open_store(**options: Any) -> StreamStore:
            return RedisStreamStore.from_url(url, clock=clock, **options)

        yield open_store

    return opener


async def _empty(url: str) -> None:
    client: Any = RedisCluster.from_url(url.replace("+cluster", "")) if "+cluster" in url else Redis.from_url(url)
    async with client:
        await client.flushall()
