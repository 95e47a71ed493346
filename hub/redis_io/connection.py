"""Connections to Redis or Valkey: made from a URL, lazily, with time-outs on everything."""

from __future__ import annotations

from typing import Any, TypeAlias

from hub.errors import ConfigurationError, MissingExtraError

try:
    from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
    from redis.asyncio.connection import AbstractConnection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
except ImportError as exc:
    raise MissingExtraError("Redis", "redis") from exc

__all__ = ("UNREACHABLE", "RedisClient", "connect", "send")

RedisClient: TypeAlias = "Redis | RedisCluster"

UNREACHABLE: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
"""What a command may raise when the server is away, hangs, is full, read-only or refuses us."""


def connect(url: str, *, timeout: float = 1.0, retries: int = 0, max_connections: int = 50, **options: Any) -> Redis:
    """A client that connects at its first command; closing it is its maker's.

    Answers are bytes. Where all connections are in use, a command waits for one. A new connection costs no round trips
    but those of its password and database: a server that is far away must not use up the time-out with greetings, and
    be taken for a dead one each time anew.

    Args:
        url: `redis://…`, `rediss://…` or `unix://…`, as in `REDIS_URL`. What its query says comes before the arguments.
        timeout: Seconds for a connection to be free, for one to be made, and for each answer.
        retries: How often a command is sent again, at once, where its connection was lost. It may have been carried out
            already: more than 0 is for commands that do no harm twice.
        max_connections: How many there are at most.
        options: Anything else that redis-py's connections take.

    Raises:
        ConfigurationError: The URL makes no sense. Neither the message nor a cause repeats it, since it may hold a
            password.
    """
    known: dict[str, Any] = {
        "timeout": timeout,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), retries),
        "max_connections": max_connections,
        "protocol": 2,  # redis-py 8.1 greets with two round trips in version 3 of the protocol,
        "driver_info": None,  # and with one more to introduce itself
    }
    pool = _pool(url, **{**known, **options})
    if pool is None:
        raise ConfigurationError(
            "The URL of Redis can't be used (REDIS_URL, HUB_STORE): it has to look like redis://…, rediss://… or "
            "unix://…, with options that "
            "redis-py knows; special characters of a password have to be percent-encoded."
        )
    return Redis.from_pool(pool)


async def send(connection: AbstractConnection, data: bytes) -> None:
    """Send packed commands over a connection of the caller's own.

    Raises:
        ConnectionError: It is lost, be it the built-in error or redis-py's.
    """
    try:
        # A health check would read its answer here, where messages may come too.
        await connection.send_packed_command([data], check_health=False)
    except RuntimeError as exc:  # uvloop's word where the server has hung up meanwhile (0.22, read 2026-11-21)
        raise ConnectionError("the server has closed the connection") from exc


def _pool(url: str, **options: Any) -> BlockingConnectionPool | None:
    """The connections to be; None where the driver doesn't understand the URL."""
    try:
        pool = BlockingConnectionPool.from_url(url, **options)
        pool.connection_kwargs["decode_responses"] = False  # a URL that other programs share may ask for text
        pool.make_connection()  # type: ignore[no-untyped-call]  # no I/O; an option that the driver doesn't know shows here
    except (ValueError, TypeError, AttributeError, RedisError):
        return None  # and not raised from here: the driver's words may quote the URL, and would stay on as context
    return pool
