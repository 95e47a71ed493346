"""Folds the events of a stream into an `LLMResult`. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from hub.content import Choice, Step
from hub.errors import InvalidRequestError, SequenceGapError
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
    StreamStatus,
    TokenUsage,
    ToolOutput,
)

__all__ = ("Completion", "closing_events", "fold", "fold_streams")

CHARS_PER_TOKEN = 4
"""A common rule of thumb for English text, for streams that end before the endpoint counted."""

_BROKEN_OFF = Failure(code="interrupted", message="The answer was broken off.", retryable=True)


class Completion:
    """Folds the events of one stream in order, one `add` each, in constant time.

    A repeated event is passed over; a hole raises, since what is missing can't be guessed, and so does an event of
    another stream. Adding costs O(1), `result()` O(length of the text).

    Args:
        stream_id: The stream's id, where it is known before the first event.
        model: The model asked for, which stands until `meta` names the one that answers.
        input_tokens: About how many tokens the prompt has, for an attempt whose `usage` has to be estimated; 0 where
            that isn't known.
    """

    def __init__(self, stream_id: str = "", *, model: str | None = None, input_tokens: int = 0) -> None:
        self.last_seq = -1
        self._stream_id = stream_id
        self._asked_model = model
        self._input_tokens = input_tokens
        self._clear()

    def _clear(self) -> None:
        self._status: StreamStatus = "running"
        self._meta: Meta | None = None
        self._steps: dict[int, Step] = {}
        self._step_at = 0
        self._outputs: list[ToolOutput] = []
        self._approvals: set[str] = set()
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
        """The model that answers, or is asked; None where unknown."""
        answering = self._meta.model if self._meta else None
        return self._asked_model if answering is None else answering

    @property
    def usage(self) -> TokenUsage | None:
        """The sum of the `usage` events so far."""
        return self._usage

    @property
    def stream_id(self) -> str:
        """The stream's id; empty where it was not given, before the first event."""
        return self._stream_id

    def add(self, event: LLMEvent) -> None:
        """Take the next event in.

        Raises:
            InvalidRequestError: The event is another stream's.
            SequenceGapError: Events are missing between the last one and this, or it stands for some that were added
                and for some that were not.
        """
        if event.stream_id != self._stream_id:  # also of an event that is passed over: it repeats nothing
            self._name(event.stream_id)
        if event.seq <= self.last_seq:
            return
        if event.seq - event.span != self.last_seq and not isinstance(event, Snapshot):
            raise SequenceGapError(self.last_seq + 1, event.seq - event.span + 1)
        self.last_seq = event.seq
        match event:
            case TextDelta():
                self._choice(event.choice).add_text(event)
            case ReasoningDelta():
                self._choice(event.choice).reasoning.append(event.text)
            case RefusalDelta():
                self._choice(event.choice).refusal.append(event.text)
            case ToolCallDelta():
                self._choice(event.choice).add_tool_call(event)
            case Meta():
                self._restart(event)
            case Usage():
                self._usage = event.counts() if self._usage is None else self._usage + event.counts()
                self._usage_due = False
            case ToolResult():
                self._add_tool_result(event)
            case ApprovalRequest():
                self._approvals.add(event.id)
                self._status = "waiting"
            case Snapshot():
                self._load(event.result)
            case Error():
                self._failure = Failure(
                    code=event.code,
                    message=event.message,
                    status=event.status,
                    retryable=event.retryable,
                    retry_after=event.retry_after,
                )
            case Done():
                self._finish(event)

    def result(self) -> LLMResult:
        """Everything added so far as one value."""
        choices = self._choices()
        first = choices[0]
        meta = self._meta
        return LLMResult(
            stream_id=self._stream_id,
            last_seq=self.last_seq,
            status=self._status,
            model=self.model,
            text=first.text,
            reasoning=first.reasoning,
            refusal=first.refusal,
            tool_calls=first.tool_calls,
            logprobs=first.logprobs,
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
            steps=tuple(self._steps[number].as_step(number) for number in sorted(self._steps))
            if len(self._steps) > 1
            else (),
        )

    def ending(self, status: EndStatus, error: Failure | None = None) -> list[LLMEvent]:
        """The events that close this stream at once, for a producer that can go on no further.

        `meta` where none was sent, `error` where the stream failed and has not said so, `usage` where the running
        attempt has reported none (an estimate from what it said), and `done`. An `error` given or already sent makes
        the status `failed`. Nothing where the stream has ended, or its id is unknown since no event came.
        """
        if self._status in ("completed", "cancelled", "failed") or not self._stream_id:
            return []
        if error is not None or self._failure is not None:
            status = "failed"
        if status == "failed" and error is None:
            error = _BROKEN_OFF
        return closing_events(
            stream_id=self._stream_id,
            first_seq=self.last_seq + 1,
            status=status,
            error=error if self._failure is None else None,
            usage=self._estimate() if self._usage_due or self._usage is None else None,
            earlier_usage=self._usage,
            meta=None if self._meta else Meta(stream_id=self._stream_id, seq=self.last_seq + 1, model=self.model),
            step=self._step_at,
            attempt=self._meta.attempt if self._meta else 1,
        )

    def abandoned(self) -> list[LLMEvent]:
        """The `usage` of the running attempt, estimated, that is due before another one follows; nothing if it came."""
        if not self._usage_due or self._status in ("completed", "cancelled", "failed"):
            return []
        attempt = self._meta.attempt if self._meta else 1
        seq = self.last_seq + 1
        return [Usage.of(self._estimate(), stream_id=self._stream_id, seq=seq, step=self._step_at, attempt=attempt)]

    def _name(self, stream_id: str) -> None:
        """Learn the stream's id, or find that it is another one's."""
        if self._stream_id:
            raise InvalidRequestError(
                f"An event of stream {stream_id!r} came among those of stream {self._stream_id!r}. Fold each stream by "
                "itself: a Completion for each stream_id, or fold_streams."
            )
        self._stream_id = stream_id

    def _estimate(self) -> TokenUsage:
        """What the running attempt has used, as far as its output and what was said of the prompt tell."""
        if self._meta is None:
            return TokenUsage()
        step = self._steps.get(self._step_at)
        parts = [part for choice in step.choices.values() for part in choice.parts()] if step else []
        # A part is at least a token with nearly every server; parts that were merged are counted by their length.
        said = max(len(parts), -(-sum(map(len, parts)) // CHARS_PER_TOKEN))
        asked = 0 if self._meta.cached else self._input_tokens
        return TokenUsage(input_tokens=asked, output_tokens=said, total_tokens=asked + said, estimated=True)

    def _choices(self) -> tuple[ChoiceResult, ...]:
        """The last step's choices; the first one also where only others have said something."""
        step = self._steps.get(self._step_at)
        said = step.choices if step else {}
        reasons = self._finish_reasons or (self._finish_reason,)
        return tuple(
            (said.get(number) or Choice()).as_choice(number, reasons[number] if number < len(reasons) else None)
            for number in sorted({0, *said, *range(len(reasons))})
        )

    def _choice(self, choice: int) -> Choice:
        step = self._steps.get(self._step_at)
        if step is None:
            step = self._steps[self._step_at] = Step(1)
        found = step.choices.get(choice)
        if found is None:
            found = step.choices[choice] = Choice()
        return found

    def _add_tool_result(self, event: ToolResult) -> None:
        self._outputs.append(ToolOutput(id=event.id, name=event.name, output=event.output, is_error=event.is_error))
        self._approvals.discard(event.id)
        if self._status == "waiting" and not self._approvals:
            self._status = "running"

    def _restart(self, meta: Meta) -> None:
        self._meta = meta
        self._step_at = meta.step
        self._steps[meta.step] = Step(meta.attempt)
        self._usage_due = True
        self._approvals.clear()
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
        self._usage_due = _is_usage_due(result)
        self._failure = result.error
        self._finish_reason = result.finish_reason
        self._finish_reasons = result.finish_reasons
        self._raw_finish_reason = result.raw_finish_reason
        for earlier in result.steps:
            self._steps[earlier.step] = step = Step(earlier.attempt)
            step.choices[0] = Choice.of(earlier)
        self._steps[result.step] = last = Step(result.attempt)
        if result.choices:
            last.choices = {choice.choice: Choice.of(choice) for choice in result.choices}
        else:
            last.choices[0] = Choice.of(result)

    def _finish(self, done: Done) -> None:
        self._status = done.status
        self._finish_reason = done.finish_reason
        self._finish_reasons = done.finish_reasons or ()
        self._raw_finish_reason = done.raw_finish_reason
        if done.usage is not None:
            self._usage = done.usage


def fold(events: Iterable[LLMEvent]) -> LLMResult:
    """The result of a whole stream, or of its beginning.

    Raises:
        InvalidRequestError: The events are of several streams; `fold_streams` takes those.
        SequenceGapError: Events are missing.
    """
    completion = Completion()
    for event in events:
        completion.add(event)
    return completion.result()


def fold_streams(events: Iterable[LLMEvent]) -> dict[str, LLMResult]:
    """The result of each stream by its `stream_id`, in the order in which they began; their events may come mixed.

    Raises:
        SequenceGapError: Events of a stream are missing.
    """
    completions: dict[str, Completion] = {}
    for event in events:
        completion = completions.get(event.stream_id)
        if completion is None:
            completion = completions[event.stream_id] = Completion(event.stream_id)
        completion.add(event)
    return {stream_id: completion.result() for stream_id, completion in completions.items()}


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
                retry_after=error.retry_after,
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


def _is_usage_due(result: LLMResult) -> bool:
    """Whether the attempt a snapshot ends in has its `usage` still to come: tools run only once it has come."""
    answered = {output.id for output in result.tool_outputs}
    return result.status == "running" and not any(call.id in answered for call in result.tool_calls)
