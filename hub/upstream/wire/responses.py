"""Responses API bodies to events. Pure: feed it what a read gave, it gives the events they make.

The decoder takes the whole body, whatever it turns out to be: a stream of `response.*` events, one whole response,
an error object, a web page. It emits `meta` and the deltas; the end of the stream is its caller's.
Events: https://platform.openai.com/docs/api-reference/responses-streaming (read 2026-11-21); those of tools that
the endpoint runs itself, and any that are unknown, are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from hub.errors import EndpointError, endpoint_error
from hub.events import LLMEvent, ReasoningDelta, RefusalDelta, TextDelta
from hub.models.usage import parse_usage, reported_service_tier
from hub.result import TokenUsage
from hub.upstream import failures
from hub.upstream.wire.body import BodyDecoder
from hub.upstream.wire.emitter import Emitter
from hub.upstream.wire.finish import FinishReasons
from hub.upstream.wire.logprobs import parse_logprobs
from hub.upstream.wire.output_items import OutputItem, OutputItems, Said
from hub.upstream.wire.payload import check_entries, frame_value, no_answer, not_an_answer, whole_value
from hub.upstream.wire.response_calls import CALL_TYPES, ResponseCalls
from hub.upstream.wire.sse import Frame
from hub.upstream.wire.tool_calls import MalformedCallError, ToolCallPart

__all__ = ("ResponsesDecoder",)

T = TypeVar("T")


class _Part(NamedTuple):
    """Where a kind of text stands: in items of which type, as parts of which type, whole under which key."""

    item: str
    type: str
    key: str


_PARTS = {
    "response.output_text": _Part("message", "output_text", "text"),
    "response.refusal": _Part("message", "refusal", "refusal"),
    "response.reasoning_summary_text": _Part("reasoning", "summary_text", "text"),
    "response.reasoning_text": _Part("reasoning", "reasoning_text", "text"),
    "response.function_call_arguments": _Part("function_call", "arguments", "arguments"),
    "response.custom_tool_call_input": _Part("custom_tool_call", "input", "input"),
}
_DELTA_OF_TYPE: dict[str, type[TextDelta | ReasoningDelta | RefusalDelta]] = {
    "output_text": TextDelta,
    "refusal": RefusalDelta,
    "summary_text": ReasoningDelta,
    "reasoning_text": ReasoningDelta,
}
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
MANY_PIECES = 10_000
"""So many pieces of a text weigh much more than the text: it is put together."""

_ENDS = ("completed", "incomplete", "failed", "cancelled")


class _LeanTextDelta(msgspec.Struct, tag_field="type", tag="response.output_text.delta", gc=False):
    """The event that nearly all are, as little of it as is needed."""

    delta: str
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    logprobs: Any = None


_decode_lean = msgspec.json.Decoder(_LeanTextDelta).decode


class ResponsesDecoder:
    """Decodes one response to one Responses request.

    Every part of a summary of the reasoning after the first begins with a blank line. A reasoning item itself goes
    out only where it is sealed (`encrypted_content`) and a tool call follows it, in that call's `extra`: there it
    has to be sent back. See `ResponseCalls`.

    Args:
        stream_id: Goes into every event.
        first_seq: The first event's position.
        model: The model asked for; `meta` names the one the endpoint reports, if it does before the first content.
        attempt: From 1.
        step: From 0.
        identifier: The caller's own name for the request.
        expected_choices: How many answers were asked for; an endpoint gives one.
        allows_missing_finish_reason: A body that just ends, after some content, is whole.

    Attributes:
        usage: What the endpoint reported last; None so far.
        usage_report: The same as it came, for what only prices need.
        service_tier: The tier the endpoint says it answers in; None so far.
        failure: Why the answer is broken; nothing is decoded after it.
        ended: The event that ends an answer has come.
        finish_reasons: Why the answer ended.
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
        self._items = OutputItems()
        self._calls = ResponseCalls(stream_id[-8:].lower())
        self._has_reasoned = False
        self._text_place: tuple[str | None, int | None, int | None] | None = None
        self._text_said = Said()

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
                self._guarded(self._whole, frames[0].data, events)
            else:
                events = self._decode_rest(frames)
        if self.failure is None:
            for part in self._calls.flush():
                self._out.tool_call(part, events)
            self._check_whole()
        return events

    @property
    def is_finished(self) -> bool:
        """The answer is whole; a lost connection takes nothing away any more."""
        return self.ended

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
        elif not (self.ended or self._allows_missing_finish_reason):
            self.failure = failures.truncated("no event that ends the response")

    def _decode_rest(self, frames: list[Frame]) -> list[LLMEvent]:
        """What stands after the last blank line: a whole event, or the beginning of one that was cut off."""
        events = self._decode(frames)
        if self.failure is not None and self.failure.code == "malformed":
            self.failure = failures.truncated("in the middle of an event")
        return events

    def _decode(self, frames: list[Frame]) -> list[LLMEvent]:
        """The events of these frames, up to a failure or the end.

        The lean way is for a further delta of the text that came last; all others take the other, which agrees.
        """
        events: list[LLMEvent] = []
        append = events.append
        out = self._out
        stream_id = out.stream_id
        said = self._text_said.pieces
        for frame in frames:
            if (place := self._text_place) is not None and frame.event != "error":
                try:
                    lean = _decode_lean(frame.data)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    pass
                else:
                    if (lean.item_id, lean.output_index, lean.content_index) == place and not lean.logprobs:
                        if text := lean.delta:
                            append(TextDelta(stream_id=stream_id, seq=out.next_seq, text=text))
                            out.next_seq += 1
                            out.output_chars += len(text)
                            said.append(text)
                        continue
            self._guarded(self._frame, frame, events)
            if self.failure is not None or self.ended:
                break
            said = self._text_said.pieces
        if len(said) > MANY_PIECES:
            str(self._text_said)
        return events

    def _guarded(self, take: Callable[[T, list[LLMEvent]], None], what: T, events: list[LLMEvent]) -> None:
        try:
            take(what, events)
        except EndpointError as exc:
            self.failure = exc
        except MalformedCallError as exc:
            self.failure = failures.malformed(f"a tool call {exc}")

    def _frame(self, frame: Frame, events: list[LLMEvent]) -> None:
        """Take one frame in, of any shape."""
        data = frame.data.strip()
        if not data or data == b"[DONE]":
            return
        event = frame_value(frame)
        type_ = _text(event.get("type")) or frame.event
        is_named = type_.startswith("response.")
        if type_ == "error" or (not is_named and (event.get("error") or event.get("object") == "error")):
            raise failures.from_payload(event)
        stem, _, verb = type_.rpartition(".")
        if (part := _PARTS.get(stem)) is not None:
            self._part(part, verb, event, events)
        elif stem == "response.output_item":
            self._item(_mapping(event.get("item")), verb, _index(event.get("output_index")), events)
        elif stem == "response":
            response = _mapping(event.get("response"))
            self._identify(response)
            if verb in _ENDS:
                self._end(verb, response, events)

    def _whole(self, body: bytes, events: list[LLMEvent]) -> None:
        """One value instead of a stream: a whole response, where the endpoint ignores `stream`, or an error."""
        response = whole_value(body)
        if not isinstance(response, Mapping) or not isinstance(response.get("output"), list):
            raise not_an_answer(response)
        status = response.get("status")
        if response.get("object") != "response" and status not in _ENDS:
            raise not_an_answer(response)
        if status in ("queued", "in_progress"):
            raise failures.not_a_stream(f"a response that is still {str(status).replace('_', ' ')}")
        self._identify(response)
        self._end("completed", response, events)

    def _part(self, part: _Part, verb: str, event: Mapping[str, Any], events: list[LLMEvent]) -> None:
        """Take a delta of a text in, or, where it has come whole, what its deltas left out."""
        text = _text(event.get("delta" if verb == "delta" else part.key))
        if not text or verb not in ("delta", "done"):
            return
        ids, index = _ids(event.get("item_id")), _index(event.get("output_index"))
        item = self._items.find(part.item, ids, index)
        number = _index(event.get("content_index")) or _index(event.get("summary_index")) or 0
        said = item.said(part.type, number)
        if verb == "delta":
            self._say(item, part, said, text, events, parse_logprobs(event.get("logprobs")))
        else:
            self._say(item, part, said, said.unsaid(text), events)
        if verb == "delta" and part.type == "output_text":
            self._text_place = (event.get("item_id"), event.get("output_index"), event.get("content_index"))
            self._text_said = said

    def _say(
        self,
        item: OutputItem,
        part: _Part,
        said: Said,
        text: str,
        events: list[LLMEvent],
        logprobs: list[dict[str, Any]] | None = None,
    ) -> None:
        if not text:
            return
        self.finish_reasons.saw(0)
        if item.type in CALL_TYPES:
            self.finish_reasons.saw_tool_call(0)
            self._tell(self._calls.arguments(item, text), events)
        else:
            delta = _DELTA_OF_TYPE[part.type]
            is_further = delta is ReasoningDelta and self._has_reasoned and not said
            self._has_reasoned |= delta is ReasoningDelta
            if delta is TextDelta:
                self._out.answer_text(text, logprobs, events)
            else:
                self._out.text(delta, f"\n\n{text}" if is_further else text, events)
        said.pieces.append(text)

    def _item(self, value: Mapping[str, Any], verb: str, index: int | None, events: list[LLMEvent]) -> None:
        type_ = _text(value.get("type"))
        ids = _ids(value.get("id"), value.get("call_id"))
        if verb == "added":
            self._text_place = None  # the same numbers may mean this item from here on
            item = self._items.add(type_, ids, index)
            self._begin_item(item, value, events)
        elif verb == "done" and not (item := self._items.find(type_, ids, index)).is_done:
            self._complete(item, value, events)

    def _begin_item(self, item: OutputItem, value: Mapping[str, Any], events: list[LLMEvent]) -> None:
        if item.type in CALL_TYPES:
            self.finish_reasons.saw(0)
            self.finish_reasons.saw_tool_call(0)
            self._tell(self._calls.begin(item, value), events)
        elif item.type == "message":
            self._calls.saw_message()

    def _complete(self, item: OutputItem, value: Mapping[str, Any], events: list[LLMEvent]) -> None:
        """Say what a whole item has that its deltas left out."""
        self._begin_item(item, value, events)
        for part in _PARTS.values():
            if part.item == item.type:
                for number, text in item.rest(part.type, _texts(value, part)):
                    said = item.said(part.type, number)
                    self._say(item, part, said, text, events, None if said else _logprobs(value, number))
        if item.type == "reasoning" and not item.is_done:
            self._calls.saw_reasoning(value)
        item.is_done = True

    def _end(self, verb: str, response: Mapping[str, Any], events: list[LLMEvent]) -> None:
        """Take the last event in; its status tells more than its name."""
        self.usage_report = _mapping(response.get("usage"))
        self.usage = parse_usage(self.usage_report)
        self.service_tier = reported_service_tier(response)
        status = response.get("status")
        if status not in _ENDS:
            status = verb
        if status == "failed":
            error = response.get("error") or {"message": "The endpoint broke its answer off."}
            raise failures.from_payload({"error": error})
        if status == "cancelled":
            raise endpoint_error("The answer was cancelled at the endpoint.", code="endpoint_error")
        output = response.get("output")
        check_entries(output, "items")
        values = [each for each in output if isinstance(each, Mapping)] if isinstance(output, list) else []
        outline = [(_text(value.get("type")), _ids(value.get("id"), value.get("call_id"))) for value in values]
        for item, value in zip(self._items.matched(outline), values, strict=True):
            self._complete(item, value, events)
        reason = "tool_calls" if self._calls else "stop"
        if status == "incomplete":
            raw = _text(_mapping(response.get("incomplete_details")).get("reason")) or "incomplete"
            reason = _INCOMPLETE.get(raw, raw)
        self.finish_reasons.saw(0)
        self.finish_reasons.ended(0, reason)
        self._out.begin(events)
        self.ended = True

    def _identify(self, response: Mapping[str, Any]) -> None:
        self._out.identify(
            model=response.get("model"), response_id=response.get("id"), created=response.get("created_at")
        )

    def _tell(self, part: ToolCallPart | None, events: list[LLMEvent]) -> None:
        if part is not None:
            self._out.tool_call(part, events)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _index(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _ids(*values: Any) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str) and value)


def _logprobs(value: Mapping[str, Any], number: int) -> list[dict[str, Any]] | None:
    content = value.get("content")
    part = content[number] if isinstance(content, list) and number < len(content) else None
    return parse_logprobs(_mapping(part).get("logprobs"))


def _texts(value: Mapping[str, Any], part: _Part) -> list[str]:
    """The texts of a whole item's parts of that type."""
    if part.item in CALL_TYPES:
        return [_text(value.get(part.key))]
    parts = value.get("summary" if part.type == "summary_text" else "content")
    check_entries(parts, "parts")
    found = [each for each in parts if isinstance(each, Mapping)] if isinstance(parts, list) else []
    return [_text(each.get(part.key)) for each in found if each.get("type") == part.type]
