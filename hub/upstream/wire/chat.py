"""Chat Completions bodies to events. Pure: feed it what a read gave, it gives the events they make.

The decoder takes the whole body, whatever it turns out to be: a stream of chunks, one whole answer, an error
object, a web page. It emits `meta` and the deltas; the end of the stream is its caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hub.errors import EndpointError
from hub.events import LLMEvent, ReasoningDelta, RefusalDelta, TextDelta
from hub.models.usage import parse_usage, reported_service_tier
from hub.result import TokenUsage
from hub.upstream import failures
from hub.upstream.wire.body import BodyDecoder
from hub.upstream.wire.emitter import Emitter
from hub.upstream.wire.finish import FinishReasons
from hub.upstream.wire.lean import MAX_CHOICES, decode_lean
from hub.upstream.wire.logprobs import parse_logprobs
from hub.upstream.wire.payload import check_entries, frame_value, no_answer, not_an_answer, whole_value
from hub.upstream.wire.sse import Frame
from hub.upstream.wire.tool_calls import MalformedCallError, ToolCallAssembler

__all__ = ("ChatDecoder",)


class ChatDecoder:
    """Decodes one response to one chat request.

    Args:
        stream_id: Goes into every event.
        first_seq: The first event's position.
        model: The model asked for; `meta` names the one the endpoint reports, if it does before the first content.
        attempt: From 1.
        step: From 0.
        identifier: The caller's own name for the request.
        expected_choices: How many answers were asked for (`n`).
        allows_missing_finish_reason: A body that just ends, after some content, is whole.

    Attributes:
        usage: What the endpoint reported last; None so far.
        usage_report: The same as it came, for what only prices need.
        service_tier: The tier the endpoint says it answers in; None so far.
        failure: Why the answer is broken; nothing is decoded after it.
        ended: `[DONE]` has come.
        finish_reasons: The choices, and why each ended.
    """

    def __init__(
        self,
        *,
        stream_id: str,
        first_seq: int = 0,
        model: str | None = None,
        attempt: int = 1,
        step: int = 0,
        identifier: str | None = None,
        expected_choices: int = 1,
        allows_missing_finish_reason: bool = False,
    ) -> None:
        self.usage: TokenUsage | None = None
        self.usage_report: Mapping[str, Any] | None = None
        self.service_tier: str | None = None
        self.failure: EndpointError | None = None
        self.ended = False
        self.finish_reasons = FinishReasons(expected_choices)
        self._out = Emitter(
            stream_id=stream_id, first_seq=first_seq, model=model, attempt=attempt, step=step, identifier=identifier
        )
        self._body = BodyDecoder()
        self._allows_missing_finish_reason = allows_missing_finish_reason
        self._calls: dict[int, ToolCallAssembler] = {}
        self._last_index = -1

    def feed(self, data: bytes) -> list[LLMEvent]:
        """The events of the next bytes; none after a failure or the end."""
        if self.failure is not None or self.ended:
            return []
        try:
            frames = self._body.feed(data)
        except EndpointError as exc:
            self.failure = exc
            return []
        return self._decode(frames) if frames else []

    def finish(self) -> list[LLMEvent]:
        """The events that the end of the body completes. Sets `failure` where it is no whole answer."""
        events: list[LLMEvent] = []
        if self.failure is None and not self.ended:
            frames = self._body.finish()
            if self._body.is_whole:
                self._decode_whole(frames[0].data, events)
            else:
                events = self._decode_rest(frames)
        if self.failure is None:
            for choice, calls in self._calls.items():
                for part in calls.flush():
                    self._out.tool_call(part, events, choice)
            self._check_whole()
        return events

    @property
    def is_finished(self) -> bool:
        """Every choice asked for has its finish reason; a lost connection takes nothing away any more."""
        return (self.ended and len(self.finish_reasons) > 0) or self.finish_reasons.is_all

    @property
    def next_seq(self) -> int:
        """The position of the next event."""
        return self._out.next_seq

    @property
    def has_begun(self) -> bool:
        """`meta` has gone out, and with it content."""
        return self._out.has_begun

    @property
    def output_chars(self) -> int:
        """Characters of content so far."""
        return self._out.output_chars

    @property
    def output_deltas(self) -> int:
        """Pieces of content so far."""
        return self._out.output_deltas

    def open(self) -> list[LLMEvent]:
        """`meta`, where it hasn't gone out yet: for an answer without any content, or a final failure."""
        events: list[LLMEvent] = []
        self._out.begin(events)
        return events

    def _check_whole(self) -> None:
        if not self.finish_reasons:
            self.failure = no_answer(self._body)
        elif not (self.ended or self.finish_reasons.is_complete or self._allows_missing_finish_reason):
            self.failure = failures.truncated("no finish reason and no [DONE]")

    def _decode_whole(self, body: bytes, events: list[LLMEvent]) -> None:
        """One value instead of a stream: a whole answer, where the endpoint ignores `stream`, or an error."""
        try:
            answer = whole_value(body)
            if isinstance(answer, Mapping) and isinstance(answer.get("choices"), list) and answer["choices"]:
                self._take_chunk(answer, events)
                self.ended = self.failure is None
            else:
                self.failure = not_an_answer(answer)
        except EndpointError as exc:
            self.failure = exc

    def _decode_rest(self, frames: list[Frame]) -> list[LLMEvent]:
        """What stands after the last blank line: a whole chunk, or the beginning of one that was cut off."""
        events = self._decode(frames)
        if self.failure is not None and self.failure.code == "malformed":
            self.failure = None if self.finish_reasons.is_all else failures.truncated("in the middle of a chunk")
        return events

    def _decode(self, frames: list[Frame]) -> list[LLMEvent]:
        """The events of these frames, up to a failure or `[DONE]`.

        The lean way is for the chunk that nearly all are; whatever it can't hold takes the other, which agrees.
        """
        events: list[LLMEvent] = []
        append = events.append
        out = self._out
        stream_id = out.stream_id
        seq = out.next_seq
        chars = 0
        last_index = self._last_index
        for frame in frames:
            if out.has_begun and not frame.event:
                try:
                    chunk = decode_lean(frame.data)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    pass
                else:
                    if not chunk.error and len(chunk.choices) == 1:
                        choice = chunk.choices[0]
                        delta = choice.delta
                        if not (delta.tool_calls or delta.function_call or delta.refusal or choice.logprobs):
                            index = choice.index
                            if text := delta.reasoning or delta.reasoning_content:
                                append(ReasoningDelta(stream_id=stream_id, seq=seq, text=text, choice=index))
                                seq += 1
                                chars += len(text)
                            if text := delta.content:
                                append(TextDelta(stream_id=stream_id, seq=seq, text=text, choice=index))
                                seq += 1
                                chars += len(text)
                            if index != last_index or choice.finish_reason:
                                self._end_choice(index, choice.finish_reason)
                                last_index = self._last_index = index
                            if chunk.usage is not None:
                                self._report(chunk.usage)
                            if self.failure is None:
                                continue
                            break
            out.next_seq = seq
            self._frame(frame, events)
            seq = out.next_seq
            if self.failure is not None or self.ended:
                break
        out.next_seq = seq
        out.output_chars += chars
        return events

    def _frame(self, frame: Frame, events: list[LLMEvent]) -> None:
        """Take one frame in, of any shape."""
        data = frame.data.strip()
        if not data:
            return
        if data == b"[DONE]":
            self.ended = True
            return
        try:
            self._take_chunk(frame_value(frame), events)
        except EndpointError as exc:
            self.failure = exc

    def _take_chunk(self, chunk: Mapping[str, Any], events: list[LLMEvent]) -> None:
        """Take one chunk in, or one whole answer, of any shape.

        Raises:
            EndpointError: It lists more than any answer has.
        """
        is_error = chunk.get("object") == "error" or bool(chunk.get("error"))
        self._out.identify(model=chunk.get("model"), response_id=chunk.get("id"), created=chunk.get("created"))
        choices = chunk.get("choices")
        check_entries(choices, "choices", MAX_CHOICES)
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and self.failure is None:
                self._choice(choice, events, is_error=is_error)
        self._report(chunk.get("usage"))
        self.service_tier = reported_service_tier(chunk) or self.service_tier
        if is_error:
            self.failure = failures.from_payload(chunk)

    def _choice(self, choice: Mapping[str, Any], events: list[LLMEvent], *, is_error: bool) -> None:
        number = choice.get("index")
        index = number if isinstance(number, int) and number >= 0 else 0
        if index >= MAX_CHOICES:
            self.failure = failures.malformed(f"a choice numbered beyond {MAX_CHOICES}")
            return
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message")
        if isinstance(delta, Mapping):
            self._delta(delta, int(index), parse_logprobs(choice.get("logprobs")), events)
        else:
            self._out.text(TextDelta, _text(choice.get("text")), events, int(index))
        reason = None if is_error else choice.get("finish_reason")
        self._end_choice(int(index), reason if isinstance(reason, str) else None)
        if self.finish_reasons.is_complete and self.failure is None:
            self._out.begin(events)

    def _delta(
        self, delta: Mapping[str, Any], index: int, logprobs: list[dict[str, Any]] | None, events: list[LLMEvent]
    ) -> None:
        content = delta.get("content")
        check_entries(content, "parts")
        thinking, text = _parts(content) if isinstance(content, list) else ("", _text(content))
        reasoning = _text(delta.get("reasoning")) or _text(delta.get("reasoning_content")) or thinking
        self._out.text(ReasoningDelta, reasoning, events, index)
        self._out.answer_text(text, logprobs, events, index)
        self._out.text(RefusalDelta, _text(delta.get("refusal")), events, index)
        entries = delta.get("tool_calls")
        if entries and isinstance(entries, Mapping):
            entries = [entries]
        if (function := delta.get("function_call")) and isinstance(function, Mapping):  # before there were tools
            entries = [{"index": 0, "function": function}]
        check_entries(entries, "tool calls")
        for entry in entries if isinstance(entries, list) else ():
            if entry and isinstance(entry, Mapping):
                self._tool_call(entry, index, events)

    def _tool_call(self, entry: Mapping[str, Any], index: int, events: list[LLMEvent]) -> None:
        calls = self._calls.get(index)
        if calls is None:
            calls = self._calls[index] = ToolCallAssembler(self._out.stream_id[-8:].lower())
            self.finish_reasons.saw_tool_call(index)
        try:
            part = calls.add(entry)
        except MalformedCallError as exc:
            self.failure = failures.malformed(f"a tool call {exc}")
            return
        if part is not None:
            self._out.tool_call(part, events, index)

    def _report(self, usage: Any) -> None:
        counts = parse_usage(usage)
        if counts is not None:
            self.usage, self.usage_report = counts, usage

    def _end_choice(self, index: int, reason: str | None) -> None:
        self.finish_reasons.saw(index)
        if reason == "error":
            self.failure = failures.from_payload({"message": "The endpoint broke its answer off."})
        elif reason:
            self.finish_reasons.ended(index, reason)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _parts(content: list[Any]) -> tuple[str, str]:
    """Thinking and text of a content that is a list of parts (Mistral)."""
    thinking: list[str] = []
    text: list[str] = []
    for part in content:
        match part:
            case {"type": "thinking", "thinking": list(inner)}:
                check_entries(inner, "parts")
                thinking.extend(map(_part_text, inner))
            case {"type": "thinking", "thinking": inner}:
                thinking.append(_text(inner))
            case _:
                text.append(_part_text(part))
    return "".join(thinking), "".join(text)


def _part_text(part: Any) -> str:
    return _text(part.get("text") if isinstance(part, Mapping) else part)
