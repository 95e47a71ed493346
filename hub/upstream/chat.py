"""Chat Completions bodies to events. Pure: feed it what a read gave, it gives the events they make.

The decoder takes the whole body, whatever it turns out to be: a stream of chunks, one whole answer, an error
object, a web page. It emits `meta` and the deltas; the end of the stream is its caller's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from hub.errors import EndpointError
from hub.events import LLMEvent, Meta, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta
from hub.result import FinishReason, TokenUsage
from hub.upstream import failures
from hub.upstream.sse import Frame, FrameTooLongError, SSEDecoder
from hub.upstream.tool_calls import ToolCallAssembler, ToolCallPart
from hub.upstream.usage import parse_chat_usage

__all__ = ("ChatDecoder",)

MAX_WHOLE_BODY_BYTES = 64 * 1024 * 1024
MAX_BLANK_BYTES = 65_536

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
}


class _LeanDelta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _LeanChoice(msgspec.Struct, gc=False):
    delta: _LeanDelta
    index: int = 0
    finish_reason: str | None = None


class _LeanChunk(msgspec.Struct, gc=False):
    choices: list[_LeanChoice]
    usage: dict[str, Any] | None = None
    error: Any = None


_decode_lean = msgspec.json.Decoder(_LeanChunk).decode


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

    Attributes:
        next_seq: The position of the next event.
        usage: What the endpoint reported last; None so far.
        failure: Why the answer is broken; nothing is decoded after it.
        ended: `[DONE]` has come, or the whole answer was one object.
        has_begun: `meta` has gone out, and with it content.
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
    ) -> None:
        self.stream_id = stream_id
        self.next_seq = first_seq
        self.usage: TokenUsage | None = None
        self.failure: EndpointError | None = None
        self.ended = False
        self.has_begun = False
        self.output_chars = 0
        self.output_deltas = 0
        self._sse = SSEDecoder()
        self._model = model
        self._reported_model: str | None = None
        self._response_id: str | None = None
        self._created: int | None = None
        self._attempt = attempt
        self._step = step
        self._identifier = identifier
        self._expected_choices = expected_choices
        self._calls: dict[int, ToolCallAssembler] = {}
        self._choices: set[int] = set()
        self._finish: dict[int, str] = {}
        self._whole_body: bytearray | None = None
        self._is_stream = False
        self._head = b""

    def feed(self, data: bytes) -> list[LLMEvent]:
        """The events of the next bytes; none after a failure or the end."""
        if self.failure is not None or self.ended:
            return []
        if not self._is_stream:
            data = self._recognise(data)
            if not data:
                return []
        try:
            frames = self._sse.feed(data)
        except FrameTooLongError as exc:
            self.failure = failures.malformed(str(exc))
            return []
        return self._decode(frames) if frames else []

    def finish(self) -> list[LLMEvent]:
        """The events that the end of the body completes. Sets `failure` where it is no whole answer."""
        if self.failure is not None:
            return []
        events: list[LLMEvent] = []
        if self._whole_body is not None:
            self._decode_whole(bytes(self._whole_body), events)
            return events
        if not self.ended:
            events = self._decode_rest()
        for choice, calls in self._calls.items():
            for part in calls.flush():
                self._emit_call(part, choice, events)
        return events

    def check_whole(self, *, allows_missing_finish_reason: bool = False) -> None:
        """Sets `failure` to `truncated` where the body has ended without finish reason and without `[DONE]`."""
        if self.failure is not None or self.ended or (self._choices and self._choices <= self._finish.keys()):
            return
        if self._choices and allows_missing_finish_reason:
            return
        detail = "no finish reason and no [DONE]" if self._choices else "the body has no chunk of an answer"
        self.failure = failures.truncated(detail)

    @property
    def is_finished(self) -> bool:
        """Every choice asked for has its finish reason; a lost connection takes nothing away any more."""
        return self.ended or (len(self._finish) >= self._expected_choices and self._choices <= self._finish.keys())

    def open(self) -> list[LLMEvent]:
        """`meta`, where it hasn't gone out yet: for an answer without any content, or a final failure."""
        events: list[LLMEvent] = []
        if not self.has_begun:
            self._begin(events)
        return events

    def finish_reason(self, choice: int = 0) -> FinishReason | None:
        """Why a choice ended; `tool_calls` wherever it made any and wasn't cut off; None where it has not ended."""
        raw = self._finish.get(choice)
        reason: FinishReason | None = None if raw is None else _FINISH_REASONS.get(raw.lower(), "other")
        if reason is None and self.ended:
            reason = "other"
        if self._calls.get(choice) and reason in (None, "stop", "other"):
            return "tool_calls"
        return reason

    def finish_reasons(self) -> tuple[FinishReason | None, ...] | None:
        """Each choice's, where there are several."""
        count = max(self._choices, default=0) + 1
        return tuple(map(self.finish_reason, range(count))) if count > 1 else None

    def raw_finish_reason(self) -> str | None:
        """The first choice's finish reason as the endpoint wrote it, where ours is another word."""
        raw = self._finish.get(0)
        return raw if raw and raw != self.finish_reason() else None

    def _recognise(self, data: bytes) -> bytes:
        """Tell a stream from one JSON object or a page by the first character, which no content type misstates."""
        if self._whole_body is not None:
            self._whole_body += data
            if len(self._whole_body) > MAX_WHOLE_BODY_BYTES:
                self.failure = failures.not_a_stream(f"more than {MAX_WHOLE_BODY_BYTES} bytes in one piece")
            return b""
        self._head += data
        data = self._head
        start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if not start:  # blank so far, as DeepSeek sends while it queues
            self._head = data[-MAX_BLANK_BYTES:]
            return b""
        self._head = b""
        if start in (b"{", b"[", b"<", b'"'):
            self._whole_body = bytearray(data)
            return b""
        self._is_stream = True
        return data

    def _decode_whole(self, body: bytes, events: list[LLMEvent]) -> None:
        text = body.decode("utf-8", "replace").strip("\ufeff \t\r\n")
        try:
            answer = _json(text.encode())
        except ValueError:
            kind = "a web page" if text.startswith("<") else "something that is no JSON"
            self.failure = failures.not_a_stream(kind)
            return
        if not isinstance(answer, Mapping) or not isinstance(answer.get("choices"), list):
            is_error = isinstance(answer, Mapping) and (
                "error" in answer or answer.get("object") == "error" or "detail" in answer
            )
            self.failure = (
                failures.from_payload(answer) if is_error else failures.not_a_stream("JSON that is no answer")
            )
            return
        self._chunk(answer, events)
        if self.failure is None:
            self.ended = True

    def _decode_rest(self) -> list[LLMEvent]:
        """What stands after the last blank line: a whole chunk, or the beginning of one that was cut off."""
        events = self._decode(self._sse.flush())
        if self.failure is not None and self.failure.code == "malformed":
            self.failure = failures.truncated("in the middle of a chunk")
        return events

    def _decode(self, frames: list[Frame]) -> list[LLMEvent]:
        events: list[LLMEvent] = []
        append = events.append
        stream_id = self.stream_id
        chars = 0
        for frame in frames:
            data = frame.data
            if self.has_begun and not frame.event:
                # The lean way, for the chunk that nearly all are. Whatever it can't hold takes the other.
                try:
                    chunk = _decode_lean(data)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    pass
                else:
                    if chunk.error is None and len(chunk.choices) == 1:
                        choice = chunk.choices[0]
                        delta = choice.delta
                        if not (delta.tool_calls or delta.function_call or delta.refusal):
                            index = choice.index
                            if text := delta.reasoning or delta.reasoning_content:
                                append(ReasoningDelta(stream_id=stream_id, seq=self.next_seq, text=text, choice=index))
                                self.next_seq += 1
                                chars += len(text)
                            if text := delta.content:
                                append(TextDelta(stream_id=stream_id, seq=self.next_seq, text=text, choice=index))
                                self.next_seq += 1
                                chars += len(text)
                            if index:
                                self._choices.add(index)
                            if choice.finish_reason:
                                self._finished(index, choice.finish_reason)
                            if chunk.usage is not None:
                                self.usage = parse_chat_usage(chunk.usage) or self.usage
                            if self.failure is None:
                                continue
                            break
            self._frame(frame, events)
            if self.failure is not None or self.ended:
                break
        self.output_chars += chars
        self.output_deltas += len(events)
        return events

    def _frame(self, frame: Frame, events: list[LLMEvent]) -> None:
        data = frame.data.strip()
        if not data:
            return
        if data == b"[DONE]":
            self.ended = True
            return
        try:
            chunk = _json(data)
        except ValueError:
            # A name of an error tells more than that its body is no JSON.
            self.failure = (
                failures.from_payload(data.decode("utf-8", "replace"))
                if frame.event == "error"
                else failures.malformed("a chunk that is no JSON")
            )
            return
        if frame.event == "error" or not isinstance(chunk, Mapping):
            self.failure = (
                failures.from_payload(chunk) if frame.event == "error" else failures.malformed("a chunk is no object")
            )
            return
        self._chunk(chunk, events)

    def _chunk(self, chunk: Mapping[str, Any], events: list[LLMEvent]) -> None:
        """Take one chunk in, or one whole answer, of any shape."""
        error = chunk.get("error")
        if chunk.get("object") == "error":
            error = chunk
        if not self.has_begun:
            self._reported_model = self._reported_model or _text(chunk.get("model")) or None
            self._response_id = self._response_id or _text(chunk.get("id")) or None
            created = chunk.get("created")
            self._created = self._created or (created if isinstance(created, int) else None)
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping):
                self._choice(choice, events, failed=error is not None)
        self.usage = parse_chat_usage(chunk.get("usage")) or self.usage
        if error is not None:
            self.failure = failures.from_payload({"error": error} if error is not chunk else chunk)

    def _choice(self, choice: Mapping[str, Any], events: list[LLMEvent], *, failed: bool) -> None:
        number = choice.get("index")
        index = number if isinstance(number, int) and number >= 0 else 0
        self._choices.add(index)
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message")
        if isinstance(delta, Mapping):
            self._delta(delta, index, events)
        elif isinstance(text := choice.get("text"), str):
            self._emit_text(TextDelta, text, index, events)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason and not failed:
            self._finished(index, reason)
            if self.failure is None and not self.has_begun:
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
        if isinstance(function := delta.get("function_call"), Mapping):
            entries = [{"index": 0, "function": function}]
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping):
                calls = self._calls.get(index)
                if calls is None:
                    calls = self._calls[index] = ToolCallAssembler(self.stream_id[-8:].lower())
                if (part := calls.add(entry)) is not None:
                    self._emit_call(part, index, events)

    def _emit_text(
        self, kind: type[TextDelta | ReasoningDelta | RefusalDelta], text: str, choice: int, events: list[LLMEvent]
    ) -> None:
        if not text:
            return
        if not self.has_begun:
            self._begin(events)
        text = _whole_characters(text)
        events.append(kind(stream_id=self.stream_id, seq=self.next_seq, text=text, choice=choice))
        self.next_seq += 1
        self.output_chars += len(text)

    def _emit_call(self, part: ToolCallPart, choice: int, events: list[LLMEvent]) -> None:
        if not self.has_begun:
            self._begin(events)
        events.append(
            ToolCallDelta(
                stream_id=self.stream_id,
                seq=self.next_seq,
                index=part.index,
                id=part.id,
                name=part.name,
                arguments=_whole_characters(part.arguments),
                choice=choice,
                extra=part.extra,
            )
        )
        self.next_seq += 1
        self.output_chars += len(part.arguments)

    def _begin(self, events: list[LLMEvent]) -> None:
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

    def _finished(self, index: int, reason: str) -> None:
        if reason == "error":
            self.failure = failures.from_payload({"error": {"message": "The endpoint broke its answer off."}})
            return
        self._finish[index] = reason


def _json(data: bytes) -> Any:
    """Any JSON, and what endpoints take for it: half surrogate pairs, NaN.

    Raises:
        ValueError: It is no JSON, or nested beyond reason.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(data)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _parts(content: list[Any]) -> tuple[str, str]:
    """Thinking and text of a content that is a list of parts (Mistral)."""
    thinking: list[str] = []
    text: list[str] = []
    for part in content:
        match part:
            case str():
                text.append(part)
            case {"type": "thinking", "thinking": list(inner)}:
                thinking.extend(_parts(inner))
            case {"type": "thinking", "thinking": str(inner)}:
                thinking.append(inner)
            case {"text": str(inner)}:
                text.append(inner)
    return "".join(thinking), "".join(text)


def _whole_characters(text: str) -> str:
    """The text with half surrogate pairs, which JSON may hold and UTF-8 may not, replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
