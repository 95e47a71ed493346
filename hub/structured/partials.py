"""Values that grow with the text of an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from hub.structured.response_model import ResponseModel
from hub.structured.scan import ABSENT

__all__ = ("PartialParser",)

T = TypeVar("T")

PAUSE_RATIO = 8.0
"""How many times as long as it took to make a value no other is made."""

PAUSED_LENGTH = 16_384
"""Characters from which on that counts. Shorter ones take a few milliseconds, whatever they hold."""


class PartialParser(Generic[T]):
    """Takes an answer's text in pieces and gives unfinished values, each a new object.

    Making one costs as much as the text is long, so one at every piece would cost the square. It is made when the text
    has grown by a 64th since the last one, or 0.25 s have passed, and always at the end of the value. By the
    first rule all of them together cost at most some 65 times the last one, however fast the text comes; by the second
    a slow text is shown soon. Once the text is so long that one takes a while, eight times as long as the last one took
    must have passed as well, so that a ninth of the time at most is spent on them.

    Args:
        model: The type to make.
        growth: The share by which the text must have grown; 0 means that every piece counts, whatever it costs.
        interval: Seconds after which any growth counts.
        clock: The time in seconds, for `interval` and for what making a value takes.

    Attributes:
        latest: The last value given; None before the first.
    """

    def __init__(
        self,
        model: ResponseModel[T],
        *,
        growth: float = 1 / 64,
        interval: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.latest: T | None = None
        self._model = model
        self._growth = growth
        self._interval = interval
        self._clock = clock
        self._scanner = model.scanner()
        self._made_length = 0
        self._made_at = clock()
        self._pause = 0.0
        self._made_of: tuple[Any, bool] = (ABSENT, False)

    def feed(self, text: str) -> T | None:
        """Take the next piece in.

        Returns:
            The value so far; None where it is not time for one, or nothing to be seen has changed.
        """
        self._scanner.feed(text)
        return self._make() if self._is_due() else None

    def finish(self) -> T | None:
        """The value with the last pieces in it, at the end of the text; None where it has been given already."""
        return self._make() if self._scanner.length > self._made_length else None

    def _is_due(self) -> bool:
        grown = self._scanner.length - self._made_length
        if grown <= 0:
            return False
        if self._scanner.is_closed or self._growth == 0:
            return True
        elapsed = self._clock() - self._made_at
        if self._made_length >= PAUSED_LENGTH and elapsed < self._pause:
            return False
        return grown >= self._growth * self._made_length or elapsed >= self._interval

    def _make(self) -> T | None:
        self._made_length = self._scanner.length
        begun_at = self._clock()
        try:
            return self._make_now()
        finally:
            self._made_at = self._clock()
            self._pause = PAUSE_RATIO * (self._made_at - begun_at)

    def _make_now(self) -> T | None:
        made_of = (self._scanner.value(), self._scanner.is_in_value)
        if made_of[0] is ABSENT or made_of == self._made_of:
            return None
        self._made_of = made_of
        made = self._model.unfinished(made_of[0], self._scanner)
        if made is not None:
            self.latest = made
        return made
