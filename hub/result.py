"""What a stream amounts to: the values that events carry and that folding them gives.

All are frozen `msgspec.Struct`s and take part in the events' JSON: a `snapshot` event holds an `LLMResult`.
"""

from __future__ import annotations

from types import NoneType
from typing import Any, Literal

import msgspec

from hub.errors import ErrorCode, endpoint_error

__all__ = (
    "ChoiceResult",
    "Failure",
    "FinishReason",
    "LLMResult",
    "StepResult",
    "StreamStatus",
    "TokenUsage",
    "ToolCall",
    "ToolOutput",
)

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "other"]

StreamStatus = Literal["queued", "running", "waiting", "completed", "cancelled", "failed"]
"""`queued` is for a worker, `waiting` for a person's approval; the last three are ends."""


def null() -> Any:
    """A field that is written as `null` where unknown (a plain None default would be left out)."""
    return msgspec.field(default_factory=NoneType)


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one or more model calls, and what they cost.

    `cached_input_tokens` are part of `input_tokens`, `reasoning_tokens` of `output_tokens`. `cost_usd` is None
    where unknown, never 0; `original_cost_usd` is what it would have cost without the cache, None where none of it
    came from there. `estimated` says that a count was made here because the endpoint reported none.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    original_cost_usd: float | None = None
    estimated: bool = False

    def __add__(self, other: TokenUsage) -> TokenUsage:
        """The sum. A cost that is unknown on one side is unknown in the sum, unless that side used nothing."""
        return TokenUsage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost_usd=_sum_usd(self, other, self.cost_usd, other.cost_usd),
            original_cost_usd=self._original_sum(other),
            estimated=self.estimated or other.estimated,
        )

    def _original_sum(self, other: TokenUsage) -> float | None:
        """What did not come from the cache would have cost what it did cost."""
        if self.original_cost_usd is None and other.original_cost_usd is None:
            return None
        mine, others = (
            part.cost_usd if part.original_cost_usd is None else part.original_cost_usd for part in (self, other)
        )
        return _sum_usd(self, other, mine, others)


def _sum_usd(a: TokenUsage, b: TokenUsage, a_usd: float | None, b_usd: float | None) -> float | None:
    if a_usd is None:
        return b_usd if a.total_tokens == 0 else None
    if b_usd is None:
        return a_usd if b.total_tokens == 0 else None
    return a_usd + b_usd


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call the model asks for; `arguments` is the JSON text as the model wrote it, whole once the step ended.

    `extra` is what the endpoint attached to the call and wants back with it; None where there was nothing.
    """

    id: str
    name: str
    arguments: str
    index: int = 0
    extra: dict[str, Any] | None = None


class ToolOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gave back for the call `id`."""

    id: str
    name: str
    output: str
    is_error: bool = False


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a stream failed, as its `error` event said; `retry_after` is in seconds, None where nothing was said."""

    code: ErrorCode
    message: str
    status: int | None = None
    retryable: bool = False
    retry_after: float | None = None


class ChoiceResult(msgspec.Struct, frozen=True, kw_only=True):
    """One of several answers to one request (`n` above 1)."""

    choice: int
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    logprobs: tuple[dict[str, Any], ...] = ()


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """One model call of an agent's run, as its last attempt left it."""

    step: int
    attempt: int
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class LLMResult(msgspec.Struct, frozen=True, kw_only=True):
    """A stream's fold: what was said so far, or in all once `status` is an end.

    `text`, `reasoning`, `refusal` and `tool_calls` are those of the last step's first choice; `choices` lists
    every choice where there are several, `steps` every step where there are several. `text` is empty where only
    other choices than the first have said something so far. `logprobs` are the tokens of `text`, where they were
    asked for. `usage` is the sum over all attempts and steps, None
    before the first `usage` event.
    """

    stream_id: str
    last_seq: int
    status: StreamStatus
    model: str | None = None
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_outputs: tuple[ToolOutput, ...] = ()
    finish_reason: FinishReason | None = None
    finish_reasons: tuple[FinishReason | None, ...] = ()
    raw_finish_reason: str | None = None
    usage: TokenUsage | None = None
    error: Failure | None = None
    response_id: str | None = None
    created: int | None = None
    cached: bool = False
    identifier: str | None = None
    attempt: int = 1
    step: int = 0
    choices: tuple[ChoiceResult, ...] = ()
    steps: tuple[StepResult, ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()

    def as_message(self, *, echo_reasoning: bool = False) -> dict[str, Any]:
        """The answer as a message of the assistant, to append to the conversation before it goes on.

        The results of the calls come after it, as messages of the role `tool`. Either API takes it.

        Args:
            echo_reasoning: Send the reasoning back too, as some endpoints want it with tool calls
                (`ModelProfile.echoes_reasoning`).
        """
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.refusal:
            message["refusal"] = self.refusal
        if echo_reasoning and self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    **(call.extra or {}),
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.tool_calls
            ]
        elif not self.text and not self.refusal:
            message["content"] = ""
        return message

    def raise_for_status(self) -> LLMResult:
        """This result, if the stream did not fail.

        Raises:
            EndpointError: The stream failed; of the subclass and with the `code` of its `error` event.
        """
        if self.error is None:
            return self
        error = endpoint_error(
            self.error.message,
            code=self.error.code,
            status=self.error.status,
            retryable=self.error.retryable,
            retry_after=self.error.retry_after,
        )
        error.result = self
        raise error
