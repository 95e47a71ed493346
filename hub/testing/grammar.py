"""Checks on whole streams of events, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from typing import assert_never

from hub.events import (
    ApprovalRequest,
    Done,
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
from hub.result import TokenUsage

__all__ = ("check_grammar", "collect")


async def collect(events: AsyncIterable[LLMEvent]) -> list[LLMEvent]:
    """Every event of a stream."""
    return [event async for event in events]


def check_grammar(events: Sequence[LLMEvent]) -> None:
    """Pass over a whole stream, from its start to `done`, that keeps to the grammar of docs/events.md.

    Raises:
        AssertionError: It breaks the grammar; the message says where and how.
    """
    if not events:
        raise AssertionError("The stream is empty: not even `meta` and `done` are there.")
    check = _Check(events[0].stream_id)
    for event in events:
        check.take(event)
    check.end()


class _Check:
    """What of a stream's past its future has to fit to.

    Attributes:
        attempt: Step and attempt of the last `meta`; None before the first.
        usage_due: Whether that attempt's `usage` has still to come; None where a snapshot hides it.
        reported: The steps and attempts whose `usage` came.
    """

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        self.next_seq = 0
        self.attempt: tuple[int, int] | None = None
        self.usage_due: bool | None = False
        self.reported: set[tuple[int, int]] = set()
        self.total: TokenUsage | None = None
        self.error_seq: int | None = None
        self.done: Done | None = None

    def take(self, event: LLMEvent) -> None:
        """Check the next event against those before it."""
        self._position(event)
        self._after_error(event)
        match event:
            case Meta():
                self._meta(event)
            case TextDelta() | ReasoningDelta() | RefusalDelta() | ToolCallDelta():
                self._require(self.attempt is not None, event, "stands before the first `meta`")
                self._require(self.usage_due is not False, event, "says more after its attempt's `usage`")
            case ToolResult() | ApprovalRequest():
                self._require(self.attempt is not None, event, "stands before the first `meta`")
            case Usage():
                self._usage(event)
            case Snapshot():
                self._snapshot(event)
            case Error():
                self._require(self.attempt is not None, event, "stands before the first `meta`")
                self.error_seq = event.seq
            case Done():
                self._done(event)
            case _:
                assert_never(event)

    def end(self) -> None:
        """Check that the stream has ended."""
        if self.done is None:
            raise AssertionError(f"The stream has no `done`: it ends with event {self.next_seq - 1}.")

    def _require(self, holds: bool, event: LLMEvent, broken: str) -> None:
        if not holds:
            raise AssertionError(f"Event {event.seq} ({event.type}) {broken}: {event!r}")

    def _position(self, event: LLMEvent) -> None:
        first = event.seq - event.span + 1
        self._require(self.done is None, event, "follows `done`")
        self._require(event.stream_id == self.stream_id, event, f"is not of stream {self.stream_id!r}")
        self._require(event.span >= 1, event, f"has a span of {event.span}")
        self._require(first >= self.next_seq, event, f"begins at {first}, which came already; {self.next_seq} was due")
        self._require(first <= self.next_seq, event, f"begins at {first}; {self.next_seq} was due and is missing")
        if self.next_seq == 0:
            self._require(
                isinstance(event, Meta | Snapshot), event, "is the first; that has to be `meta` or `snapshot`"
            )
        self.next_seq = event.seq + 1

    def _after_error(self, event: LLMEvent) -> None:
        if self.error_seq is not None:
            self._require(
                isinstance(event, Usage | Done),
                event,
                f"follows the `error` at {self.error_seq}: only `usage` and `done` may",
            )

    def _meta(self, event: Meta) -> None:
        step, attempt = event.step, event.attempt
        self._require(attempt >= 1 and step >= 0, event, f"has attempt {attempt} of step {step}")
        if self.attempt is not None:
            last_step, last_attempt = self.attempt
            self._require(not self.usage_due, event, f"comes before the `usage` of attempt {last_attempt}")
            self._require(step >= last_step, event, f"goes back from step {last_step} to step {step}")
            self._require(
                step > last_step or attempt > last_attempt, event, f"is attempt {attempt} after attempt {last_attempt}"
            )
        self.attempt = (step, attempt)
        self.usage_due = True

    def _usage(self, event: Usage) -> None:
        key = (event.step, event.attempt)
        self._require(self.attempt is not None, event, "stands before the first `meta`")
        self._require(key not in self.reported, event, f"is a second `usage` of attempt {event.attempt}")
        self._require(self.attempt is None or key <= self.attempt, event, "is of an attempt that no `meta` began")
        self.reported.add(key)
        self.total = event.counts() if self.total is None else self.total + event.counts()
        if key == self.attempt:
            self.usage_due = False

    def _snapshot(self, event: Snapshot) -> None:
        result = event.result
        self.attempt = (result.step, result.attempt)
        self.usage_due = None
        self.reported.clear()
        self.total = result.usage
        if result.error is not None:
            self.error_seq = event.seq

    def _done(self, event: Done) -> None:
        self._require(self.attempt is not None, event, "stands before the first `meta`")
        self._require(not self.usage_due, event, "comes before the `usage` of the last attempt")
        self._require(self.total is not None, event, "comes with no `usage` before it")
        failed = self.error_seq is not None
        self._require(
            (event.status == "failed") == failed,
            event,
            f"has status {event.status!r} {'after an' if failed else 'without an'} `error`",
        )
        if event.usage is not None and self.total is not None:
            self._require(
                _counts(event.usage) == _counts(self.total), event, f"does not sum the `usage` events: {self.total}"
            )
        self.done = event


def _counts(usage: TokenUsage) -> tuple[int, ...]:
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
    )
