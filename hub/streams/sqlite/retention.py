"""Takes out of the file what is past its time, or too much, a little at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hub.streams.sqlite.rows import Removal, return_pages, sweep
from hub.streams.sqlite.writer import GroupCommit

__all__ = ("Retention",)

log = logging.getLogger(__name__)

SWEEP_INTERVAL = 60.0
"""Seconds between two looks for streams whose time has passed, where nothing else looks."""


class Retention:
    """Forgets ended streams: by the time since their end, and those that ended first while all weigh too much.

    Args:
        file: Where they are.
        ttl: Seconds that an ended stream is kept.
        max_bytes: What the logs may weigh together.
        clock: Unix seconds.
        forget: Called with the id of each stream that has been removed.

    Attributes:
        size_bytes: What the logs weigh together, as the store counts it.
    """

    def __init__(
        self,
        file: GroupCommit,
        *,
        ttl: float,
        max_bytes: int,
        clock: Callable[[], float],
        forget: Callable[[str], None],
    ) -> None:
        self.size_bytes = 0
        self._file = file
        self._ttl = ttl
        self._max_bytes = max_bytes
        self._clock = clock
        self._forget = forget
        self._is_sweeping = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def horizon(self) -> float:
        """What ended until then has passed its time, in Unix seconds."""
        return self._clock() - self._ttl

    @property
    def is_exceeded(self) -> bool:
        """Whether the logs weigh too much."""
        return self.size_bytes > self._max_bytes

    def sweep(self) -> None:
        """Have what is due removed; once at a time, and again after a while."""
        if self._is_sweeping or self._closed:
            return
        self._is_sweeping = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self.sweep)
        horizon, excess_bytes = self.horizon, self.size_bytes - self._max_bytes
        sweeping = self._file.write(lambda connection: sweep(connection, horizon, excess_bytes), self._removed)
        sweeping.add_done_callback(self._swept)

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _removed(self, removal: Removal) -> None:
        self.size_bytes -= removal.size_bytes
        for stream_id in removal.stream_ids:
            self._forget(stream_id)

    def _swept(self, sweeping: asyncio.Future[Removal]) -> None:
        self._is_sweeping = False
        if (exc := sweeping.exception()) is not None:
            log.warning("streams past their retention could not be removed: %s", exc)
        elif sweeping.result().is_more:
            self.sweep()
        elif sweeping.result().stream_ids:
            self._return_pages()

    def _return_pages(self) -> None:
        """Let the file shrink."""
        if not self._closed:
            self._file.change_alone(return_pages).add_done_callback(self._returned)

    def _returned(self, returning: asyncio.Future[bool]) -> None:
        if (exc := returning.exception()) is not None:
            log.warning("the file of streams could not be made smaller: %s", exc)
        elif returning.result():
            self._return_pages()
