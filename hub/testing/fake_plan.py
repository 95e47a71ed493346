"""What a fake answers with: the many ways to write an answer, as one plan of deltas, waits and an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

from hub.errors import EndpointError
from hub.events import Delta, EndStatus, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta
from hub.result import ChoiceResult, Failure, FinishReason, LLMResult, TokenUsage, ToolCall
from hub.testing.chat import words
from hub.testing.replies import Gate, Hang, Pause
from hub.testing.steps import Wait

__all__ = ("Answer", "Piece", "Plan", "Reaction", "fake_answer", "plan")

Piece: TypeAlias = str | ToolCall | Delta | Wait | Failure | EndpointError
"""A part of an answer: a text is one delta, a delta's own `stream_id` and `seq` don't count, a failure is the end."""

Answer: TypeAlias = Piece | Sequence[Piece] | LLMResult | Exception
"""One answer. A text alone goes out a word at a time; an exception that is no `EndpointError` is raised at the call."""

Reaction: TypeAlias = Callable[[Sequence[Any], Mapping[str, Any]], Answer]
"""Gives the answer to these messages and parameters."""

_ENDS: tuple[str, ...] = get_args(EndStatus)


@dataclass(frozen=True, slots=True)
class Plan:
    """One answer, ready to be told.

    Attributes:
        parts: What to say and where to wait.
        result: How it ends, and what `meta` says; the texts in it are in `parts`.
    """

    parts: tuple[Delta | Wait, ...]
    result: LLMResult


def fake_answer(
    text: str = "",
    *,
    reasoning: str = "",
    refusal: str = "",
    tool_calls: Sequence[ToolCall] = (),
    usage: TokenUsage | None = None,
    finish_reason: FinishReason | None = None,
    model: str | None = None,
    error: Failure | None = None,
) -> LLMResult:
    """An answer with all that a text alone can't say, for a `FakeLLM`.

    Args:
        text: Said a word at a time, after the reasoning and before the tool calls.
        reasoning: The reasoning that the model shows.
        refusal: What the model says to refuse.
        tool_calls: What the model calls.
        usage: None means an estimate, marked as one.
        finish_reason: None means `tool_calls` where there are some, else `stop`.
        model: The model that answers; None means the fake's.
        error: What the answer fails with after all that.
    """
    return LLMResult(
        stream_id="",
        last_seq=0,
        status="completed" if error is None else "failed",
        text=text,
        reasoning=reasoning,
        refusal=refusal,
        tool_calls=tuple(tool_calls),
        usage=usage,
        finish_reason=finish_reason,
        model=model,
        error=error,
    )


def plan(answer: Answer) -> Plan:
    """The plan for an answer.

    Raises:
        Exception: The answer is an exception to raise at the call.
        ValueError: It is a result that no single call gives.
        TypeError: It is no answer at all.
    """
    match answer:
        case EndpointError():
            return _of_pieces([answer])
        case Exception():
            raise answer
        case LLMResult():
            return _of_result(answer)
        case str():
            return _of_pieces(words(answer))
        case list() | tuple():
            return _of_pieces(answer)
        case _:
            return _of_pieces([answer])  # type: ignore[list-item]  # what is no piece is found there


def _of_pieces(pieces: Iterable[Piece]) -> Plan:
    parts: list[Delta | Wait] = []
    calls = 0
    failure: Failure | None = None
    for piece in pieces:
        match piece:
            case str():
                parts.append(TextDelta(stream_id="", seq=0, text=piece))
            case ToolCall():
                parts += _call_deltas(piece, index=calls, choice=0)
                calls += 1
            case TextDelta() | ReasoningDelta() | RefusalDelta() | ToolCallDelta() | Pause() | Gate() | Hang():
                parts.append(piece)
            case Failure():
                failure = piece
            case EndpointError():
                failure = Failure(
                    code=piece.code, message=piece.message, status=piece.status, retryable=piece.retryable
                )
            case _:
                raise TypeError(f"A fake can't answer with a {type(piece).__name__}; see hub.testing.FakeLLM.")
        if failure is not None:
            break
    return Plan(tuple(parts), fake_answer(error=failure))


def _of_result(result: LLMResult) -> Plan:
    if result.status not in _ENDS:
        raise ValueError(f"A fake's answer has to have ended; this result is {result.status!r}.")
    if (result.status == "failed") != (result.error is not None):
        raise ValueError("A fake's answer has an error where its status is 'failed', and only there.")
    if result.steps or result.tool_outputs:
        raise ValueError("A fake answers one call; this result is of several steps.")
    if result.choices:
        parts = [part for choice in result.choices for part in _said(choice, choice.choice)]
    else:
        parts = list(_said(result, 0))
    return Plan(tuple(parts), result)


def _said(said: LLMResult | ChoiceResult, choice: int) -> Iterator[Delta]:
    for word in words(said.reasoning):
        yield ReasoningDelta(stream_id="", seq=0, text=word, choice=choice)
    for word in words(said.refusal):
        yield RefusalDelta(stream_id="", seq=0, text=word, choice=choice)
    for word in words(said.text):
        yield TextDelta(stream_id="", seq=0, text=word, choice=choice)
    for index, call in enumerate(said.tool_calls):
        yield from _call_deltas(call, index=index, choice=choice)


def _call_deltas(call: ToolCall, *, index: int, choice: int) -> Iterator[ToolCallDelta]:
    """The name first, then the arguments in two parts: code that takes the first for all of it is found out."""
    yield ToolCallDelta(stream_id="", seq=0, index=index, id=call.id, name=call.name, choice=choice, extra=call.extra)
    middle = len(call.arguments) // 2
    for fragment in (call.arguments[:middle], call.arguments[middle:]):
        if fragment:
            yield ToolCallDelta(stream_id="", seq=0, index=index, arguments=fragment, choice=choice)
