"""The queues of jobs, for the contracts."""

from __future__ import annotations

import atexit
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any, TypeAlias
from uuid import uuid4

from hub.jobs.memory import MemoryJobQueue
from hub.jobs.queue import RedisJobQueue
from tests.real.redis_cluster import ClusterServer
from tests.real.redis_server import RedisServer, redis_binaries

__all__ = ("Queue", "job_queues")

Queue: TypeAlias = MemoryJobQueue | RedisJobQueue

CLAIM_WAIT = 0.1
"""Seconds; where a test has nothing to wait for, it is not to wait long."""


def job_queues() -> dict[str, Callable[..., AbstractAsyncContextManager[Queue]]]:
    """An opener for each, by name."""
    openers: dict[str, Callable[..., AbstractAsyncContextManager[Queue]]] = {"memory": _memory}
    binaries = redis_binaries()
    openers |= {name: _opener(_server, binary) for name, binary in binaries.items()}
    if binaries:
        openers["cluster"] = _opener(_cluster, next(iter(binaries.values())))
    return openers


@asynccontextmanager
async def _memory(**options: Any) -> AsyncIterator[Queue]:
    yield MemoryJobQueue(**{"claim_wait": CLAIM_WAIT, **options})


@cache
def _server(binary: str) -> str:
    server = RedisServer(binary)
    server.start()
    atexit.register(server.stop)
    return server.url


@cache
def _cluster(binary: str) -> str:
    cluster = ClusterServer(binary).__enter__()
    atexit.register(cluster.__exit__, None, None, None)
    return cluster.url


def _opener(start: Callable[[str], str], binary: str) -> Callable[..., AbstractAsyncContextManager[Queue]]:
    @asynccontextmanager
    async def opener(**options: Any) -> AsyncIterator[Queue]:
        prefix = f"{{jobs:{uuid4().hex}}}"
        options = {"claim_wait": CLAIM_WAIT, "prefix": prefix, **options}
        async with RedisJobQueue.from_url(start(binary), **options) as queue:
            yield queue

    return opener
