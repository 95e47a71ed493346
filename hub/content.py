"""What the steps of a stream have said so far, as it grows: the parts that a fold keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hub.events import TextDelta, ToolCallDelta
from hub.result import ChoiceResult, FinishReason, LLMResult, StepResult, ToolCall

__all__ = ("Choice", "Step")


class _Call:
    """A tool call as its deltas arrive."""

    __slots__ = ("arguments", "extra", "id", "name")

    def __init__(self, call_id: str = "", name: str = "", extra: dict[str, Any] | None = None) -> None:
        self.id = call_id
        self.name = name
        self.arguments: list[str] = []
        self.extra = extra

    def add(self, delta: ToolCallDelta) -> None:
        if delta.id:
            self.id = delta.id
        if delta.name:
            self.name = delta.name
        if delta.extra:
            self.extra = {**(self.extra or {}), **delta.extra}
        self.arguments.append(delta.arguments)


class Choice:
    """One choice of one step: parts are kept in lists, since joining at each delta would cost the square."""

    __slots__ = ("calls", "logprobs", "reasoning", "refusal", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.logprobs: list[dict[str, Any]] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, _Call] = {}

    @classmethod
    def of(cls, part: ChoiceResult | StepResult | LLMResult) -> Choice:
        """What a snapshot's part had said."""
        choice = cls()
        choice.text = [part.text] if part.text else []
        choice.logprobs = [] if isinstance(part, StepResult) else list(part.logprobs)
        choice.reasoning = [part.reasoning] if part.reasoning else []
        choice.refusal = [part.refusal] if part.refusal else []
        for call in part.tool_calls:
            # Results made by hand may leave the indices at 0: no call may take another's place.
            index = call.index if call.index not in choice.calls else max(choice.calls) + 1
            choice.calls[index] = loaded = _Call(call.id, call.name, call.extra)
            loaded.arguments = [call.arguments]
        return choice

    def add_text(self, delta: TextDelta) -> None:
        """Append to the text."""
        self.text.append(delta.text)
        if delta.logprobs is not None:
            self.logprobs += delta.logprobs

    def add_tool_call(self, delta: ToolCallDelta) -> None:
        """Append to the call of the delta's index."""
        call = self.calls.get(delta.index)
        if call is None:
            call = self.calls[delta.index] = _Call()
        call.add(delta)

    def parts(self) -> Iterator[str]:
        """Every part that came, of whatever kind."""
        yield from self.text
        yield from self.reasoning
        yield from self.refusal
        for call in self.calls.values():
            yield from call.arguments

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls in the order of their indices."""
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments), index=index, extra=call.extra)
            for index, call in sorted(self.calls.items())
        )

    def as_choice(self, number: int, finish_reason: FinishReason | None) -> ChoiceResult:
        """The choice `number` as it is now."""
        return ChoiceResult(
            choice=number,
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            refusal="".join(self.refusal),
            tool_calls=self.tool_calls(),
            finish_reason=finish_reason,
            logprobs=tuple(self.logprobs),
        )


class Step:
    """One model call: its last attempt's content."""

    __slots__ = ("attempt", "choices")

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.choices: dict[int, Choice] = {}

    def as_step(self, number: int) -> StepResult:
        """The step `number` as it is now, by its first choice."""
        choice = self.choices.get(0) or Choice()
        return StepResult(
            step=number,
            attempt=self.attempt,
            text="".join(choice.text),
            reasoning="".join(choice.reasoning),
            refusal="".join(choice.refusal),
            tool_calls=choice.tool_calls(),
        )
