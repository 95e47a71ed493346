"""Which workers have said nothing new for too long; pure."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ("Silence",)


class Silence:
    """Watches what workers say, by this process's own clock: neither the server's clock nor the workers' matter.

    A look that comes late says that this process, or the server, was away. Then nobody could be heard, and everyone
    has the whole time again.

    Args:
        lease: Seconds without a new word after which a worker counts as dead.
        max_gap: Seconds between two looks beyond which nobody could be heard.
    """

    def __init__(self, lease: float, max_gap: float) -> None:
        self._lease = lease
        self._max_gap = max_gap
        self._heard: dict[str, tuple[str, float]] = {}
        self._looked_at: float | None = None

    def look(self, now: float, words: Mapping[str, str]) -> list[tuple[str, str]]:
        """Take note of what each worker said last.

        Args:
            now: Seconds of a clock that never goes back.
            words: By worker.

        Returns:
            Who has said nothing new for the lease, and what was last.
        """
        if self._looked_at is None or now - self._looked_at > self._max_gap:
            self._heard.clear()
        self._looked_at = now
        heard = {}
        for worker, word in words.items():
            last, since = self._heard.get(worker, (None, now))
            heard[worker] = (word, since if last == word else now)
        self._heard = heard
        return [(worker, word) for worker, (word, since) in heard.items() if now - since >= self._lease]
