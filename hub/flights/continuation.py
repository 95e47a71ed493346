"""The parts of an answer, each from elsewhere, told as one stream. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hub.cache.replay import Retelling, Told
from hub.events import Done, EndStatus, LLMEvent, Meta, Usage
from hub.result import Failure, TokenUsage

__all__ = ("Continuation",)


class Continuation:
    """What a reader is told: a part that comes to nothing is followed by another one, as a further attempt.

    Args:
        stream_id: The reader's stream.
        identifier: The reader's own name for the request.
        model: The model asked for.
    """

    def __init__(self, stream_id: str, identifier: str | None, model: str | None) -> None:
        self._stream_id = stream_id
        self._identifier = identifier
        self._told = Told(stream_id, identifier, model)
        self._retelling = Retelling(stream_id, identifier)
        self._is_own = True
        self._first_seq = 0
        self._attempts = 0
        self._used: TokenUsage | None = None
        self._has_said = False
        self._has_ended = False

    @property
    def has_said(self) -> bool:
        """Whether anything was told."""
        return self._has_said

    @property
    def has_ended(self) -> bool:
        """Whether `done` was told."""
        return self._has_ended

    def begin(self, *, is_own: bool) -> list[LLMEvent]:
        """Another part begins; returns what is due before it: the usage of the part that came to nothing.

        Args:
            is_own: It bears the reader's own `stream_id` already, and its costs are the reader's.
        """
        due: list[LLMEvent] = []
        if self._has_said:
            due = self._told.abandoned(free=True)
            self._told.add(due)
            result = self._told.result()
            self._first_seq, self._attempts, self._used = result.last_seq + 1, result.attempt, result.usage
        self._is_own = is_own
        self._retelling = Retelling(self._stream_id, self._identifier, last_seq=self._first_seq - 1)
        return due

    def take(self, events: Sequence[LLMEvent]) -> list[LLMEvent]:
        """The next events of the part, as the reader is told them."""
        told = list(events) if self._is_own else self._retelling.take(events)
        if self._attempts:
            shift = self._first_seq if self._is_own else 0
            told = [self._moved(event, shift) for event in told]
        if told:
            self._has_said = True
            self._has_ended = isinstance(told[-1], Done)
            self._told.add_later(told)
        return told

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """What is due through `done`, by what was told; nothing where that was told. An own part's cost is unknown."""
        events = self._told.ending(status, failure, free=not self._is_own)
        self._told.add(events)
        self._has_ended = True
        return events

    def _moved(self, event: LLMEvent, shift: int) -> LLMEvent:
        changes: dict[str, Any] = {"seq": event.seq + shift}
        match event:
            case Meta() | Usage():
                changes["attempt"] = event.attempt + self._attempts
            case Done(usage=usage) if self._used is not None:
                changes["usage"] = self._used if usage is None else self._used + usage
        return msgspec.structs.replace(event, **changes)
