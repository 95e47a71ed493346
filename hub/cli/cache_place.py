"""Which cache the command line is about: as a client with the same settings would have it, with options over them."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from hub.cache.base import CacheMaintenance
from hub.cache.opening import open_cache
from hub.cache.servers import shown_address
from hub.config import CacheSettings, Settings
from hub.errors import CacheError, ConfigurationError

__all__ = ("CachePlace",)


@dataclass(frozen=True, slots=True)
class CachePlace:
    """A cache that outlives its process.

    Attributes:
        backend: Its name.
        where: What its parts are called, and where each is: a directory, or a server's host and port.
        namespace: The tenant of a client with these settings; empty where it has none.
    """

    backend: str
    where: Mapping[str, str]
    namespace: str
    _settings: CacheSettings = field(repr=False)

    @classmethod
    def of(cls, options: argparse.Namespace) -> CachePlace:
        """The cache that options and settings name. Nothing is opened.

        Raises:
            ConfigurationError: They name none, or one that can't be seen from another process.
        """
        given = {name: getattr(options, name) for name in ("backend", "dir", "collection", "namespace")}
        given = {name: value for name, value in given.items() if value is not None}
        settings = Settings.load().cache.model_copy(update=given)
        if settings.backend is None or settings.backend == "none":
            raise ConfigurationError(
                "No cache is configured: set CACHE_BACKEND, or pass --backend, to fs, pg_redis or qdrant."
            )
        if settings.backend == "memory":
            raise ConfigurationError(
                "A cache in memory lives in its process and ends with it; no other process can see it. CACHE_BACKEND "
                "or --backend can name fs, pg_redis or qdrant."
            )
        return cls(settings.backend, _where(settings), settings.namespace or "", settings)

    def __str__(self) -> str:
        return f"{self.backend} ({', '.join(f'{name} {value}' for name, value in self.where.items())})"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[CacheMaintenance]:
        """The cache within the block, closed afterwards.

        Raises:
            ConfigurationError: What it needs is missing or makes no sense.
            CacheError: Its directory isn't there.
        """
        if self.backend == "fs":
            _require_directory(self._settings.dir)
        core = open_cache(None, {}, self._settings)
        assert core is not None
        try:
            assert isinstance(core.cache, CacheMaintenance)  # as all that have a name are
            yield core.cache
        finally:
            await core.aclose()


def _where(settings: CacheSettings) -> dict[str, str]:
    match settings.backend:
        case "pg_redis":
            addresses = {"postgres": settings.pg_dsn, "redis": settings.redis_url}
            return {**_shown(addresses), "schema": settings.collection}
        case "qdrant":
            return {**_shown({"qdrant": settings.qdrant_url}), "collection": settings.collection}
        case _:
            return {"directory": str(Path(settings.dir).absolute())}


def _shown(addresses: Mapping[str, SecretStr | None]) -> dict[str, str]:
    """Host and port of each alone, since the rest may hold a password; without those that can't be told from one."""
    shown = {name: shown_address(url.get_secret_value()) for name, url in addresses.items() if url is not None}
    return {name: address for name, address in shown.items() if address}


def _require_directory(path: str) -> None:
    try:
        Path(path).stat()
    except FileNotFoundError:
        raise CacheError(
            f"There is no directory {path}: nothing has been cached there yet, or CACHE_DIR or --dir should name "
            "another."
        ) from None
    except OSError:
        return  # the cache says what is wrong with it
