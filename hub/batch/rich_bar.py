"""The progress of a batch as a bar on standard error. Needs `rich`, the extra `batch`."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from hub.batch.progress import Progress

__all__ = ("RichBar",)


class RichBar:
    """A bar, from the first report to the last.

    Args:
        console: Where it is drawn; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._bars = Bars(
            TextColumn("batch"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
        )
        self._bar: TaskID | None = None

    def __call__(self, progress: Progress) -> None:
        """Draw it as it is now; the last time, leave it standing."""
        if self._bar is None:
            self._bar = self._bars.add_task("batch", total=progress.total, failed="")
            self._bars.start()
        failed = f"{progress.failed} failed" if progress.failed else ""
        self._bars.update(self._bar, completed=progress.done, total=progress.total, failed=failed)
        if progress.is_over:
            self._bars.stop()
