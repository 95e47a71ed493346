"""What everything that speaks to Redis shares. It needs the extra `redis`."""

from __future__ import annotations

from hub.redis_io.cancellation import keeping_cancellation
from hub.redis_io.connection import UNREACHABLE, RedisClient, connect

__all__ = ("UNREACHABLE", "RedisClient", "connect", "keeping_cancellation")
