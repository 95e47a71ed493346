"""Which errors of Redis pass by themselves."""

from __future__ import annotations

import os

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's name
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - redis-py's name
    TryAgainError,
)

__all__ = ("FAULTS", "is_misplaced", "is_passing", "printable", "reason")

FAULTS: tuple[type[Exception], ...] = (RedisError, RedisClusterException, OSError)
"""What a call may raise."""

MAX_WORDS = 300
"""Characters of what a peer said that are quoted."""

_PASSING = (
    ConnectionError,
    TimeoutError,
    OSError,  # the built-in TimeoutError is one
    AskError,  # MovedError is one
    TryAgainError,
    ClusterDownError,
    ReadOnlyError,  # a master that became a replica
    OutOfMemoryError,
    RedisClusterException,
)

# The first words of errors that redis-py has no class for: https://github.com/redis/redis/blob/7.0/src/server.c
# (createSharedObjects, read 2026-11-21). The disk is full, too few replicas, a long script.
_PASSING_WORDS = ("MISCONF", "NOREPLICAS", "BUSY", "UNKILLABLE")


def is_passing(exc: Exception) -> bool:
    """Whether the same command may succeed a little later: the server is away, starts, fails over or has no room."""
    if isinstance(exc, (AuthenticationError, AuthorizationError)):
        return False
    return isinstance(exc, _PASSING) or (isinstance(exc, ResponseError) and str(exc).startswith(_PASSING_WORDS))


def is_misplaced(exc: Exception) -> bool:
    """Whether it says, or may mean, that a cluster's keys lie elsewhere than we believe."""
    return not isinstance(exc, (TryAgainError, OutOfMemoryError)) and is_passing(exc)


def reason(exc: BaseException) -> str:
    """What went wrong, in the system's words or the server's, for a sentence that names the server itself."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    if isinstance(exc, (TimeoutError, OSError)):
        return str(exc) or "it does not answer"
    return printable(str(exc)).rstrip(".") or type(exc).__name__


def printable(text: str) -> str:
    """The beginning of what a peer said, for logs and terminals, which would obey some characters."""
    return "".join(each if each.isprintable() else "?" for each in text[:MAX_WORDS])
