"""One call's answer, of which some other process may have asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from hub.cache.entry import CacheEntry
from hub.cache.shared import Origin, SharedCall
from hub.events import EndStatus, LLMEvent
from hub.flights.continuation import Continuation
from hub.flights.following import Following
from hub.result import Failure
from hub.upstream.stream import AnswerSource

__all__ = ("Alone", "Joining", "Part", "SharedAnswer", "Stored")

_LEADER_LOST = Failure(
    code="interrupted", message="The process that asked for the answer is gone, in mid-answer.", retryable=True
)


class Part(Protocol):
    """Where the next events come from.

    Attributes:
        is_own: This process asks the endpoint, and its reader pays.
    """

    is_own: bool

    @property
    def is_final(self) -> bool:
        """Whether a failure before content is everyone's."""
        ...

    def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """The events, from position 0."""
        ...

    def stop(self) -> None:
        """End it as `cancelled`."""
        ...

    def leave(self) -> None:
        """Its reader reads no more, if it has begun at all."""
        ...

    def settle(self) -> None:
        """The answer was stored, or won't be."""
        ...

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent] | None:
        """What is due behind what was given; None where only what was told can say."""
        ...


class Joining(Protocol):
    """Finds the next part."""

    async def join(self, call: SharedCall, *, instead_of: str | None) -> Part:
        """Lead or follow; `instead_of` is a flight that has come to nothing. Raises nothing but a cancellation."""
        ...

    def lost(self, call: SharedCall, exc: Exception) -> None:
        """A flight can't be followed."""
        ...


class Alone:
    """The endpoint's answer, for this process alone."""

    is_own = True
    is_final = False

    def __init__(self, source: AnswerSource) -> None:
        self._source = source

    def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """What the source gives."""
        return self._source.batches()

    def stop(self) -> None:
        """As the source does."""
        self._source.stop()

    def leave(self) -> None:
        """Nothing: its batches are the reader's own."""

    def settle(self) -> None:
        """Nothing."""

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent] | None:
        """As the source says."""
        return self._source.ending(status, failure)


class Stored:
    """An answer that was stored after this call had looked for it."""

    is_own = False
    is_final = True

    def __init__(self, entry: CacheEntry) -> None:
        self._entry = entry

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """All of it."""
        yield list(self._entry.events)

    def stop(self) -> None:
        """Nothing: it is there."""

    def leave(self) -> None:
        """Nothing."""

    def settle(self) -> None:
        """Nothing."""

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent] | None:
        """None: what is due goes by what was told."""
        return None


class SharedAnswer:
    """A `SharedSource`: part after part, until one of them has ended.

    Args:
        call: What is asked.
        joining: Finds the parts.
    """

    def __init__(self, call: SharedCall, joining: Joining) -> None:
        self._call = call
        self._joining = joining
        self._told = Continuation(call.stream_id, call.identifier, call.model)
        self._part: Part | None = None
        self._is_stopped = False

    @property
    def origin(self) -> Origin:
        """Where the answer comes from, as far as is known."""
        if isinstance(self._part, Stored):
            return "cache"
        return "flight" if isinstance(self._part, Following) else "endpoint"

    @property
    def is_final(self) -> bool:
        """Whether a failure before content is everyone's."""
        return self._part is not None and self._part.is_final

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """Every event from `meta` to `done`, in lists of what came together."""
        while not self._told.has_ended:
            if self._told.has_said and not self._call.can_restart:
                yield self._told.ending("failed", _LEADER_LOST)
                return
            part = self._part = await self._next_part()
            if self._is_stopped:
                part.stop()
            try:
                if due := self._told.begin(is_own=part.is_own):
                    yield due
                async with aclosing(part.batches()) as batches:
                    async for events in batches:
                        yield self._told.take(events)
            finally:
                part.leave()
            if self._is_stopped and not self._told.has_ended:
                yield self._told.ending("cancelled")
            if not isinstance(part, Following):
                return

    def stop(self) -> None:
        """End the answer as `cancelled` at once; others that read it elsewhere read on."""
        self._is_stopped = True
        if self._part is not None:
            self._part.stop()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events from the last batch's end through `done`; nothing where `done` has been given already."""
        due = None if self._part is None or self._told.has_ended else self._part.ending(status, failure)
        return self._told.ending(status, failure) if due is None else self._told.take(due)

    def settle(self) -> None:
        """The answer was stored, or won't be."""
        if self._part is not None:
            self._part.settle()

    async def _next_part(self) -> Part:
        before = self._part
        if not isinstance(before, Following):
            return await self._joining.join(self._call, instead_of=None)
        if before.outcome == "lost":
            if before.error is not None:
                self._joining.lost(self._call, before.error)
            return Alone(self._call.make())
        return await self._joining.join(self._call, instead_of=before.flight_id)
