"""What sinks opened by URL are made of, and share."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Self

from hub.errors import MissingExtraError

__all__ = ("SinkConnections", "imported")


class SinkConnections:
    """Connections that sinks opened by URL share: to each Redis one set, made when it is needed first.

    Use it as an async context manager, round the life of the sinks.
    """

    def __init__(self) -> None:
        self._redis: dict[str | None, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def redis(self, url: str | None) -> Any:
        """The `RedisConnections` to the server at that URL; None for that of `REDIS_URL`."""
        if url not in self._redis:
            self._redis[url] = imported("sinks.redis", "RedisSink", "redis").RedisConnections(url)
        return self._redis[url]

    async def aclose(self) -> None:
        """Hang up; a second call does nothing."""
        while self._redis:
            _, connections = self._redis.popitem()
            await connections.aclose()


def imported(module: str, sink: str, extra: str) -> Any:
    """A sink's module, which is loaded once somebody wants one.

    Raises:
        MissingExtraError: What it needs is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        raise MissingExtraError(f"A {sink}", extra) from exc
