"""Says once that a server can't be reached, and once that it can again."""

from __future__ import annotations

import builtins
import logging

from redis.exceptions import (
    ConnectionError,  # noqa: A004 - redis-py's name
    TimeoutError,  # noqa: A004 - redis-py's name
)

from hub.redis_io.faults import reason

__all__ = ("Outages",)

log = logging.getLogger(__name__)

_SILENCE = (TimeoutError, builtins.TimeoutError)
_UNREACHABLE = (ConnectionError, TimeoutError, OSError)


class Outages:
    """The servers that calls can't reach just now, for whoever reads the log.

    Args:
        told_after: Seconds of failures before one is worth a word: a server that starts again is often back sooner.
    """

    def __init__(self, *, told_after: float = 0.5) -> None:
        self._told_after = told_after
        self._since: dict[str, float] = {}
        self._told: set[str] = set()
        self._words: dict[str, str] = {}

    @property
    def trouble(self) -> str | None:
        """Which server failed last, and how, without a full stop; None where all have answered since."""
        return next((words for server, words in reversed(self._words.items()) if server in self._since), None)

    @property
    def is_any(self) -> bool:
        """Whether there is one that has not answered since it failed."""
        return bool(self._since)

    def failed(self, server: str, exc: Exception, *, now: float, outage_timeout: float) -> None:
        """Take note that a call failed, and say so once where it has gone on for long enough.

        Args:
            server: Its address.
            exc: What the call raised.
            now: Seconds of a clock that never goes back.
            outage_timeout: Seconds for which the call is tried.
        """
        since = self._since.setdefault(server, now)
        trouble = "can't be reached" if isinstance(exc, _UNREACHABLE) else "can't serve"
        self._words.pop(server, None)
        words = self._words[server] = f"Redis at {server} {trouble} ({reason(exc)})"
        # Who times out has waited already.
        is_long = now - since >= self._told_after or isinstance(exc, _SILENCE)
        if is_long and server not in self._told:
            self._told.add(server)
            log.warning("%s. It is tried again, for up to %g s.", words, outage_timeout)

    def answered(self, server: str, *, now: float) -> None:
        """Take note that a call got its answer, and say so once where its absence was told."""
        since = self._since.pop(server, None)
        self._words.pop(server, None)
        if since is not None and server in self._told:
            self._told.discard(server)
            log.warning("Redis at %s is back, after %.0f s.", server, now - since)
