"""How far a batch has come, and how that is shown: a bar in a terminal, else a line in the log now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ("Progress", "Report", "automatic_report", "log_report", "quiet")

log = logging.getLogger(__name__)

LOG_INTERVAL = 30.0
"""Seconds between two lines in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a batch has come.

    Attributes:
        done: Items that have their result, those from the checkpoint among them.
        failed: Those whose result is a failure.
        restored: Those whose result came from the checkpoint.
        total: All items; None where the input doesn't know.
        elapsed: Seconds since the start.
        is_over: Nothing more will come; told once, and last.
    """

    done: int
    failed: int
    restored: int
    total: int | None
    elapsed: float
    is_over: bool = False

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        parts = [f"{self.done}{of} done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.restored:
            parts.append(f"{self.restored} from the checkpoint")
        if self.elapsed > 0 and self.done > self.restored:
            parts.append(f"{(self.done - self.restored) / self.elapsed:.1f} a second")
        return ", ".join(parts)


Report: TypeAlias = Callable[[Progress], None]
"""Is called in the event loop after each result, and once at the end; what it raises ends the batch."""


def quiet(progress: Progress) -> None:
    """Show nothing."""


def automatic_report() -> Report:
    """A bar where standard error is a terminal and `rich` is installed, else lines in the log."""
    if sys.stderr is not None and sys.stderr.isatty():
        try:
            from hub.batch.rich_bar import RichBar
        except ImportError:
            return log_report()
        return RichBar()
    return log_report()


def log_report(interval: float = LOG_INTERVAL, *, clock: Callable[[], float] = time.monotonic) -> Report:
    """A report that writes to the logger `hub.batch.progress`, at level INFO.

    Args:
        interval: Seconds between two lines; the end is always told.
        clock: Seconds.
    """
    told_at = clock()

    def report(progress: Progress) -> None:
        nonlocal told_at
        now = clock()
        if progress.is_over or now - told_at >= interval:
            told_at = now
            log.info("batch: %s", progress)

    return report
