"""Which store keeps the streams: by URL."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hub.errors import ConfigurationError
from hub.streams.base import StreamStore
from hub.streams.memory import MemoryStreamStore
from hub.streams.sqlite import SqliteStreamStore

__all__ = ("default_path", "is_shared", "open_stream_store")

_REDIS_SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")


def open_stream_store(url: str, *, retention_ttl: float = 3600.0, retention_bytes: int = 256_000_000) -> StreamStore:
    """The store of that URL. Nothing is opened or connected yet.

    Args:
        url: `memory`; `sqlite:///RELATIVE_PATH`, `sqlite:////ABSOLUTE_PATH`, `sqlite://` for `default_path()`; or a
            URL of Redis, whatever stands before its `+` or `:`.
        retention_ttl: Seconds that an ended stream is kept.
        retention_bytes: What the logs may weigh together, in memory or in the file; Redis goes by time alone.

    Raises:
        ConfigurationError: There is no such store.
        MissingExtraError: Its driver is not installed.
    """
    scheme, _, rest = url.partition(":")
    if url in ("memory", "memory://"):
        return MemoryStreamStore(retention_ttl=retention_ttl, retention_bytes=retention_bytes)
    if scheme == "sqlite":
        return SqliteStreamStore(_path(rest), retention_ttl=retention_ttl, retention_bytes=retention_bytes)
    if scheme.partition("+")[0] in _REDIS_SCHEMES:
        from hub.streams.redis import RedisStreamStore  # its driver is an extra

        return RedisStreamStore.from_url(url, retention_ttl=retention_ttl)
    # The rest of the URL stays unsaid: it may hold a password.
    raise ConfigurationError(
        f"There is no store of streams for {scheme!r}; there are memory, sqlite:///streams.db and redis://host:6379, "
        "also as rediss, unix, redis+sentinel and redis+cluster."
    )


def is_shared(url: str | None) -> bool:
    """Whether the store of that URL is one for several processes."""
    return url is not None and url.partition(":")[0].partition("+")[0] in _REDIS_SCHEMES


def default_path(platform: str = sys.platform, environ: Mapping[str, str] | None = None) -> Path:
    """Where the streams are if no path is named: in the user's data folder, as each system has it.

    Linux by https://specifications.freedesktop.org/basedir-spec/latest/ (read 2026-11-21).
    """
    variables = os.environ if environ is None else environ
    if platform == "win32":
        folder = variables.get("LOCALAPPDATA") or "~/AppData/Local"
    elif platform == "darwin":
        folder = "~/Library/Application Support"
    else:
        # A relative path there is to be passed over.
        named = variables.get("XDG_DATA_HOME", "")
        folder = named if named.startswith("/") else "~/.local/share"
    return Path(folder).expanduser() / "llm-stream-hub" / "streams.db"


def _path(rest: str) -> Path:
    """The path in what follows `sqlite:`."""
    if rest in ("", "//"):
        return default_path()
    if not rest.startswith("///") or rest == "///":
        raise ConfigurationError(
            "sqlite:/// is followed by a path: sqlite:///streams.db, or from the root sqlite:////var/lib/streams.db."
        )
    path = rest[3:]
    if path == ":memory:":
        raise ConfigurationError("For streams in memory the store is called memory.")
    return Path(path)
