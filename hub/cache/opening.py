"""Which cache a client has: by name, with what it needs from arguments and the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from pydantic import SecretStr

from hub.cache.base import Cache
from hub.cache.core import CacheCore
from hub.cache.faults import Report
from hub.cache.filesystem import FilesystemCache
from hub.cache.memory import MemoryCache
from hub.cache.shared import SharedFlights
from hub.config import CacheSettings
from hub.errors import ConfigurationError

__all__ = ("CacheBackend", "CacheOptions", "open_cache")

CacheBackend: TypeAlias = Literal["memory", "fs", "pg_redis", "qdrant", "none"]


class CacheOptions(TypedDict, total=False):
    """What a client's constructor takes beside `cache_backend`; each has its default in the environment.

    Attributes:
        cache_dir: Where `fs` keeps its files.
        cache_collection: The schema of `pg_redis`, the collection of `qdrant`.
        cache_namespace: The tenant: a part of every key.
        cache_failures: Store answers that failed too.
        cache_replay_speed: How fast a stored answer is told again: 1.0 as fast as it came; None for at once.
        cache_get_timeout: Seconds a look-up may take; then it is a miss. By default 2.
        cache_put_timeout: Seconds storing may take, after the answer's `done`. By default 5.
        cache_flights: Who shares an answer while it is under way: `process` for the calls of this client, or a URL of
            Redis for the equal calls of all processes that have the same; or a `SharedFlights` of your own.
        cache_on_fault: Is told of each fault of the cache; by default they are logged.
        cache_max_bytes: What `memory` and `fs` hold, at most.
        cache_ttl: Seconds for which `memory` and `fs` keep an entry; None for no limit.
        cache_compression: Whether `pg_redis` compresses what it keeps.
        pg_dsn, redis_url, redis_ttl_seconds: For `pg_redis`.
        qdrant_url, qdrant_api_key: For `qdrant`.
    """

    cache_dir: str | Path
    cache_collection: str
    cache_namespace: str
    cache_failures: bool
    cache_replay_speed: float | None
    cache_get_timeout: float
    cache_put_timeout: float
    cache_flights: str | SharedFlights
    cache_on_fault: Report
    cache_max_bytes: int
    cache_ttl: float | None
    cache_compression: bool
    pg_dsn: str
    redis_url: str
    redis_ttl_seconds: float
    qdrant_url: str
    qdrant_api_key: str


def open_cache(
    backend: CacheBackend | Cache | None,
    options: CacheOptions,
    settings: CacheSettings,
    *,
    open_flights: Callable[[str], SharedFlights | None] = lambda _: None,
) -> CacheCore | None:
    """The cache of that name, or the one given; None for none. Nothing is connected yet.

    Options that are for another cache are refused where `backend` names one. Where the environment names it, or
    switches it off by `none`, they wait for the day it names theirs.

    Args:
        backend: The name, or the cache.
        options: What the client was given for it.
        settings: What the environment says.
        open_flights: Opens what `cache_flights` names; by default nothing, for who asks no endpoint.

    Raises:
        ConfigurationError: There is no such cache, or what it needs is missing or makes no sense.
        MissingExtraError: Its driver is not installed.
    """
    if unknown := options.keys() - CacheOptions.__annotations__.keys():
        raise TypeError(f"OpenAIClient got an unexpected argument: {', '.join(sorted(unknown))}")
    named = settings.backend if backend is None else backend
    given = [name for name, value in options.items() if value is not None]
    if named is None and given:
        raise ConfigurationError(
            f"There is no cache for {', '.join(given)}: pass cache_backend=… too, or set CACHE_BACKEND."
        )
    if named is None or named == "none":
        return None
    chosen = _Chosen(options, settings)
    try:
        cache = _named(named, chosen) if isinstance(named, str) else named
        if backend is not None:
            _require_fitting(backend, given)
        flights = chosen("cache_flights", settings.flights) or "process"
        if not isinstance(flights, str) and not callable(getattr(flights, "source", None)):
            raise ConfigurationError(f"cache_flights is 'process', a URL or SharedFlights, not {flights!r}.")
        return CacheCore(
            cache,
            flights=open_flights(flights) if isinstance(flights, str) else flights,
            namespace=chosen("cache_namespace", settings.namespace) or "",
            failures=chosen.flag("cache_failures"),
            report=options.get("cache_on_fault"),
            **chosen.given(
                cache_replay_speed="replay_speed", cache_get_timeout="get_timeout", cache_put_timeout="put_timeout"
            ),
        )
    except ValueError as exc:
        raise ConfigurationError(f"{_in_our_words(str(exc))}.") from exc


def _require_fitting(backend: CacheBackend | Cache, given: Iterable[str]) -> None:
    own = _OPTIONS[backend] if isinstance(backend, str) else ()
    if others := [name for name in given if name not in (*_COMMON, *own)]:
        cache = f"cache_backend={backend!r}" if isinstance(backend, str) else "a cache of your own"
        raise ConfigurationError(
            f"{', '.join(others)} can't be used with {cache}: it takes {', '.join((*own, *_COMMON))}."
        )


def _in_our_words(message: str) -> str:
    """The message, with the option's name where it begins with that of the cache's own argument."""
    name, _, rest = message.partition(" ")
    return f"{_OPTION_NAMES.get(name, name)} {rest}"


def _named(name: str, chosen: _Chosen) -> Cache:
    if name not in _OPENERS:
        raise ConfigurationError(f"There is no cache called {name!r}; there are {', '.join(get_args(CacheBackend))}.")
    return _OPENERS[name](chosen)


class _Chosen:
    """An option where it was given, else the setting."""

    def __init__(self, options: CacheOptions, settings: CacheSettings) -> None:
        self.options: dict[str, Any] = dict(options)
        self.settings = settings

    def __call__(self, name: str, setting: Any = None) -> Any:
        value = self.options.get(name)
        value = setting if value is None else value
        return value.get_secret_value() if isinstance(value, SecretStr) else value

    def needed(self, name: str, setting: Any, variable: str, backend: str) -> str:
        value = self(name, setting)
        if not value:
            raise ConfigurationError(
                f"cache_backend={backend!r} needs {name}=…, or the environment variable {variable}."
            )
        return str(value)

    def flag(self, name: str) -> bool:
        value = self(name, False)
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be True or False, not {value!r}.")
        return value

    def given(self, **names: str) -> dict[str, Any]:
        """The options that were given, by the names that the cache has for them."""
        return {names[name]: self.options[name] for name in names if self.options.get(name) is not None}


def _memory(chosen: _Chosen) -> Cache:
    return MemoryCache(**chosen.given(cache_max_bytes="max_bytes", cache_ttl="entry_ttl"))


def _filesystem(chosen: _Chosen) -> Cache:
    folder = chosen("cache_dir", chosen.settings.dir)
    return FilesystemCache(folder, **chosen.given(cache_max_bytes="max_bytes", cache_ttl="entry_ttl"))


def _postgres_redis(chosen: _Chosen) -> Cache:
    from hub.cache.postgres_redis import PostgresRedisCache  # its drivers are an extra

    settings = chosen.settings
    return PostgresRedisCache(
        pg_dsn=chosen.needed("pg_dsn", settings.pg_dsn, "PG_DSN", "pg_redis"),
        redis_url=chosen.needed("redis_url", settings.redis_url, "REDIS_URL", "pg_redis"),
        redis_ttl_seconds=chosen("redis_ttl_seconds", settings.redis_ttl_seconds),
        cache_collection=chosen("cache_collection", settings.collection),
        compression="zlib" if chosen.flag("cache_compression") else "none",
    )


def _qdrant(chosen: _Chosen) -> Cache:
    from hub.cache.qdrant import QdrantCache  # its driver is an extra

    settings = chosen.settings
    return QdrantCache(
        qdrant_url=chosen.needed("qdrant_url", settings.qdrant_url, "QDRANT_URL", "qdrant"),
        qdrant_api_key=chosen("qdrant_api_key", settings.qdrant_api_key),
        cache_collection=chosen("cache_collection", settings.collection),
    )


_COMMON = (
    "cache_namespace",
    "cache_failures",
    "cache_replay_speed",
    "cache_get_timeout",
    "cache_put_timeout",
    "cache_flights",
    "cache_on_fault",
)
"""Options of the client, whatever its cache."""

_OPTIONS: dict[str, tuple[str, ...]] = {
    "memory": ("cache_max_bytes", "cache_ttl"),
    "fs": ("cache_dir", "cache_max_bytes", "cache_ttl"),
    "pg_redis": ("pg_dsn", "redis_url", "redis_ttl_seconds", "cache_collection", "cache_compression"),
    "qdrant": ("qdrant_url", "qdrant_api_key", "cache_collection"),
}
"""Options of one cache."""

_OPTION_NAMES = {
    "max_bytes": "cache_max_bytes",
    "entry_ttl": "cache_ttl",
    "replay_speed": "cache_replay_speed",
    "get_timeout": "cache_get_timeout",
    "put_timeout": "cache_put_timeout",
}
"""What the caches' own arguments are called in a client."""

_OPENERS: dict[str, Callable[[_Chosen], Cache]] = {
    "memory": _memory,
    "fs": _filesystem,
    "pg_redis": _postgres_redis,
    "qdrant": _qdrant,
}
