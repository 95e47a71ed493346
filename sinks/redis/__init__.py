"""Events over Redis pub/sub, with a log for replay where that is wanted. It needs the extra `redis`."""

from __future__ import annotations

from sinks.redis.connections import RedisConnections
from sinks.redis.replay import Replay
from sinks.redis.sink import RedisSink, Undelivered
from sinks.redis.subscription import RedisSubscription, subscribe

__all__ = ("RedisConnections", "RedisSink", "RedisSubscription", "Replay", "Undelivered", "subscribe")
