"""Where a call goes: its endpoints in order, those that failed lately last."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub.errors import EndpointError
from hub.upstream.endpoint import Endpoint
from hub.upstream.quota import Quota
from hub.upstream.request import Request

__all__ = ("CoolDown", "Route", "Target")

_REQUEST_FAULTS = frozenset(("invalid_request", "not_found", "content_filter", "total_timeout"))
"""Failures that say nothing of the endpoint; the model that isn't found may have been one call's."""

MAX_COOL_DOWN = 3_600.0
"""Seconds; whatever an endpoint asks for."""


class CoolDown:
    """How long an endpoint is left alone after it failed; shared by all calls of a client.

    Args:
        seconds: After a failure without a wish of the endpoint's own (`Retry-After`).
        clock: Gives the time, in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the endpoint may be asked before others."""
        return self._clock() >= self._until

    def failed(self, error: EndpointError) -> None:
        """Leave it alone for a while, if it is the endpoint that failed."""
        if error.code not in _REQUEST_FAULTS:
            seconds = self._seconds if error.retry_after is None else max(self._seconds, error.retry_after)
            self._until = self._clock() + min(seconds, MAX_COOL_DOWN)

    def succeeded(self) -> None:
        """It answers again."""
        self._until = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One endpoint, and the request in the form it takes.

    Attributes:
        number: From 1, in the order of preference.
        quota: What tries there keep to; None for nothing.
    """

    endpoint: Endpoint
    request: Request
    cool_down: CoolDown
    number: int = 1
    quota: Quota | None = None


class Route:
    """The endpoints that one call may go to.

    Args:
        targets: In order of preference, at least one.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = tuple(targets)
        self._untried = list(targets)
        self._failures: dict[Target, EndpointError] = {}

    def __len__(self) -> int:
        return len(self._targets)

    def fresh(self) -> Target | None:
        """The next one that this call hasn't tried, those cooling down last; None where all have been."""
        if not self._untried:
            return None
        chosen = next((target for target in self._untried if target.cool_down.is_over), self._untried[0])
        self._untried.remove(chosen)
        return chosen

    def take_back(self, target: Target) -> None:
        """It was not tried after all: it is as fresh as it was."""
        self._untried = [each for each in self._targets if each is target or each in self._untried]

    def held_back(self, target: Target) -> None:
        """There is no leave to try there: another try of this call would not get it either."""
        self._failures.pop(target, None)

    def failed(self, target: Target, error: EndpointError) -> None:
        """That is what came of a try there."""
        self._failures[target] = error
        target.cool_down.failed(error)

    def again(self, delay: Callable[[EndpointError], float | None]) -> tuple[Target, float] | None:
        """Which to try once more after how many seconds, all having failed; None where no failure gives hope.

        Args:
            delay: Seconds to wait after a failure; None where there is no further try after it.
        """
        hopeful = [
            (target, seconds)
            for target in self._targets
            if target in self._failures and (seconds := delay(self._failures[target])) is not None
        ]
        ready = [each for each in hopeful if each[0].cool_down.is_over]
        return min(ready or hopeful, key=lambda each: each[1], default=None)
