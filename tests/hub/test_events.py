"""The events: their JSON, their JSON Schema, and merging neighbours."""

from __future__ import annotations

import copy
import json
import pickle
import re
from typing import Any, assert_never, get_args

import jsonschema
import msgspec
import pytest
from pydantic import BaseModel, ValidationError

from hub.errors import MalformedEventError
from hub.events import (
    ApprovalRequest,
    Delta,
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
    decode_event,
    encode_event,
    event_schema,
    merge,
    merge_neighbours,
    mergeable,
    new_stream_id,
)
from hub.result import TokenUsage

from ..contracts.samples import STREAM, RandomStream, done, meta, one_of_each_type, random_merge, text, usage

EACH = one_of_each_type()
SEEDS = range(60)


def of_type(event: LLMEvent) -> str:
    return event.type


def as_json(event: LLMEvent) -> dict[str, Any]:
    return json.loads(encode_event(event))  # type: ignore[no-any-return]


# JSON


FIELDS = {
    "meta": ("model", "attempt", "step", "response_id", "created", "cached", "identifier"),
    "text_delta": ("text", "choice", "logprobs"),
    "reasoning_delta": ("text", "choice"),
    "refusal_delta": ("text", "choice"),
    "tool_call_delta": ("choice", "index", "id", "name", "arguments", "extra"),
    "tool_result": ("id", "name", "output", "is_error"),
    "approval_request": ("id", "name", "arguments"),
    "usage": (
        "step",
        "attempt",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cached_input_tokens",
        "reasoning_tokens",
        "cost_usd",
        "original_cost_usd",
        "estimated",
    ),
    "snapshot": ("result", "reason"),
    "error": ("code", "message", "status", "retryable", "retry_after"),
    "done": ("status", "finish_reason", "finish_reasons", "raw_finish_reason", "usage"),
}


def test_there_are_these_types_and_no_others() -> None:
    assert {cls.type for cls in get_args(LLMEvent)} == set(FIELDS)
    assert [event.type for event in EACH] == list(FIELDS)


@pytest.mark.parametrize("cls", get_args(LLMEvent), ids=lambda cls: cls.type)
def test_an_event_has_these_fields_and_no_others(cls: type[msgspec.Struct]) -> None:
    common = ("stream_id", "seq", "span")
    assert set(cls.__struct_fields__) == {*common, *FIELDS[cls.type]}  # type: ignore[attr-defined]


@pytest.mark.parametrize("event", EACH, ids=of_type)
def test_an_event_survives_json(event: LLMEvent) -> None:
    data = encode_event(event)
    assert b"\n" not in data
    assert decode_event(data) == decode_event(data.decode()) == event
    assert as_json(event)["type"] == event.type


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            Meta(stream_id="s", seq=0),
            (
                '{"type":"meta","stream_id":"s","seq":0,"model":null,"attempt":1,"step":0,'
                '"response_id":null,"created":null,"cached":null,"identifier":null}'
            ),
        ),
        (text(7, " world"), '{"type":"text_delta","stream_id":"str_1","seq":7,"text":" world"}'),
        (
            text(7, "a", span=3, choice=2),
            '{"type":"text_delta","stream_id":"str_1","seq":7,"span":3,"text":"a","choice":2}',
        ),
        (
            ToolCallDelta(stream_id="s", seq=1, index=0, arguments="{}"),
            '{"type":"tool_call_delta","stream_id":"s","seq":1,"index":0,"arguments":"{}"}',
        ),
        (
            ToolResult(stream_id="s", seq=1, id="c", name="f", output=""),
            '{"type":"tool_result","stream_id":"s","seq":1,"id":"c","name":"f","output":"","is_error":false}',
        ),
        (
            Usage(stream_id="s", seq=1, input_tokens=0, output_tokens=0, total_tokens=0),
            (
                '{"type":"usage","stream_id":"s","seq":1,"step":0,"attempt":1,"input_tokens":0,"output_tokens":0,'
                '"total_tokens":0,"cached_input_tokens":0,"reasoning_tokens":0,"cost_usd":null,"original_cost_usd":null,'
                '"estimated":false}'
            ),
        ),
        (
            Error(stream_id="s", seq=1, code="truncated", message="It broke off."),
            (
                '{"type":"error","stream_id":"s","seq":1,"code":"truncated","message":"It broke off.","status":null,'
                '"retryable":false}'
            ),
        ),
        (
            Done(stream_id="s", seq=1, status="cancelled"),
            '{"type":"done","stream_id":"s","seq":1,"status":"cancelled","finish_reason":null,"usage":null}',
        ),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_what_is_unknown_is_null_and_what_is_ordinary_is_left_out(event: LLMEvent, expected: str) -> None:
    assert encode_event(event).decode() == expected


def test_unknown_members_are_passed_over() -> None:
    data = b'{"type":"text_delta","stream_id":"str_1","seq":7,"text":"a","later":{"x":[1]}}'
    assert decode_event(data) == text(7)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b'{"type":"song","stream_id":"s","seq":0}', "'song'"),
        (b'{"stream_id":"s","seq":0}', "type"),
        (b'{"type":"text_delta","stream_id":"s","seq":0}', "text"),
        (b'{"type":"text_delta","seq":0,"text":"a"}', "stream_id"),
        (b'{"type":"text_delta","stream_id":"s","seq":"0","text":"a"}', "int"),
        (b'{"type":"text_delta","stream_id":"s","seq":-1,"text":"a"}', ">= 0"),
        (b'{"type":"text_delta","stream_id":"s","seq":0,"span":0,"text":"a"}', ">= 1"),
        (b'{"type":"text_delta","stream_id":"s","seq":0,"choice":-1,"text":"a"}', ">= 0"),
        (b'{"type":"meta","stream_id":"s","seq":0,"attempt":0}', ">= 1"),
        (b'{"type":"done","stream_id":"s","seq":0,"status":"fine"}', "fine"),
        (b"[]", "object"),
        (b"", "truncated"),
        (b'{"type":', "truncated"),
        (b'\xff{"type":"meta"}', "malformed"),
        (b'{"type":"text_delta","stream_id":"s","seq":0,"text":"\xff"}', "utf-8"),
        (b'{"type":"text_delta","stream_id":"s","seq":0,"text":"\\ud800"}', "Not an event"),
        ('{"type":"text_delta","stream_id":"s","seq":0,"text":"\ud800"}', "surrogate"),
    ],
)
def test_what_is_no_event_is_refused_by_name(data: bytes | str, complaint: str) -> None:
    with pytest.raises(MalformedEventError, match=re.escape(complaint)):
        decode_event(data)


@pytest.mark.parametrize(
    "said",
    ["", "x" * 1_000_000, "😀" * 1000, "\x00\x01\x7f", "שלום \u202eabc", "\r\n\r\n data: x", "\u2028\u2029", '"\\'],
    ids=["empty", "megabyte", "emoji", "control", "right_to_left", "lines", "separators", "quotes"],
)
def test_any_text_survives(said: str) -> None:
    assert decode_event(encode_event(text(0, said))) == text(0, said)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(MalformedEventError, match=r"Event 3 has no JSON.*surrogates not allowed"):
        encode_event(text(3, "a\ud83d"))


# JSON Schema


@pytest.mark.parametrize("event", EACH + RandomStream(1).events[:20], ids=of_type)
def test_the_schema_accepts_every_event(event: LLMEvent) -> None:
    jsonschema.validate(as_json(event), event_schema(), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "song", "stream_id": "s", "seq": 0},
        {"type": "text_delta", "stream_id": "s", "seq": 0},
        {"type": "text_delta", "stream_id": "s", "seq": -1, "text": ""},
        {"type": "done", "stream_id": "s", "seq": 0, "status": "fine"},
    ],
)
def test_the_schema_refuses_what_decoding_refuses(broken: dict[str, Any]) -> None:
    with pytest.raises(MalformedEventError):
        decode_event(json.dumps(broken))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, event_schema(), cls=jsonschema.Draft202012Validator)


def test_the_schema_is_a_schema_discriminated_by_type() -> None:
    schema = event_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["discriminator"]["propertyName"] == "type"
    assert set(schema["discriminator"]["mapping"]) == set(FIELDS)


# In pydantic models


class Envelope(BaseModel):
    event: LLMEvent
    first: TextDelta | None = None
    others: list[LLMEvent] = []


@pytest.mark.parametrize("event", EACH, ids=of_type)
def test_an_event_is_a_field_of_a_pydantic_model(event: LLMEvent) -> None:
    envelope = Envelope(event=event, others=[event])
    assert envelope.event is event
    assert json.loads(envelope.model_dump_json())["event"] == as_json(event)
    assert Envelope.model_validate_json(envelope.model_dump_json()) == envelope
    assert Envelope.model_validate(envelope.model_dump()) == envelope


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "song", "stream_id": "s", "seq": 0},
        {"type": "text_delta", "stream_id": "s", "seq": 0},
        "text",
        None,
    ],
)
def test_pydantic_refuses_what_is_no_event(broken: Any) -> None:
    with pytest.raises(ValidationError):
        Envelope.model_validate({"event": broken})


def test_pydantic_refuses_an_event_of_another_type() -> None:
    with pytest.raises(ValidationError):
        Envelope.model_validate({"event": text(0), "first": meta(0)})


@pytest.mark.parametrize("event", EACH, ids=of_type)
def test_the_schema_of_a_pydantic_model_accepts_its_events(event: LLMEvent) -> None:
    schema = Envelope.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"event": as_json(event)}, schema, cls=jsonschema.Draft202012Validator)


# As values


def named_by_type(event: LLMEvent) -> str:
    if event.type == "text_delta" or event.type == "reasoning_delta" or event.type == "refusal_delta":
        return event.text
    return event.type


def named_by_class(event: LLMEvent) -> str:
    match event:
        case TextDelta() | ReasoningDelta() | RefusalDelta():
            return event.text
        case Meta() | ToolCallDelta() | ToolResult() | ApprovalRequest() | Usage() | Snapshot() | Error() | Done():
            return event.type
        case _:
            assert_never(event)


@pytest.mark.parametrize("event", EACH, ids=of_type)
def test_type_and_match_tell_the_same(event: LLMEvent) -> None:
    assert named_by_type(event) == named_by_class(event)
    assert isinstance(event, Delta) == event.type.endswith("_delta")


@pytest.mark.parametrize("event", EACH, ids=of_type)
def test_an_event_can_be_copied_and_pickled_but_not_changed(event: LLMEvent) -> None:
    assert pickle.loads(pickle.dumps(event)) == copy.copy(event) == copy.deepcopy(event) == event
    with pytest.raises(AttributeError):
        event.seq = 5  # type: ignore[misc]


def test_a_usage_event_gives_its_counts_back() -> None:
    counts = TokenUsage(
        input_tokens=1,
        output_tokens=2,
        total_tokens=3,
        cached_input_tokens=4,
        reasoning_tokens=5,
        cost_usd=0.5,
        original_cost_usd=0.6,
        estimated=True,
    )
    assert Usage.of(counts, stream_id="s", seq=0, step=1, attempt=2).counts() == counts


def test_stream_ids_differ_and_sort_by_time() -> None:
    ids = [new_stream_id() for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"str_[0-9A-HJKMNP-TV-Z]{26}", stream_id) for stream_id in ids)
    assert [stream_id[:14] for stream_id in ids] == sorted(stream_id[:14] for stream_id in ids)


# Merging


def call(seq: int, **fields: Any) -> ToolCallDelta:
    return ToolCallDelta(stream_id=STREAM, seq=seq, **{"index": 0, "arguments": "x", **fields})


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (text(3), text(4)),
        (text(3, choice=1), text(4, choice=1)),
        (text(3, span=2), text(6, span=3)),
        (ReasoningDelta(stream_id=STREAM, seq=3, text="a"), ReasoningDelta(stream_id=STREAM, seq=4, text="b")),
        (RefusalDelta(stream_id=STREAM, seq=3, text="a"), RefusalDelta(stream_id=STREAM, seq=4, text="b")),
        (call(3, id="c", name="f"), call(4)),
        (call(3, id="c", name="f"), call(4, id="c", name="f")),
        (call(3, extra={"a": 1}), call(4)),
    ],
)
def test_neighbours_of_one_kind_and_one_place_merge(earlier: LLMEvent, later: LLMEvent) -> None:
    assert mergeable(earlier, later)
    merged = merge([earlier, later])
    assert (merged.seq, merged.span) == (later.seq, earlier.span + later.span)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (text(3), text(5)),
        (text(3), text(3)),
        (text(4), text(3)),
        (text(3), text(5, span=3)),
        (text(3), text(4, choice=1)),
        (text(3), ReasoningDelta(stream_id=STREAM, seq=4, text="b")),
        (text(3), TextDelta(stream_id="another", seq=4, text="b")),
        (text(3), call(4)),
        (call(3), call(4, index=1)),
        (call(3), call(4, choice=1)),
        (call(3, id="c"), call(4, id="d")),
        (call(3, id="c"), call(4, name="g")),
        (call(3), call(4, extra={"a": 1})),
        (meta(3), meta(4)),
        (usage(3), usage(4)),
        (done(3), done(4)),
    ],
)
def test_others_do_not_merge(earlier: LLMEvent, later: LLMEvent) -> None:
    assert not mergeable(earlier, later)
    assert merge_neighbours([earlier, later]) == [earlier, later]


def test_a_merged_call_keeps_its_name_and_says_all() -> None:
    parts = [call(3, id="c", name="f", arguments='{"a"'), call(4, arguments=":1"), call(5, arguments="}")]
    assert merge_neighbours(parts) == [call(5, span=3, id="c", name="f", arguments='{"a":1}')]


def test_a_single_event_stays_itself() -> None:
    event = text(3)
    assert merge([event]) is event
    assert merge_neighbours([]) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_spans_of_merged_events_cover_each_position_once(seed: int) -> None:
    events = RandomStream(seed, snapshots=True).events
    merged = random_merge(events, seed, merge_neighbours)
    covered = [seq for event in merged for seq in range(event.seq - event.span + 1, event.seq + 1)]
    assert covered == list(range(len(events)))
    again = merge_neighbours(merged)
    assert merge_neighbours(again) == again == merge_neighbours(events)
