"""The events of a fake's answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

import msgspec

from hub.completion import closing_events
from hub.events import Delta, EndStatus, LLMEvent, Meta
from hub.result import Failure, FinishReason, TokenUsage
from hub.testing.fake_plan import Plan
from hub.testing.replies import Gate, Hang, Pause
from hub.testing.steps import wait
from hub.upstream.clocks import InterruptedByWatchdog, Timeouts, Watchdog

__all__ = ("Telling",)


class Telling:
    """Makes the events of a plan; a stream's readers see it as they see a real answer.

    Args:
        plan: What to say.
        meta: The first event.
        input_tokens: What the prompt counts, where the plan has no usage.
        timeouts: The clocks; what the plan waits for counts.

    Attributes:
        stream_id: The id that every event bears.
        left: Given up before the end, by a reader that had begun.
    """

    def __init__(self, plan: Plan, meta: Meta, *, input_tokens: int, timeouts: Timeouts) -> None:
        self.stream_id = meta.stream_id
        self.left = False
        self._plan = plan
        self._meta = meta
        self._input_tokens = input_tokens
        self._timeouts = timeouts
        self._watchdog: Watchdog | None = None
        self._next_seq = 0
        self._said: list[Delta] = []
        self._stopped = False
        self._closed = False

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """Every event from `meta` to `done`, a list each but for the end."""
        watchdog = self._watchdog = Watchdog(self._timeouts)
        if self._stopped:
            watchdog.stop()
        try:
            yield [self._open()]
            try:
                for part in self._plan.parts:
                    if isinstance(part, Pause | Gate | Hang):
                        await watchdog.guard(partial(wait, part))
                    else:
                        # As with a real answer, others have their turn between two deltas, and may stop it.
                        await watchdog.guard(partial(asyncio.sleep, 0))
                        watchdog.expect_content()
                        yield [self._say(part)]
            except InterruptedByWatchdog:
                pass
            yield self._close(watchdog)
        finally:
            self.left = not self._closed
            watchdog.close()

    def stop(self) -> None:
        """End it as `cancelled`."""
        self._stopped = True
        if self._watchdog is not None:
            self._watchdog.stop()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """What is due through `done`; nothing where that was given already."""
        if self._closed:
            return []
        opening: list[LLMEvent] = [] if self._next_seq else [self._open()]
        return opening + self._end(status, failure)

    def _open(self) -> LLMEvent:
        self._next_seq = 1
        return self._meta

    def _say(self, delta: Delta) -> LLMEvent:
        event = msgspec.structs.replace(delta, stream_id=self._meta.stream_id, seq=self._next_seq, span=1)
        self._next_seq += 1
        self._said.append(event)
        return event

    def _close(self, watchdog: Watchdog) -> list[LLMEvent]:
        match watchdog.interruption:
            case None:
                result = self._plan.result
                status: EndStatus = "completed"
                if result.status in ("cancelled", "failed"):
                    status = result.status
                return self._end(status, result.error)
            case "cancelled":
                return self._end("cancelled", None)
            case clock:
                seconds = getattr(self._timeouts, clock)
                message = f"The fake's answer ran into the {clock}, {seconds} s."
                return self._end("failed", Failure(code=clock, message=message, retryable=True))

    def _end(self, status: EndStatus, failure: Failure | None) -> list[LLMEvent]:
        self._closed = True
        reasons = [self._finish_reason(choice, status) for choice in range(self._choices())]
        return closing_events(
            stream_id=self._meta.stream_id,
            first_seq=self._next_seq,
            status=status,
            error=failure,
            usage=self._usage(failure),
            earlier_usage=None,
            meta=None,
            step=0,
            attempt=1,
            finish_reason=reasons[0],
            finish_reasons=tuple(reasons) if len(reasons) > 1 else None,
            raw_finish_reason=self._plan.result.raw_finish_reason if status == "completed" else None,
        )

    def _choices(self) -> int:
        told = [choice.choice for choice in self._plan.result.choices]
        return 1 + max([*told, *(delta.choice for delta in self._said)], default=0)

    def _finish_reason(self, choice: int, status: EndStatus) -> FinishReason | None:
        if status != "completed":
            return None
        result = self._plan.result
        given = {each.choice: each.finish_reason for each in result.choices} or {0: result.finish_reason}
        calls = any(delta.type == "tool_call_delta" and delta.choice == choice for delta in self._said)
        return given.get(choice) or ("tool_calls" if calls else "stop")

    def _usage(self, failure: Failure | None) -> TokenUsage:
        if self._plan.result.usage is not None:
            return self._plan.result.usage
        if failure is not None and not self._said:
            return TokenUsage()
        prompt, completion = self._input_tokens, len(self._said)
        return TokenUsage(
            input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion, estimated=True
        )
