"""Connections to Redis or Valkey: made from a URL, lazily, with time-outs on everything and no retries of their own."""

from __future__ import annotations

from typing import Any, TypeAlias

from hub.errors import ConfigurationError, MissingExtraError

try:
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
except ImportError as exc:
    raise MissingExtraError("Redis", "redis") from exc

__all__ = ("UNREACHABLE", "RedisClient", "connect")

RedisClient: TypeAlias = "Redis | RedisCluster"

UNREACHABLE: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
"""What a command may raise when the server is away, hangs, is full, read-only or refuses us."""


def connect(url: str, *, timeout: float = 1.0, **options: Any) -> Redis:
    """A client that connects at its first command; closing it is its maker's.

    Args:
        url: `redis://…`, `rediss://…` or `unix://…`, as in `REDIS_URL`.
        timeout: Seconds for a connection to be made, and for each answer.
        options: Anything else that redis-py's connections take.

    Raises:
        ConfigurationError: The URL makes no sense. The message doesn't repeat it, since it may hold a password.
    """
    try:
        return Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # Retried commands may have been carried out already; who sends them knows whether that matters.
            retry=Retry(NoBackoff(), 0),
            **options,
        )
    except ValueError as exc:
        raise ConfigurationError("The Redis URL can't be used: it is redis://, rediss:// or unix://….") from exc
