"""Which streams of this process are to stop, and who has to be told."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ("Cancels",)


class Cancels:
    """The wishes to stop, until their streams have ended."""

    def __init__(self) -> None:
        self._cancelled: set[str] = set()
        self._watchers: dict[str, set[Callable[[], None]]] = {}

    def __contains__(self, stream_id: str) -> bool:
        return stream_id in self._cancelled

    @property
    def watched(self) -> tuple[str, ...]:
        """The streams that someone watches here."""
        return tuple(self._watchers)

    def cancel(self, stream_id: str) -> None:
        """The stream is to stop: whoever watches it is told now, and who comes later at once."""
        self._cancelled.add(stream_id)
        for stop in tuple(self._watchers.get(stream_id, ())):
            stop()

    def watch(self, stream_id: str, stop: Callable[[], None]) -> Callable[[], None]:
        """Have `stop` called when the stream is to stop; returns what ends that, which may be called twice."""
        watchers = self._watchers.setdefault(stream_id, set())
        watchers.add(stop)
        if stream_id in self._cancelled:
            stop()

        def unwatch() -> None:
            watchers.discard(stop)
            if not watchers and self._watchers.get(stream_id) is watchers:
                del self._watchers[stream_id]

        return unwatch

    def forget(self, stream_id: str) -> None:
        """The stream has ended."""
        self._cancelled.discard(stream_id)
