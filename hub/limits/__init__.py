"""Rate limits: budgets of tokens and requests a minute, waited for in a line, in one process or in many.

The limiter of many, `RedisLimiter`, is in `hub.limits.redis`, which needs the extra `redis`.
"""

from __future__ import annotations

from hub.errors import LimiterBusyError, LimitTimeoutError, RequestTooLargeError
from hub.limits.base import Permit, RateLimiter
from hub.limits.clock import Clock, LoopClock
from hub.limits.limiter import Limiter
from hub.limits.token_bucket import TokenBucket

__all__ = (
    "Clock",
    "LimitTimeoutError",
    "Limiter",
    "LimiterBusyError",
    "LoopClock",
    "Permit",
    "RateLimiter",
    "RequestTooLargeError",
    "TokenBucket",
)
