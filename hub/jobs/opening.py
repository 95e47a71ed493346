"""Which queue of jobs goes with a store of streams: by the store's URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import ConfigurationError
from hub.streams.opening import is_shared

if TYPE_CHECKING:
    from hub.jobs.queue import RedisJobQueue

__all__ = ("open_job_queue",)


def open_job_queue(url: str | None, *, max_queued: int = 10_000, outage_timeout: float = 5.0) -> RedisJobQueue:
    """The queue beside the store of that URL. Nothing is connected yet.

    Args:
        url: The store's, as in `HUB_STORE`; None where none is named.
        max_queued: Jobs that may wait.
        outage_timeout: Seconds for which a call is tried while the server is away.

    Raises:
        ConfigurationError: Only this process has the store.
        MissingExtraError: The driver is not installed.
    """
    if url is None or not is_shared(url):
        raise ConfigurationError(
            "Workers need a store that they share with the web processes: set HUB_STORE to redis://host:6379/0, or "
            "pass --store."
        )
    from hub.jobs.queue import RedisJobQueue  # its driver is an extra

    return RedisJobQueue.from_url(url, max_queued=max_queued, outage_timeout=outage_timeout)
