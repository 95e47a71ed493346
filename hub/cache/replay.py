"""An answer as it is kept, and as it is told again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from hub.completion import Completion
from hub.events import Done, EndStatus, LLMEvent, Meta, ReasoningDelta, Snapshot, TextDelta, Usage
from hub.result import Failure, LLMResult, TokenUsage

__all__ = ("Batch", "Retelling", "Told", "record")

Batch = tuple[float, Sequence[LLMEvent]]


def record(batches: Iterable[Batch]) -> tuple[tuple[LLMEvent, ...], tuple[float, ...]] | None:
    """What is kept of a whole answer: its events without a stream's id, and the seconds between them and the first.

    Content that a later attempt made void is left out; what it used is told with the last attempt's `usage`. None
    where the events are no whole answer, or a `snapshot` hides a part of them.

    Args:
        batches: The events as they came together, each with the instant in seconds.
    """
    kept = _without_voided(batches)
    if not kept or not isinstance(kept[0][1], Meta) or not isinstance(kept[-1][1], Done):
        return None
    if any(isinstance(event, Snapshot) for _, event in kept):
        return None
    retelling = Retelling("", None, cached=False)
    events = tuple(map(_as_paid, retelling.take([event for _, event in kept], free=False)))
    # What was used by an attempt that is left out came before the attempt that stands.
    began_at = at = kept[0][0]
    offsets = []
    for came_at, _ in kept:
        at = max(at, came_at)
        offsets.append(round(at - began_at, 4))
    return events, tuple(offsets)


def _without_voided(batches: Iterable[Batch]) -> list[tuple[float, LLMEvent]]:
    kept: list[tuple[float, LLMEvent]] = []
    owed: list[tuple[float, LLMEvent]] = []
    began: dict[int, int] = {}
    for at, batch in batches:
        for event in batch:
            if isinstance(event, Meta):
                first = began.setdefault(event.step, len(kept))
                owed += [pair for pair in kept[first:] if isinstance(pair[1], Usage)]
                del kept[first:]
            elif isinstance(event, Usage):
                kept += owed
                owed = []
            kept.append((at, event))
    return kept


class Retelling:
    """Tells the events of one stream as those of another: the answer was there, so it costs nothing.

    `meta` says that it is cached, and bears the new request's identifier; costs are 0, and what they were is
    `original_cost_usd`.

    Args:
        stream_id: The new stream's id.
        identifier: The new request's.
        cached: What `meta` says.
        last_seq: The position of the last event that the new stream has already.
    """

    def __init__(self, stream_id: str, identifier: str | None, *, cached: bool = True, last_seq: int = -1) -> None:
        self._stream_id = stream_id
        self._identifier = identifier
        self._cached = cached
        self._last_seq = last_seq

    def take(self, events: Iterable[LLMEvent], *, free: bool = True) -> list[LLMEvent]:
        """The next events.

        Args:
            events: As the other stream has them, in its order.
            free: Whether this stream's reader is not the one who pays.
        """
        return [self._one(event, free) for event in events]

    def _one(self, event: LLMEvent, free: bool) -> LLMEvent:
        seq = self._last_seq = self._last_seq + event.span
        match event:
            case TextDelta():
                # By hand: nearly all events are of this kind, and `replace` takes three times as long.
                return TextDelta(
                    stream_id=self._stream_id,
                    seq=seq,
                    span=event.span,
                    text=event.text,
                    choice=event.choice,
                    logprobs=event.logprobs,
                )
            case ReasoningDelta():
                return ReasoningDelta(
                    stream_id=self._stream_id, seq=seq, span=event.span, text=event.text, choice=event.choice
                )
            case Meta():
                told = {"cached": self._cached, "identifier": self._identifier}
                return msgspec.structs.replace(event, stream_id=self._stream_id, seq=seq, **told)
            case Usage():
                counts = _free(event.counts()) if free else event.counts()
                return Usage.of(counts, stream_id=self._stream_id, seq=seq, step=event.step, attempt=event.attempt)
            case Done():
                usage = _free(event.usage) if free and event.usage is not None else event.usage
                return msgspec.structs.replace(event, stream_id=self._stream_id, seq=seq, usage=usage)
            case _:
                return msgspec.structs.replace(event, stream_id=self._stream_id, seq=seq)


class Told:
    """What a reader has been given, for an end that the recorded one can't be.

    Args:
        stream_id: The reader's stream.
        identifier: The reader's own name for the request.
        model: The model asked for.
    """

    def __init__(self, stream_id: str, identifier: str | None, model: str | None) -> None:
        self._identifier = identifier
        self._completion = Completion(stream_id, model=model)
        self._unfolded: list[Iterable[LLMEvent]] = []

    @property
    def has_ended(self) -> bool:
        """Whether `done` was given."""
        self._fold()
        return self._completion.status in ("completed", "cancelled", "failed")

    def add(self, events: Iterable[LLMEvent]) -> None:
        """These were given."""
        for event in events:
            self._completion.add(event)

    def add_later(self, events: Iterable[LLMEvent]) -> None:
        """These were given, and are folded only where an end has to be made: few stored answers are left early."""
        self._unfolded.append(events)

    def _fold(self) -> None:
        unfolded, self._unfolded = self._unfolded, []
        for events in unfolded:
            self.add(events)

    def result(self) -> LLMResult:
        """What was given, folded."""
        self._fold()
        return self._completion.result()

    def abandoned(self, *, free: bool) -> list[LLMEvent]:
        """What is due before another attempt: the usage of the one that came to nothing; nothing where it was given."""
        self._fold()
        retelling = Retelling(self._completion.stream_id, self._identifier, last_seq=self._completion.last_seq)
        return retelling.take(self._completion.abandoned(), free=free)

    def ending(self, status: EndStatus, failure: Failure | None, *, free: bool) -> list[LLMEvent]:
        """What is due through `done`; nothing where that was given.

        Args:
            status: How it ends.
            failure: Why, where it failed.
            free: Whether this reader is not the one who pays; a cost that is not free is unknown here.
        """
        self._fold()
        events = self._completion.ending(status, failure)
        last_seq = self._completion.last_seq
        retelling = Retelling(self._completion.stream_id, self._identifier, cached=False, last_seq=last_seq)
        return retelling.take(events, free=free)


def _as_paid(event: LLMEvent) -> LLMEvent:
    """The event with the costs that whoever paid was told: what is kept is the same whichever process keeps it."""
    match event:
        case Usage(original_cost_usd=float() as cost):
            return msgspec.structs.replace(event, cost_usd=cost, original_cost_usd=None)
        case Done(usage=TokenUsage(original_cost_usd=float() as cost) as usage):
            paid = msgspec.structs.replace(usage, cost_usd=cost, original_cost_usd=None)
            return msgspec.structs.replace(event, usage=paid)
        case _:
            return event


def _free(usage: TokenUsage) -> TokenUsage:
    original = usage.cost_usd if usage.original_cost_usd is None else usage.original_cost_usd
    return msgspec.structs.replace(usage, cost_usd=0.0, original_cost_usd=original)
