"""Logs that nobody holds, kept for a while: the next reader is often not far."""

from __future__ import annotations

from collections import OrderedDict

from hub.streams.log import StreamLog

__all__ = ("RecentLogs",)


class RecentLogs:
    """The logs that were used last, by what they weigh.

    Args:
        max_bytes: What they may weigh together; the one used last stays however large it is.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._logs: OrderedDict[str, tuple[StreamLog, int]] = OrderedDict()

    def keep(self, log: StreamLog) -> None:
        """Keep this one longest of all."""
        self.drop(log.stream_id)
        self._logs[log.stream_id] = log, log.size_bytes
        self._size_bytes += log.size_bytes
        while self._size_bytes > self._max_bytes and len(self._logs) > 1:
            self.drop(next(iter(self._logs)))

    def drop(self, stream_id: str) -> None:
        """Keep it no longer."""
        if (found := self._logs.pop(stream_id, None)) is not None:
            self._size_bytes -= found[1]

    def clear(self) -> None:
        """Keep none."""
        self._logs.clear()
        self._size_bytes = 0
