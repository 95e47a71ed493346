"""What the driver raises, as errors of ours."""

from __future__ import annotations

from redis.exceptions import AuthenticationError

from hub.errors import SinkError, SinkRejectedError, SinkUnavailableError
from hub.redis_io.faults import is_passing, reason

__all__ = ("sink_error",)


def sink_error(exc: Exception, address: str, consequence: str = "") -> SinkError:
    """The error to raise from one of `FAULTS`.

    Args:
        exc: What the driver raised.
        address: The server's, without user and password.
        consequence: A sentence that says what came of it.
    """
    end = f" {consequence}" if consequence else ""
    if isinstance(exc, AuthenticationError) and "authentication required" in str(exc).lower():
        return SinkRejectedError(
            f"Redis at {address} asks for a password, and its URL has none: redis://:PASSWORD@HOST:6379.{end}"
        )
    if isinstance(exc, AuthenticationError):  # redis-py 8 has the server's own words for it, which say no more
        return SinkRejectedError(f"Redis at {address} refuses the user or the password of its URL.{end}")
    if is_passing(exc):
        return SinkUnavailableError(f"Redis at {address} can't be used now ({reason(exc)}).{end}")
    return SinkRejectedError(f"Redis at {address} refuses what it was asked for ({reason(exc)}).{end}")
