"""What has to be true of a stream whatever happened to it; pure. Each check returns what is wrong, a line each."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hub.completion import fold
from hub.events import LLMEvent, Meta, Snapshot, TextDelta
from hub.result import LLMResult
from hub.testing import check_grammar
from tests.faults.endpoint import tokens_of

__all__ = ("check_agreement", "check_end", "check_events")


def check_events(events: Sequence[LLMEvent]) -> list[str]:
    """From the first position to `done` each exactly once and in order, and each attempt one writer's."""
    wrong = []
    last = -1
    for event in events:
        if event.seq - event.span != last:
            wrong.append(f"{event.type} stands for {event.seq - event.span + 1}–{event.seq} behind {last}")
        last = event.seq
    ends = [event.seq for event in events if event.type == "done"]
    if len(ends) != 1 or not events or events[-1].type != "done":
        wrong.append(f"{len(ends)} times done: {ends[:5]}, and the last of {len(events)} events at {last}")
    try:
        if not wrong:
            check_grammar(events)
        _check_attempts(events)
    except AssertionError as exc:
        wrong.append(str(exc))
    return wrong


def check_end(result: LLMResult, tokens: int, may_fail: Collection[str]) -> list[str]:
    """The answer is whole, or the stream has ended in a way in which it may."""
    match result.status:
        case "completed":
            said = tokens_of(result.text)[1]
            return [] if said == tokens else [f"completed with {said} of {tokens} tokens"]
        case "failed":
            code = "" if result.error is None else result.error.code
            return [] if code in may_fail else [f"failed: {result.error}"]
        case status:
            return [f"ended as {status}"]


def check_agreement(readings: Sequence[Sequence[LLMEvent]], served: Sequence[LLMResult]) -> list[str]:
    """Everybody's fold is the same, and the same as what the hub says."""
    if not readings:
        return []
    folds = [fold(events) for events in readings]
    wrong = [f"readers disagree: {_difference(folds[0], other)}" for other in folds[1:] if other != folds[0]]
    wrong += [f"a reader and GET disagree: {_difference(folds[0], other)}" for other in served if other != folds[0]]
    return wrong


def _check_attempts(events: Sequence[LLMEvent]) -> None:
    text = ""
    for event in events:
        match event:
            case Meta() | Snapshot():
                tokens_of(text)
                text = event.result.text if isinstance(event, Snapshot) else ""
            case TextDelta():
                text += event.text
            case _:
                pass
    tokens_of(text)


def _difference(one: LLMResult, other: LLMResult) -> str:
    fields = [name for name in one.__struct_fields__ if getattr(one, name) != getattr(other, name)]
    return "; ".join(
        f"{name} {str(getattr(one, name))[-60:]!r}, {str(getattr(other, name))[-60:]!r}" for name in fields
    )
