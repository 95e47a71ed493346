"""Which limiter the calls of a client keep to: one for each endpoint and model, made when it is first asked."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from hub.config import Settings
from hub.errors import ConfigurationError
from hub.limits import Limiter, RateLimiter
from hub.models import catalog
from hub.models.profile import ModelProfile, RateLimits
from hub.upstream.endpoint import Endpoint
from hub.upstream.quota import Quota

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ("LimiterBackend", "Quotas")

LimiterBackend: TypeAlias = Literal["memory", "redis", "none"]

MAX_QUOTAS = 1_000
"""Of models asked for by names that callers make up, the one that has not been asked for longest is forgotten first."""

_UNKNOWN = RateLimits()

_OF_THE_CATALOG = tuple(getattr(catalog, name).rate_limits for name in catalog.__all__)
"""Figures of OpenAI's lowest paid tier: of other endpoints they say nothing, and of an account there only the least."""


class Quotas:
    """The quotas of one client.

    Limits are known where the profile is one's own, or the catalog's and the endpoint OpenAI's. Where they aren't, a
    limiter in this process limits nothing until the endpoint's headers tell a limit, and makes everybody wait where
    the endpoint asks for it.

    Args:
        limiter: `memory` for limiters in this process, `redis` for those that processes share, `none`; or one of
            your own for all models of the first endpoint, which stays yours to close. None for the setting.
        settings: Says which, where none is given, and where Redis is.

    Raises:
        ConfigurationError: There is no such limiter, or it has no Redis.
        MissingExtraError: Its driver is not installed.
    """

    def __init__(self, limiter: RateLimiter | LimiterBackend | None, settings: Settings) -> None:
        self._own = None
        if limiter is not None and not isinstance(limiter, str):
            self._own = Quota(_checked(limiter), name="your own limiter")
        url = settings.cache.redis_url
        named = limiter if isinstance(limiter, str) else settings.llm.limiter
        if named is None:
            named = "redis" if url is not None and find_spec("redis") is not None else "memory"
        if named not in get_args(LimiterBackend):
            known = ", ".join(get_args(LimiterBackend))
            raise ConfigurationError(f"There is no limiter called {named!r}; there are {known}.")
        if named == "redis" and url is None:
            raise ConfigurationError("limiter='redis' needs the environment variable REDIS_URL.")
        self._backend = named
        self._redis: Redis | None = None
        if named == "redis" and url is not None:
            from hub.redis_io import connect  # its driver is an extra

            self._redis = connect(url.get_secret_value())
        self._quotas: dict[tuple[Endpoint, str], Quota] = {}
        self._lock = Lock()  # a client's calls may come from several threads, and one model has one limiter

    def of(self, endpoint: Endpoint, profile: ModelProfile, *, is_first: bool) -> Quota | None:
        """What calls to that model keep to; None for nothing.

        Args:
            endpoint: Where it is asked.
            profile: The model.
            is_first: It is the client's first endpoint, which a limiter of one's own is for.
        """
        if is_first and self._own is not None:
            return self._own
        if self._backend == "none":
            return None
        key = (endpoint, profile.model_name)
        with self._lock:
            quota = self._quotas.pop(key, None) or self._quota(endpoint, profile)
            self._quotas[key] = quota  # the last in order is the one asked for last
            if len(self._quotas) > MAX_QUOTAS:
                del self._quotas[next(iter(self._quotas))]
        return quota

    async def aclose(self) -> None:
        """Close what was opened for them."""
        limiters = [quota.limiter for quota in self._quotas.values()]
        self._quotas.clear()
        if self._redis is not None:
            from hub.redis_io import UNREACHABLE

            await asyncio.gather(*(limiter.aclose() for limiter in limiters))
            with suppress(*UNREACHABLE):  # a connection that was lost can't be closed in order
                await self._redis.aclose()

    def _quota(self, endpoint: Endpoint, profile: ModelProfile) -> Quota:
        limits, name = profile.rate_limits, f"{profile.model_name} at {endpoint.url}"
        if limits is None or all(limits is not each for each in _OF_THE_CATALOG):
            return Quota(self._limiter(endpoint, profile, limits), name=name)
        if not endpoint.is_openai:
            return Quota(Limiter(_UNKNOWN), name=name)
        return Quota(self._limiter(endpoint, profile, limits), name=name, assumed_tokens=limits.tkn_per_min)

    def _limiter(self, endpoint: Endpoint, profile: ModelProfile, limits: RateLimits | None) -> RateLimiter:
        if self._redis is None or limits is None:
            return Limiter(limits or _UNKNOWN)
        from hub.limits.redis import RedisLimiter  # its driver is an extra

        return RedisLimiter(self._redis, f"{endpoint.account}/{profile.model_name}", limits)


def _checked(limiter: Any) -> RateLimiter:
    methods = ("limit", "pause", "correct")
    if isinstance(limiter, type) or not all(callable(getattr(limiter, name, None)) for name in methods):
        kind = f"the class {limiter.__name__}" if isinstance(limiter, type) else type(limiter).__name__
        raise ConfigurationError(f"limiter is 'memory', 'redis', 'none' or a RateLimiter, not {kind}.")
    checked: RateLimiter = limiter
    return checked
