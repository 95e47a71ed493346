"""Workers in other processes, as a hub sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.jobs.base import JobQueue, Priority

__all__ = ("RemoteWorkers",)


class RemoteWorkers:
    """The workforce of a hub that runs no generation itself: it only hands them over. A `Workforce`.

    Args:
        queue: Where the workers take their jobs from; it stays its owner's to close.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    async def announce(self, stream_id: str, arguments: Mapping[str, Any], *, priority: Priority = "normal") -> None:
        """Say that a stream is about to be made; raises `HubBusyError` where too many wait."""
        await self._queue.announce(stream_id, arguments, priority=priority)

    async def submit(
        self,
        stream_id: str,
        arguments: Mapping[str, Any],
        *,
        priority: Priority = "normal",
        created_at: float | None = None,
    ) -> None:
        """Have a stream generated, whose log is there already."""
        await self._queue.submit(stream_id, arguments, priority=priority, created_at=created_at)

    async def forget(self, stream_id: str, *, created_at: float | None = None) -> None:
        """A stream has ended that no worker had: none is to have it."""
        await self._queue.forget(stream_id, created_at=created_at)

    @property
    def running(self) -> int:
        """None runs here."""
        return 0

    async def drain(self, timeout: float) -> None:
        """Nothing: what runs, runs elsewhere, and goes on."""
