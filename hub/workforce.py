"""Who carries out generations in the place of a hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ("Workforce",)


class Workforce(Protocol):
    """Who carries out generations in the place of the hub: workers, in this process or in others.

    All methods raise `StoreError` where what the workers are reached by has failed.
    """

    async def announce(self, stream_id: str, arguments: Mapping[str, Any]) -> None:
        """Say that a stream is about to be made. If this process dies before `submit`, a worker sees to it.

        Raises:
            HubBusyError: Too many wait already.
        """
        ...

    async def submit(self, stream_id: str, arguments: Mapping[str, Any], *, created_at: float | None = None) -> None:
        """Have a stream generated that was announced, and whose log is there now.

        Args:
            stream_id: The stream.
            arguments: What the generator's `stream` takes.
            created_at: When it was made, as its log has it: tells it from an earlier stream of that id.
        """
        ...

    async def forget(self, stream_id: str, *, created_at: float | None = None) -> None:
        """A stream has ended that no worker had: none is to have it."""
        ...

    @property
    def running(self) -> int:
        """How many generations run in this process."""
        ...

    async def drain(self, timeout: float) -> None:
        """Begin no more in this process, give those that run `timeout` seconds, and hand over the rest."""
        ...
