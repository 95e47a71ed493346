"""Chat Completions bodies to events. Pure: feed it what a read gave, it gives the events they make.

The decoder takes the whole body, whatever it turns out to be: a stream of chunks, one whole answer, an error
object, a web page. It emits `meta` and the deltas; the end of the stream is its caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hub.errors import EndpointError
from hub.events import Delta, LLMEvent, Meta, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta
from hub.result import TokenUsage
from hub.upstream import failures
from hub.upstream.body import BodyDecoder
from hub.upstream.finish import FinishReasons
from hub.upstream.lean import MAX_CHOICES, decode_lean
from hub.upstream.loose_json import decode_json
from hub.upstream.sse import Frame
from hub.upstream.tool_calls import MalformedCallError, ToolCallAssembler, ToolCallPart
from hub.upstream.usage import MAX_COUNT, parse_chat_usage

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
        next_seq: The position of the next event.
        usage: What the endpoint reported last; None so far.
        failure: Why the answer is broken; nothing is decoded after it.
        ended: `[DONE]` has come.
        has_begun: `meta` has gone out, and with it content.
        output_chars: Characters of content so far.
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
        self.stream_id = stream_id
        self.next_seq = first_seq
        self._first_seq = first_seq
        self.usage: TokenUsage | None = None
        self.failure: EndpointError | None = None
        self.ended = False
        self.has_begun = False
        self.output_chars = 0
        self.finish_reasons = FinishReasons(expected_choices)
        self._body = BodyDecoder()
        self._model = model
        self._reported_model: str | None = None
        self._response_id: str | None = None
        self._created: int | None = None
        self._attempt = attempt
        self._step = step
        self._identifier = identifier
        self._allows_missing_finish_reason = allows_missing_finish_reason
        self._calls: dict[int, ToolCallAssembler] = {}

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
                    self._emit_call(part, choice, events)
            self._check_whole()
        return events

    @property
    def is_finished(self) -> bool:
        """Every choice asked for has its finish reason; a lost connection takes nothing away any more."""
        return (self.ended and len(self.finish_reasons) > 0) or self.finish_reasons.is_all

    @property
    def output_deltas(self) -> int:
        """Pieces of content so far."""
        return self.next_seq - self._first_seq - self.has_begun

    def open(self) -> list[LLMEvent]:
        """`meta`, where it hasn't gone out yet: for an answer without any content, or a final failure."""
        events: list[LLMEvent] = []
        if not self.has_begun:
            self._begin(events)
        return events

    def _check_whole(self) -> None:
        if not self.finish_reasons:
            if self._body.is_empty:
                self.failure = failures.truncated("the body is empty")
            elif self._body.is_whole or self._body.looks_like_a_stream():
                self.failure = failures.truncated("the body has no chunk of an answer")
            else:
                self.failure = failures.not_a_stream("text without any event")
        elif not (self.ended or self.finish_reasons.is_complete or self._allows_missing_finish_reason):
            self.failure = failures.truncated("no finish reason and no [DONE]")

    def _decode_whole(self, body: bytes, events: list[LLMEvent]) -> None:
        """One value instead of a stream: a whole answer, where the endpoint ignores `stream`, or an error."""
        try:
            answer = decode_json(body.strip())
        except ValueError:
            kind = "a web page" if body.startswith(b"<") else "something that is no JSON"
            self.failure = failures.not_a_stream(kind)
            return
        inner = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
        if isinstance(inner, Mapping) and isinstance(inner.get("choices"), list) and inner["choices"]:
            self._chunk(inner, events)
            self.ended = self.failure is None
        elif isinstance(inner, Mapping) and (inner.keys() & {"error", "detail"} or inner.get("object") == "error"):
            self.failure = failures.from_payload(inner)
        else:
            self.failure = failures.not_a_stream("JSON that is no answer")

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
        stream_id = self.stream_id
        seq = self.next_seq
        chars = 0
        last_index = -1
        for frame in frames:
            if self.has_begun and not frame.event:
                try:
                    chunk = decode_lean(frame.data)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    pass
                else:
                    if not chunk.error and len(chunk.choices) == 1:
                        choice = chunk.choices[0]
                        delta = choice.delta
                        if not (delta.tool_calls or delta.function_call or delta.refusal):
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
                                last_index = index
                            if chunk.usage is not None:
                                self.usage = parse_chat_usage(chunk.usage) or self.usage
                            if self.failure is None:
                                continue
                            break
            self.next_seq = seq
            self._frame(frame, events)
            seq = self.next_seq
            if self.failure is not None or self.ended:
                break
        self.next_seq = seq
        self.output_chars += chars
        return events

    def _frame(self, frame: Frame, events: list[LLMEvent]) -> None:
        """Take one frame in, of any shape."""
        data = frame.data.strip()
        if not data:
            return
        if data == b"[DONE]":
            self.ended = True
            return
        is_error = frame.event == "error"
        try:
            chunk = decode_json(data)
        except ValueError:
            # A name of an error tells more than that its body is no JSON.
            text = data.decode("utf-8", "replace")
            self.failure = failures.from_payload(text) if is_error else failures.malformed("a chunk that is no JSON")
            return
        if is_error:
            self.failure = failures.from_payload(chunk)
        elif isinstance(chunk, Mapping):
            self._chunk(chunk, events)
        else:
            self.failure = failures.malformed("a chunk is no object")

    def _chunk(self, chunk: Mapping[str, Any], events: list[LLMEvent]) -> None:
        """Take one chunk in, or one whole answer, of any shape."""
        is_error = chunk.get("object") == "error" or bool(chunk.get("error"))
        if not self.has_begun:
            self._reported_model = self._reported_model or _text(chunk.get("model")) or None
            self._response_id = self._response_id or _text(chunk.get("id")) or None
            self._created = self._created or _instant(chunk.get("created"))
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and self.failure is None:
                self._choice(choice, events, is_error=is_error)
        self.usage = parse_chat_usage(chunk.get("usage")) or self.usage
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
            self._delta(delta, int(index), events)
        else:
            self._emit_text(TextDelta, _text(choice.get("text")), int(index), events)
        reason = None if is_error else choice.get("finish_reason")
        self._end_choice(int(index), reason if isinstance(reason, str) else None)
        if self.finish_reasons.is_complete and self.failure is None and not self.has_begun:
            self._begin(events)

    def _delta(self, delta: Mapping[str, Any], index: int, events: list[LLMEvent]) -> None:
        content = delta.get("content")
        thinking, text = _parts(content) if isinstance(content, list) else ("", _text(content))
        reasoning = _text(delta.get("reasoning")) or _text(delta.get("reasoning_content")) or thinking
        self._emit_text(ReasoningDelta, reasoning, index, events)
        self._emit_text(TextDelta, text, index, events)
        self._emit_text(RefusalDelta, _text(delta.get("refusal")), index, events)
        entries = delta.get("tool_calls")
        if isinstance(entries, Mapping):
            entries = [entries]
        if (function := delta.get("function_call")) and isinstance(function, Mapping):  # before there were tools
            entries = [{"index": 0, "function": function}]
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping):
                self._tool_call(entry, index, events)

    def _tool_call(self, entry: Mapping[str, Any], index: int, events: list[LLMEvent]) -> None:
        calls = self._calls.get(index)
        if calls is None:
            calls = self._calls[index] = ToolCallAssembler(self.stream_id[-8:].lower())
            self.finish_reasons.saw_tool_call(index)
        try:
            part = calls.add(entry)
        except MalformedCallError as exc:
            self.failure = failures.malformed(f"a tool call {exc}")
            return
        if part is not None:
            self._emit_call(part, index, events)

    def _emit_text(
        self, kind: type[TextDelta | ReasoningDelta | RefusalDelta], text: str, choice: int, events: list[LLMEvent]
    ) -> None:
        if text:
            self._begin(events)
            self._emit(kind(stream_id=self.stream_id, seq=self.next_seq, text=text, choice=choice), len(text), events)

    def _emit_call(self, part: ToolCallPart, choice: int, events: list[LLMEvent]) -> None:
        self._begin(events)
        delta = ToolCallDelta(
            stream_id=self.stream_id,
            seq=self.next_seq,
            index=part.index,
            id=part.id,
            name=part.name,
            arguments=part.arguments,
            choice=choice,
            extra=part.extra,
        )
        self._emit(delta, len(part.arguments), events)

    def _emit(self, delta: Delta, chars: int, events: list[LLMEvent]) -> None:
        events.append(delta)
        self.next_seq += 1
        self.output_chars += chars

    def _begin(self, events: list[LLMEvent]) -> None:
        """Before the first content goes `meta`."""
        if self.has_begun:
            return
        self.has_begun = True
        events.append(
            Meta(
                stream_id=self.stream_id,
                seq=self.next_seq,
                model=self._reported_model or self._model,
                attempt=self._attempt,
                step=self._step,
                response_id=self._response_id,
                created=self._created,
                cached=False,
                identifier=self._identifier,
            )
        )
        self.next_seq += 1

    def _end_choice(self, index: int, reason: str | None) -> None:
        self.finish_reasons.saw(index)
        if reason == "error":
            self.failure = failures.from_payload({"message": "The endpoint broke its answer off."})
        elif reason:
            self.finish_reasons.ended(index, reason)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _instant(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 < value < MAX_COUNT else None


def _parts(content: list[Any]) -> tuple[str, str]:
    """Thinking and text of a content that is a list of parts (Mistral)."""
    thinking: list[str] = []
    text: list[str] = []
    for part in content:
        match part:
            case {"type": "thinking", "thinking": list(inner)}:
                thinking.extend(map(_part_text, inner))
            case {"type": "thinking", "thinking": inner}:
                thinking.append(_text(inner))
            case _:
                text.append(_part_text(part))
    return "".join(thinking), "".join(text)


def _part_text(part: Any) -> str:
    return _text(part.get("text") if isinstance(part, Mapping) else part)
