"""What becomes of a cache's faults: they are reported, and the call goes on without it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ("CacheFault", "FaultLog", "Report")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheFault:
    """The cache failed.

    Attributes:
        operation: What it was to do; `share` is to bring equal calls of several processes together.
        key: For which key; empty where for none.
        error: What it raised; a `TimeoutError` where it took too long.
    """

    operation: Literal["get", "put", "share", "close"]
    key: str
    error: Exception


Report: TypeAlias = Callable[[CacheFault], None]
"""Is told of each fault, in the event loop: it must return at once."""


class FaultLog:
    """Logs faults as warnings: of those of one kind, one in an interval, with the number of those between.

    A cache that is away fails at every call; a record for each would drown all others.

    Args:
        interval: Seconds.
        clock: Seconds.
    """

    def __init__(self, *, interval: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._logged_at: dict[tuple[str, type[Exception]], float] = {}
        self._passed_over: dict[tuple[str, type[Exception]], int] = {}

    def __call__(self, fault: CacheFault) -> None:
        """Log it, or count it."""
        kind, now = (fault.operation, type(fault.error)), self._clock()
        logged_at = self._logged_at.get(kind)
        if logged_at is not None and now < logged_at + self._interval:
            self._passed_over[kind] = self._passed_over.get(kind, 0) + 1
            return
        self._logged_at[kind] = now
        log.warning(
            "the cache failed (%s, %s): %s; calls go on without it (%d more since this was said last)",
            fault.operation,
            type(fault.error).__name__,
            fault.error,
            self._passed_over.pop(kind, 0),
        )
