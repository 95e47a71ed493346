"""The events of an answer in their order: `meta` before the first content, then deltas, numbered. Pure.

What a decoder of any wire format has in common with the others: it finds the content, this makes events of it.
"""

from __future__ import annotations

from typing import Any

from hub.events import Delta, LLMEvent, Meta, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta
from hub.models.usage import MAX_COUNT
from hub.upstream.wire.tool_calls import ToolCallPart

__all__ = ("Emitter",)


class Emitter:
    """Makes the events of one response.

    Args:
        stream_id: Goes into every event.
        first_seq: The first event's position.
        model: The model asked for; `meta` names the one the endpoint reports, if it does before the first content.
        attempt: From 1.
        step: From 0.
        identifier: The caller's own name for the request.

    Attributes:
        next_seq: The position of the next event.
        has_begun: `meta` has gone out.
        output_chars: Characters of content so far.
    """

    __slots__ = (
        "_attempt",
        "_created",
        "_first_seq",
        "_identifier",
        "_model",
        "_reported_model",
        "_response_id",
        "_step",
        "has_begun",
        "next_seq",
        "output_chars",
        "stream_id",
    )

    def __init__(
        self, *, stream_id: str, first_seq: int, model: str | None, attempt: int, step: int, identifier: str | None
    ) -> None:
        self.stream_id = stream_id
        self.next_seq = first_seq
        self.has_begun = False
        self.output_chars = 0
        self._first_seq = first_seq
        self._model = model
        self._attempt = attempt
        self._step = step
        self._identifier = identifier
        self._reported_model: str | None = None
        self._response_id: str | None = None
        self._created: int | None = None

    @property
    def output_deltas(self) -> int:
        """Pieces of content so far."""
        return self.next_seq - self._first_seq - self.has_begun

    def identify(self, *, model: Any, response_id: Any, created: Any) -> None:
        """Take what the endpoint says of itself, as it came; the first of each that is no blank is kept.

        Does nothing once `meta` has gone out.
        """
        if self.has_begun:
            return
        self._reported_model = self._reported_model or _name(model)
        self._response_id = self._response_id or _name(response_id)
        self._created = self._created or _instant(created)

    def begin(self, events: list[LLMEvent]) -> None:
        """Append `meta`, where it hasn't gone out yet."""
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

    def text(
        self, kind: type[TextDelta | ReasoningDelta | RefusalDelta], text: str, events: list[LLMEvent], choice: int = 0
    ) -> None:
        """Append a delta of that kind; an empty text is none."""
        if text:
            self.begin(events)
            self._emit(kind(stream_id=self.stream_id, seq=self.next_seq, text=text, choice=choice), len(text), events)

    def answer_text(
        self, text: str, logprobs: list[dict[str, Any]] | None, events: list[LLMEvent], choice: int = 0
    ) -> None:
        """Append a part of the answer's text with its tokens; tokens without any text are told as well."""
        if logprobs is None:
            self.text(TextDelta, text, events, choice)
            return
        self.begin(events)
        delta = TextDelta(stream_id=self.stream_id, seq=self.next_seq, text=text, choice=choice, logprobs=logprobs)
        self._emit(delta, len(text), events)

    def tool_call(self, part: ToolCallPart, events: list[LLMEvent], choice: int = 0) -> None:
        """Append the delta of a part of a tool call."""
        self.begin(events)
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


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _instant(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 < value < MAX_COUNT else None
