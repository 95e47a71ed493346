"""What the caches on a server share: addresses that are safe to show, names that are safe to use, and outages."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from hub.errors import CacheError, ConfigurationError

__all__ = (
    "Availability",
    "FaultHandler",
    "LeftAloneError",
    "check_collection",
    "check_numbers",
    "check_url",
    "shown_address",
)

log = logging.getLogger(__name__)

FaultHandler = Callable[[CacheError], None]
"""Is told of a fault that the cache got over by itself."""

_REPORT_INTERVAL = 60.0


def shown_address(url: str) -> str:
    """The host and port of a URL, and nothing of the rest; empty where they can't be told from a password."""
    try:
        host = urlsplit(url).netloc
    except ValueError:  # brackets that don't close
        return ""
    rest = url.partition(host)[2] if host else ""
    # An unescaped "/", "#" or "?" in a password ends the authority early, and leaves a part of the password in it.
    return "" if "@" in rest else host.rpartition("@")[2]


def check_url(url: str, *, name: str, schemes: tuple[str, ...]) -> str:
    """The URL, which is of one of these schemes.

    Raises:
        ConfigurationError: It is of another; the message has the setting's name and no part of the URL.
    """
    if url.partition("://")[0].lower() not in schemes or "://" not in url:
        expected = " or ".join(f"{scheme}://…" for scheme in schemes)
        raise ConfigurationError(f"The cache can't use {name}: it has to look like {expected}.")
    return url


def check_collection(name: str, pattern: str, *, rule: str) -> str:
    """The name of a collection, which matches the pattern as a whole.

    Args:
        name: The name.
        pattern: A regular expression.
        rule: What it says, in words.

    Raises:
        ConfigurationError: It doesn't.
    """
    if not re.fullmatch(pattern, name):
        raise ConfigurationError(f"cache_collection {name!r} can't be used here: {rule}.")
    return name


def check_numbers(*, above_0: Mapping[str, float], from_0: Mapping[str, float]) -> None:
    """Return where all are in their range.

    Raises:
        ValueError: One isn't, or is no number; the message has its name.
    """
    for name, value in above_0.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, not {value!r}")
    for name, value in from_0.items():
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more, not {value!r}")


class LeftAloneError(CacheError):
    """The server was not asked, because it failed a moment ago."""


class Availability:
    """Whether a server is asked, and by how many at once: one that can't be reached is left alone for a while.

    Otherwise each call would wait out the time-out of a server that hangs.

    Args:
        server: What messages call it, such as `Redis at 10.0.0.5:6379`.
        max_at_once: How many may ask at the same time; the others wait their turn.
        cool_down_delay: Seconds it is left alone.
        on_fault: Is told of faults that nobody else sees, each message at most once a minute; None logs them.
        clock: Gives the time, in seconds.
    """

    def __init__(
        self,
        server: str,
        *,
        cool_down_delay: float,
        max_at_once: int,
        on_fault: FaultHandler | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self._delay = cool_down_delay
        self._places = asyncio.Semaphore(max_at_once)
        self._on_fault = on_fault
        self._clock = clock
        self._until: float | None = None
        self._reason = ""
        self._reported: dict[str, float] = {}

    @property
    def is_crowded(self) -> bool:
        """Who asks now has to wait for its turn."""
        return self._places.locked()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The server may be asked within the block.

        To wait for one's turn takes no time of the operation's: a crowd is no outage.

        Raises:
            LeftAloneError: It failed less than `cool_down_delay` ago, maybe while this one waited.
        """
        self._check()
        async with self._places:
            self._check()
            yield

    def _check(self) -> None:
        if self._until is not None and self._clock() < self._until:
            raise LeftAloneError(f"{self.server} is left alone for a moment, because it failed: {self._reason}")

    def failed(self, error: CacheError) -> None:
        """It can't be reached: leave it alone for a while."""
        self._until = self._clock() + self._delay
        self._reason = str(error)

    def succeeded(self) -> None:
        """It answers."""
        if self._until is not None:
            log.info("%s answers again", self.server)
            self._until = None

    def report(self, error: CacheError) -> None:
        """Tell of a fault that was got over."""
        message, now = str(error), self._clock()
        if now < self._reported.get(message, now):
            return
        self._reported = {known: until for known, until in self._reported.items() if now < until}
        self._reported[message] = now + _REPORT_INTERVAL
        if self._on_fault is None:
            log.warning("%s", message)
        else:
            self._on_fault(error)
