"""Folds the events of a stream into an `LLMResult`. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from hub.errors import SequenceGapError
from hub.events import (
    ApprovalRequest,
    Done,
    EndStatus,
    Error,
    LLMEvent,
    Meta,
    ReasoningDelta,
    RefusalDelta,
    Snapshot,
    TextDelta,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from hub.result import (
    ChoiceResult,
    Failure,
    FinishReason,
    LLMResult,
    StepResult,
    StreamStatus,
    TokenUsage,
    ToolCall,
    ToolOutput,
)

__all__ = ("Completion", "closing_events", "fold")


class _Call:
    """A tool call as its deltas arrive."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class _Choice:
    """One choice of one step: parts are kept in lists, since joining at each delta would cost the square."""

    __slots__ = ("calls", "reasoning", "refusal", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, _Call] = {}

    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments), index=index)
            for index, call in sorted(self.calls.items())
        )


class _Step:
    """One model call; its last attempt's content."""

    __slots__ = ("attempt", "choices")

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.choices: dict[int, _Choice] = {}


class Completion:
    """Folds events in order, one `add` each, in constant time.

    A repeated event is passed over; a hole raises, since what is missing can't be guessed. Adding costs O(1),
    `result()` O(length of the text).
    """

    def __init__(self) -> None:
        self.last_seq = -1
        self._stream_id = ""
        self._clear()

    def _clear(self) -> None:
        self._status: StreamStatus = "running"
        self._meta: Meta | None = None
        self._steps: dict[int, _Step] = {}
        self._step_at = 0
        self._outputs: list[ToolOutput] = []
        self._usage: TokenUsage | None = None
        self._usage_due = False
        self._failure: Failure | None = None
        self._finish_reason: FinishReason | None = None
        self._finish_reasons: tuple[FinishReason | None, ...] = ()
        self._raw_finish_reason: str | None = None

    @property
    def status(self) -> StreamStatus:
        """The stream's status, as far as the events tell."""
        return self._status

    @property
    def model(self) -> str | None:
        """The model that answers; None before `meta`."""
        return self._meta.model if self._meta else None

    @property
    def usage(self) -> TokenUsage | None:
        """The sum of the `usage` events so far."""
        return self._usage

    @property
    def stream_id(self) -> str:
        """The stream's id; empty before the first event."""
        return self._stream_id

    def add(self, event: LLMEvent) -> None:
        """Take the next event in.

        Raises:
            SequenceGapError: Events are missing between the last one and this.
        """
        if event.seq <= self.last_seq:
            return
        if event.seq - event.span > self.last_seq and not isinstance(event, Snapshot):
            raise SequenceGapError(self.last_seq + 1, event.seq - event.span + 1)
        self.last_seq = event.seq
        self._stream_id = event.stream_id
        match event:
            case TextDelta():
                self._choice(event.choice).text.append(event.text)
            case ReasoningDelta():
                self._choice(event.choice).reasoning.append(event.text)
            case RefusalDelta():
                self._choice(event.choice).refusal.append(event.text)
            case ToolCallDelta():
                self._add_tool_call(event)
            case Meta():
                self._restart(event)
            case Usage():
                self._usage = event.counts() if self._usage is None else self._usage + event.counts()
                self._usage_due = False
            case ToolResult():
                self._outputs.append(
                    ToolOutput(id=event.id, name=event.name, output=event.output, is_error=event.is_error)
                )
            case ApprovalRequest():
                self._status = "waiting"
            case Snapshot():
                self._load(event.result)
            case Error():
                self._failure = Failure(
                    code=event.code, message=event.message, status=event.status, retryable=event.retryable
                )
            case Done():
                self._finish(event)

    def result(self) -> LLMResult:
        """Everything added so far as one value."""
        step = self._steps.get(self._step_at)
        choices = _choices(step, self._finish_reasons) if step else ()
        first = choices[0] if choices else ChoiceResult(choice=0)
        meta = self._meta
        return LLMResult(
            stream_id=self._stream_id,
            last_seq=self.last_seq,
            status=self._status,
            model=meta.model if meta else None,
            text=first.text,
            reasoning=first.reasoning,
            refusal=first.refusal,
            tool_calls=first.tool_calls,
            tool_outputs=tuple(self._outputs),
            finish_reason=self._finish_reason,
            finish_reasons=self._finish_reasons,
            raw_finish_reason=self._raw_finish_reason,
            usage=self._usage,
            error=self._failure,
            response_id=meta.response_id if meta else None,
            created=meta.created if meta else None,
            cached=bool(meta and meta.cached),
            identifier=meta.identifier if meta else None,
            attempt=meta.attempt if meta else 1,
            step=self._step_at,
            choices=choices if len(choices) > 1 else (),
            steps=tuple(_step_result(number, self._steps[number]) for number in sorted(self._steps))
            if len(self._steps) > 1
            else (),
        )

    def ending(self, status: EndStatus, error: Failure | None = None) -> list[LLMEvent]:
        """The events that close this stream at once, for a producer that can go on no further.

        `meta` where none was sent, `error` where given, `usage` where the running attempt has reported none (what
        is known of it: the counts are estimated at zero), and `done`. Nothing where the stream has ended already.
        """
        if self._status in ("completed", "cancelled", "failed"):
            return []
        return closing_events(
            stream_id=self._stream_id,
            first_seq=self.last_seq + 1,
            status=status,
            error=error,
            usage=TokenUsage(estimated=True) if self._usage_due or self._usage is None else None,
            earlier_usage=self._usage,
            meta=None if self._meta else Meta(stream_id=self._stream_id, seq=0),
            step=self._step_at,
            attempt=self._meta.attempt if self._meta else 1,
        )

    def _choice(self, choice: int) -> _Choice:
        step = self._steps.get(self._step_at)
        if step is None:
            step = self._steps[self._step_at] = _Step(1)
        found = step.choices.get(choice)
        if found is None:
            found = step.choices[choice] = _Choice()
        return found

    def _add_tool_call(self, event: ToolCallDelta) -> None:
        call = self._choice(event.choice).calls.setdefault(event.index, _Call())
        if event.id:
            call.id = event.id
        if event.name:
            call.name = event.name
        call.arguments.append(event.arguments)

    def _restart(self, meta: Meta) -> None:
        self._meta = meta
        self._step_at = meta.step
        self._steps[meta.step] = _Step(meta.attempt)
        self._usage_due = True
        self._status = "running"

    def _load(self, result: LLMResult) -> None:
        """Go on from a snapshot: what was added before is void."""
        self._clear()
        self._status = result.status
        self._meta = Meta(
            stream_id=self._stream_id,
            seq=0,
            model=result.model,
            attempt=result.attempt,
            step=result.step,
            response_id=result.response_id,
            created=result.created,
            cached=result.cached,
            identifier=result.identifier,
        )
        self._step_at = result.step
        self._outputs = list(result.tool_outputs)
        self._usage = result.usage
        self._usage_due = result.usage is None
        self._failure = result.error
        self._finish_reason = result.finish_reason
        self._finish_reasons = result.finish_reasons
        self._raw_finish_reason = result.raw_finish_reason
        for earlier in result.steps:
            self._steps[earlier.step] = step = _Step(earlier.attempt)
            step.choices[0] = _loaded(earlier)
        self._steps[result.step] = last = _Step(result.attempt)
        for choice in result.choices or (result,):
            last.choices[choice.choice if isinstance(choice, ChoiceResult) else 0] = _loaded(choice)

    def _finish(self, done: Done) -> None:
        self._status = done.status
        self._finish_reason = done.finish_reason
        self._finish_reasons = done.finish_reasons or ()
        self._raw_finish_reason = done.raw_finish_reason
        if done.usage is not None:
            self._usage = done.usage


def fold(events: Iterable[LLMEvent]) -> LLMResult:
    """The result of a whole stream, or of its beginning."""
    completion = Completion()
    for event in events:
        completion.add(event)
    return completion.result()


def closing_events(
    *,
    stream_id: str,
    first_seq: int,
    status: EndStatus,
    error: Failure | None,
    usage: TokenUsage | None,
    earlier_usage: TokenUsage | None,
    meta: Meta | None,
    step: int,
    attempt: int,
    finish_reason: FinishReason | None = None,
    finish_reasons: tuple[FinishReason | None, ...] | None = None,
    raw_finish_reason: str | None = None,
) -> list[LLMEvent]:
    """The end of a stream in the grammar's order: `meta` if still due, `error`, `usage`, `done`."""
    events: list[LLMEvent] = []
    seq = first_seq
    if meta is not None:
        events.append(meta)
        seq += 1
    if error is not None:
        events.append(
            Error(
                stream_id=stream_id,
                seq=seq,
                code=error.code,
                message=error.message,
                status=error.status,
                retryable=error.retryable,
            )
        )
        seq += 1
    total = earlier_usage
    if usage is not None:
        events.append(Usage.of(usage, stream_id=stream_id, seq=seq, step=step, attempt=attempt))
        seq += 1
        total = usage if total is None else total + usage
    events.append(
        Done(
            stream_id=stream_id,
            seq=seq,
            status=status,
            finish_reason=finish_reason,
            finish_reasons=finish_reasons,
            raw_finish_reason=raw_finish_reason,
            usage=total,
        )
    )
    return events


def _choices(step: _Step, finish_reasons: tuple[FinishReason | None, ...]) -> tuple[ChoiceResult, ...]:
    return tuple(
        ChoiceResult(
            choice=number,
            text="".join(choice.text),
            reasoning="".join(choice.reasoning),
            refusal="".join(choice.refusal),
            tool_calls=choice.tool_calls(),
            finish_reason=finish_reasons[number] if number < len(finish_reasons) else None,
        )
        for number, choice in sorted(step.choices.items())
    )


def _step_result(number: int, step: _Step) -> StepResult:
    choice = step.choices.get(0) or _Choice()
    return StepResult(
        step=number,
        attempt=step.attempt,
        text="".join(choice.text),
        reasoning="".join(choice.reasoning),
        refusal="".join(choice.refusal),
        tool_calls=choice.tool_calls(),
    )


def _loaded(part: ChoiceResult | StepResult | LLMResult) -> _Choice:
    choice = _Choice()
    choice.text = [part.text] if part.text else []
    choice.reasoning = [part.reasoning] if part.reasoning else []
    choice.refusal = [part.refusal] if part.refusal else []
    for number, call in enumerate(part.tool_calls):
        loaded = choice.calls[call.index or number] = _Call()
        loaded.id, loaded.name, loaded.arguments = call.id, call.name, [call.arguments]
    return choice
