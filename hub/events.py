"""The events of a stream: their types, their JSON, their JSON Schema.

A stream is `meta`, then deltas, then `usage`, an `error` where it failed, and exactly one `done`. Events are
frozen, tagged `msgspec.Struct`s; on every transport one event is one flat JSON object:

    {"type":"text_delta","stream_id":"str_01J…","seq":7,"text":" world"}

`seq` counts from 0. An event that merges several neighbours bears the last one's `seq` and `span`, the number it
stands for, so it covers `seq - span + 1 … seq`. The whole grammar is in docs/events.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias, Union

import msgspec

from hub.errors import ErrorCode, MalformedEventError
from hub.result import FinishReason, LLMResult, TokenUsage, null

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = (
    "ApprovalRequest",
    "Delta",
    "Done",
    "EndStatus",
    "Error",
    "Event",
    "LLMEvent",
    "Meta",
    "ReasoningDelta",
    "RefusalDelta",
    "Snapshot",
    "TextDelta",
    "ToolCallDelta",
    "ToolResult",
    "Usage",
    "decode_event",
    "encode_event",
    "event_schema",
    "merge",
    "merge_neighbours",
    "mergeable",
    "new_stream_id",
)

EndStatus = Literal["completed", "cancelled", "failed"]

# Bounds hold for what is read (decode_event, pydantic, the JSON Schema); building an event costs nothing for them.
NonNegative: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What every event has; never sent itself.

    Attributes:
        stream_id: The stream it belongs to.
        seq: Its position, from 0; the last one's where it stands for several.
        span: How many positions it stands for.
    """

    stream_id: str
    seq: NonNegative
    span: Positive = 1

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Events are fields of pydantic models as they are: validated, and written as their JSON object."""
        from pydantic_core import core_schema

        def validate(value: Any) -> Event:
            if isinstance(value, cls):
                return value
            try:
                return msgspec.convert(value, cls)
            except msgspec.ValidationError as exc:
                raise ValueError(str(exc)) from exc

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        (own,), definitions = msgspec.json.schema_components([cls])
        inlined: dict[str, Any] = _inline(own, definitions)
        return inlined


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema without references: pydantic resolves only those it made itself."""
    match schema:
        case {"$ref": str(reference)}:
            return _inline(definitions[reference.rpartition("/")[2]], definitions)
        case dict():
            return {key: _inline(value, definitions) for key, value in schema.items()}
        case list():
            return [_inline(value, definitions) for value in schema]
        case _:
            return schema


class Meta(Event, frozen=True, kw_only=True, tag="meta"):
    """The stream, or a new attempt at a step of it, begins.

    A `meta` with a higher `attempt` and the same `step` voids the content said in that step before.
    `created` is in Unix seconds, as the endpoint gave it.
    """

    type: ClassVar[Literal["meta"]] = "meta"
    model: str | None = null()
    attempt: Positive = msgspec.field(default_factory=lambda: 1)
    step: NonNegative = msgspec.field(default_factory=int)
    response_id: str | None = null()
    created: int | None = null()
    cached: bool | None = null()
    identifier: str | None = null()


class TextDelta(Event, frozen=True, kw_only=True, gc=False, tag="text_delta"):
    """A part of the answer's text, to append.

    `logprobs` has its tokens, where they were asked for: `token`, `logprob`, `bytes`, `top_logprobs` of each. It is
    left out of the JSON where None.
    """

    type: ClassVar[Literal["text_delta"]] = "text_delta"
    text: str
    choice: NonNegative = 0
    logprobs: list[dict[str, Any]] | None = None


class ReasoningDelta(Event, frozen=True, kw_only=True, gc=False, tag="reasoning_delta"):
    """A part of the reasoning a model shows beside its answer, to append."""

    type: ClassVar[Literal["reasoning_delta"]] = "reasoning_delta"
    text: str
    choice: NonNegative = 0


class RefusalDelta(Event, frozen=True, kw_only=True, gc=False, tag="refusal_delta"):
    """A part of a model's refusal to answer, to append."""

    type: ClassVar[Literal["refusal_delta"]] = "refusal_delta"
    text: str
    choice: NonNegative = 0


class ToolCallDelta(Event, frozen=True, kw_only=True, tag="tool_call_delta"):
    """A part of a tool call: the first one of an `index` has `id` and `name`, each appends to `arguments`.

    `id`, `name` and `extra` are left out of the JSON where None, as in most of the parts that follow the first.
    `extra` keeps what an endpoint attaches to a call and wants back with it (Gemini's `extra_content`, the Responses
    API's sealed reasoning).
    """

    type: ClassVar[Literal["tool_call_delta"]] = "tool_call_delta"
    index: NonNegative
    id: str | None = None
    name: str | None = None
    arguments: str = msgspec.field(default_factory=str)
    choice: NonNegative = 0
    extra: dict[str, Any] | None = None


class ToolResult(Event, frozen=True, kw_only=True, tag="tool_result"):
    """What a tool gave back for the call `id`."""

    type: ClassVar[Literal["tool_result"]] = "tool_result"
    id: str
    name: str
    output: str
    is_error: bool = msgspec.field(default_factory=bool)


class ApprovalRequest(Event, frozen=True, kw_only=True, tag="approval_request"):
    """A tool call waits for a person."""

    type: ClassVar[Literal["approval_request"]] = "approval_request"
    id: str
    name: str
    arguments: str


class Usage(Event, frozen=True, kw_only=True, tag="usage"):
    """What one attempt at one step used; see `TokenUsage` for the counts."""

    type: ClassVar[Literal["usage"]] = "usage"
    step: NonNegative = msgspec.field(default_factory=int)
    attempt: Positive = msgspec.field(default_factory=lambda: 1)
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int = msgspec.field(default_factory=int)
    reasoning_tokens: int = msgspec.field(default_factory=int)
    cost_usd: float | None = null()
    original_cost_usd: float | None = null()
    estimated: bool = msgspec.field(default_factory=bool)

    @classmethod
    def of(cls, counts: TokenUsage, *, stream_id: str, seq: int, step: int = 0, attempt: int = 1) -> Self:
        """The event that reports `counts`."""
        return cls(stream_id=stream_id, seq=seq, step=step, attempt=attempt, **msgspec.structs.asdict(counts))

    def counts(self) -> TokenUsage:
        """The counts alone, which can be added up."""
        return TokenUsage(**{name: getattr(self, name) for name in TokenUsage.__struct_fields__})


class Snapshot(Event, frozen=True, kw_only=True, tag="snapshot"):
    """Everything up to `seq`, folded: a reader drops what it had and takes `result`."""

    type: ClassVar[Literal["snapshot"]] = "snapshot"
    result: LLMResult
    reason: Literal["requested", "gap", "takeover"]


class Error(Event, frozen=True, kw_only=True, tag="error"):
    """The stream failed. `usage` and a `done` with status `failed` follow; `message` is safe to show.

    `retry_after` has the seconds that the endpoint asks to wait; it is left out of the JSON where it asks for none.
    """

    type: ClassVar[Literal["error"]] = "error"
    code: ErrorCode
    message: str
    status: int | None = null()
    retryable: bool = msgspec.field(default_factory=bool)
    retry_after: float | None = None


class Done(Event, frozen=True, kw_only=True, tag="done"):
    """The end, exactly one a stream. `usage` is the sum; `finish_reasons` is there where several choices are.

    `raw_finish_reason` is the endpoint's own word for the first choice, where it differs.
    """

    type: ClassVar[Literal["done"]] = "done"
    status: EndStatus
    finish_reason: FinishReason | None = null()
    finish_reasons: tuple[FinishReason | None, ...] | None = None
    raw_finish_reason: str | None = None
    usage: TokenUsage | None = null()


LLMEvent: TypeAlias = Union[  # noqa: UP007 - a | of types would lose the name in the schema
    Meta,
    TextDelta,
    ReasoningDelta,
    RefusalDelta,
    ToolCallDelta,
    ToolResult,
    ApprovalRequest,
    Usage,
    Snapshot,
    Error,
    Done,
]

TextLike: TypeAlias = TextDelta | ReasoningDelta | RefusalDelta
Delta: TypeAlias = TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[LLMEvent] = msgspec.json.Decoder(LLMEvent)


def encode_event(event: LLMEvent) -> bytes:
    """An event's JSON, as bytes without a line break.

    Raises:
        MalformedEventError: A text has a lone surrogate, half of a character, which no UTF-8 can carry.
    """
    try:
        return _encode(event)
    except UnicodeEncodeError as exc:
        raise MalformedEventError(f"Event {event.seq} has no JSON: its text has half a character ({exc})") from exc


def decode_event(data: bytes | str) -> LLMEvent:
    """The event of one JSON object; members it doesn't know are passed over.

    Raises:
        MalformedEventError: The bytes are no JSON, or no event, or nested beyond reason.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise MalformedEventError(f"Not an event: {exc}") from exc


def event_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of an event, discriminated by `type`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(LLMEvent)}


def mergeable(earlier: LLMEvent, later: LLMEvent) -> bool:
    """Whether two neighbours may become one: deltas of one kind and one choice or tool, positions adjoining."""
    if type(earlier) is not type(later) or later.seq - later.span != earlier.seq:
        return False
    if earlier.stream_id != later.stream_id:
        return False
    match earlier, later:
        case ToolCallDelta(), ToolCallDelta():
            return (
                (earlier.choice, earlier.index) == (later.choice, later.index)
                and (later.id is None or later.id == earlier.id)
                and (later.name is None or later.name == earlier.name)
                and later.extra is None
            )
        case TextDelta(), TextDelta():
            return earlier.choice == later.choice and (earlier.logprobs is None) == (later.logprobs is None)
        case ((ReasoningDelta() | RefusalDelta()), (ReasoningDelta() | RefusalDelta())):
            return earlier.choice == later.choice
        case _:
            return False


def merge(run: Sequence[LLMEvent]) -> LLMEvent:
    """One event for a run of neighbours of which each pair is `mergeable`; spans add up."""
    first, last = run[0], run[-1]
    if len(run) == 1:
        return first
    span = last.seq - first.seq + first.span
    if isinstance(first, ToolCallDelta):
        arguments = "".join(event.arguments for event in run if isinstance(event, ToolCallDelta))
        return msgspec.structs.replace(first, seq=last.seq, span=span, arguments=arguments)
    text = "".join(event.text for event in run if isinstance(event, TextLike))
    if isinstance(first, TextDelta) and first.logprobs is not None:
        logprobs = [token for event in run if isinstance(event, TextDelta) for token in event.logprobs or ()]
        return msgspec.structs.replace(first, seq=last.seq, span=span, text=text, logprobs=logprobs)
    return msgspec.structs.replace(first, seq=last.seq, span=span, text=text)


def merge_neighbours(events: Iterable[LLMEvent]) -> list[LLMEvent]:
    """The same events with each run of mergeable neighbours as one."""
    merged: list[LLMEvent] = []
    run: list[LLMEvent] = []
    for event in events:
        if run and not mergeable(run[-1], event):
            merged.append(merge(run))
            run = []
        run.append(event)
    if run:
        merged.append(merge(run))
    return merged


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_stream_id() -> str:
    """A fresh id: `str_` and a ULID, so ids sort by the millisecond they were made in."""
    number = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    return "str_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
