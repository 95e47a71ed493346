"""What a limiter is to its users, and what it asks of what keeps its budgets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from hub.errors import InvalidRequestError
from hub.result import TokenUsage

__all__ = ("Budgets", "Claim", "Correction", "Permit", "RateLimiter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What an endpoint says of its budgets; None where it doesn't.

    Attributes:
        limit_tokens, limit_requests: As much as it allows in a minute.
        remaining_tokens, remaining_requests: What is left now.
        pause: Seconds for which nobody is to ask.
    """

    limit_tokens: float | None = None
    limit_requests: float | None = None
    remaining_tokens: float | None = None
    remaining_requests: float | None = None
    pause: float | None = None


@dataclass(slots=True, eq=False)
class Claim:
    """What one request wants of the budgets, and what became of it.

    Attributes:
        tokens, requests: What it wants, each at least 0.
        priority: The higher, the sooner.
        id: Unlike any other's, in all processes; empty as long as no other process sees it.
        is_placed: It has a place in a queue that other processes see, and keeps it by asking again.
        is_local: It was granted by this process alone.
        slot: When it was granted, as `adjust` wants it.
        wait: Seconds that it had to expect when it last asked; it may ask again before.
    """

    tokens: float
    requests: float
    priority: int = 0
    id: str = ""
    is_placed: bool = False
    is_local: bool = False
    slot: int = 0
    wait: float = 0.0


class Budgets(Protocol):
    """Keeps the budgets of tokens and of requests, for one process or for many."""

    async def take(self, claim: Claim) -> float:
        """Take what the claim wants of both budgets, or of neither.

        Returns:
            0.0 where it was taken; else seconds after which to ask again.

        Raises:
            RequestTooLargeError: It wants more than a budget ever has.
        """

    async def leave(self, claim: Claim) -> None:
        """A claim is given up while it waits: it takes nothing, also where `take` was cancelled.

        Never raises, and holds up the one who leaves for a moment at most.
        """

    async def adjust(self, claim: Claim, tokens: float, requests: float) -> None:
        """A granted claim used so much more, or less, than it took. Never raises."""

    async def correct(self, correction: Correction) -> None:
        """Believe the endpoint: other limits at once, what remains where it is less, pauses where they end later."""


class Permit:
    """Leave to make one request, and the account of what it used.

    Without a word the estimate stands as used. Else, what is charged or settled counts from the end of the block on.

    Attributes:
        tokens, requests: What was taken, by estimate.
        waited: Seconds that it took to get it.
    """

    __slots__ = ("_is_cancelled", "_used", "requests", "tokens", "waited")

    def __init__(self, tokens: float, requests: float) -> None:
        self.tokens = tokens
        self.requests = requests
        self.waited = 0.0
        self._used = tokens
        self._is_cancelled = False

    def charge(self, output_tokens: float) -> None:
        """So many tokens were used on top of the estimate and of what was charged before.

        Raises:
            InvalidRequestError: A negative number.
        """
        _check_count("output_tokens", output_tokens)
        self._used += output_tokens

    def settle(self, usage: TokenUsage | float) -> None:
        """This is what was used in all, input and output, in the place of the estimate and of charges.

        Raises:
            InvalidRequestError: A negative number.
        """
        tokens = usage.total_tokens if isinstance(usage, TokenUsage) else usage
        _check_count("usage", tokens)
        self._used = tokens

    def cancel(self) -> None:
        """Nothing was sent: tokens and requests go back."""
        self._is_cancelled = True

    @property
    def owed_tokens(self) -> float:
        """Tokens used beyond the estimate; below zero what goes back."""
        return -self.tokens if self._is_cancelled else self._used - self.tokens

    @property
    def owed_requests(self) -> float:
        """The same of requests."""
        return -self.requests if self._is_cancelled else 0.0


class RateLimiter(Protocol):
    """Keeps calls within an endpoint's budgets of tokens and requests a minute.

    First come, first served among equal priorities. A waiter that is cancelled takes nothing and holds up no one.
    Event loops may use it one after another; whether several may at the same time, each in its thread, is for the
    implementation to say. One that can't raises a `RuntimeError` then.
    """

    def limit(
        self, tokens: float, requests: float = 1, *, priority: int = 0, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Permit]:
        """A block that is entered once both budgets have room, and that is accounted for when it is left.

        Args:
            tokens: What the request is expected to use, input and output; `charge` and `settle` correct it.
            requests: Requests to the endpoint that are made in the block.
            priority: Requests of a higher one go first, always; from -1,000 to 1,000.
            timeout: Seconds to wait; None for the limiter's `max_wait`.

        Raises:
            InvalidRequestError: Arguments that make no sense; at the call.
            RequestTooLargeError: More than a budget ever has; when entered.
            LimiterBusyError: As many wait already as may; when entered.
            LimitTimeoutError: There was no room in time; when entered.
        """

    async def pause(self, seconds: float) -> None:
        """Nobody enters for so many seconds, as after a 429 with `Retry-After`. Pauses overlap, they don't add up."""

    async def correct(self, headers: Mapping[str, str]) -> None:
        """Take over what the headers of an endpoint's response say; others and nonsense are passed over."""

    async def aclose(self) -> None:
        """Release what the limiter holds. A second call does nothing."""


def _check_count(name: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise InvalidRequestError(f"{name} must be at least 0, not {value!r}.")
