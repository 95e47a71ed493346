"""Whole bodies of the Responses API: recorded, scripted, damaged; as the SDK and as Chat Completions tell them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI

from hub.completion import fold
from hub.result import LLMResult, ToolCall
from hub.testing.chat import chat_reply
from hub.testing.endpoint import ScriptedEndpoint
from hub.testing.replies import Reply, json_reply
from hub.testing.responses import responses_reply, whole_response_reply
from hub.upstream.wire.chat import ChatDecoder
from hub.upstream.wire.output_items import OutputItem, Said
from hub.upstream.wire.responses import ResponsesDecoder

from .responses_support import body_of, completed, decoded, events_of, message, result

RECORDINGS = Path(__file__).parents[2] / "fixtures/upstream/responses-llamacpp"
CALLS = (
    ToolCall(id="call_a", name="get_weather", arguments='{"city": "Oslo", "unit": "c"}', index=0),
    ToolCall(id="call_b", name="now", arguments="", index=1),
)


# Recorded from llama.cpp


def recorded(name: str) -> LLMResult:
    return result((RECORDINGS / f"{name}.sse").read_bytes())


@pytest.mark.parametrize(
    ("name", "beginning", "counts"),
    [
        ("text", "The three primary colours are:", (21, 30, 51, 0)),
        ("length", "I'm sorry for any", (35, 5, 40, 19)),
        ("whole", "1. Red: This is the most obvious colour", (34, 64, 98, 24)),
    ],
)
def test_a_recorded_answer_decodes_to_its_text_and_usage(
    name: str, beginning: str, counts: tuple[int, int, int, int]
) -> None:
    answer = recorded(name)
    # llama.cpp reports an answer that its limit cut short as completed.
    assert (answer.status, answer.finish_reason) == ("completed", "stop")
    assert answer.text.startswith(beginning)
    usage = answer.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.cached_input_tokens) == counts
    assert answer.response_id is not None
    assert answer.response_id.startswith("resp_")


def test_a_recorded_text_is_told_once() -> None:
    last = msgspec.json.decode((RECORDINGS / "text.sse").read_bytes().split(b"data: ")[-1])
    assert recorded("text").text == last["response"]["output"][0]["content"][0]["text"]


def test_a_recorded_call_has_its_name_and_whole_arguments() -> None:
    answer = recorded("toolcall")
    (made,) = answer.tool_calls
    assert (made.name, made.arguments) == ("get_weather", '{"city": "Paris"}')
    assert made.id == "call_xRaRUo9iNyY6amCewJuS51aPUMRxUgAs"
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")


def test_a_recorded_error_keeps_its_status() -> None:
    error = recorded("error").error
    assert error is not None
    assert (error.code, error.status, error.message) == ("invalid_request", 400, "Cannot determine type of 'item'")


# No stream at all


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"message":"no","type":"server_error"}}', "endpoint_error"),
        (b'[{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}]', "rate_limited"),
        (b'{"detail":"Not Found"}', "endpoint_error"),
        (b'{"object":"response","status":"failed","error":{"code":"server_error"},"output":[]}', "endpoint_error"),
        (b'{"object":"response","status":"cancelled","error":null,"output":[]}', "endpoint_error"),
        (b'{"error":{"code":"rate_limit_exceeded","message":"no"},"output":[]}', "rate_limited"),
        (b'{"object":"response","status":"queued","error":null,"output":[]}', "not_a_stream"),
        (b'{"object":"response","status":"in_progress","output":[]}', "not_a_stream"),
        (b'{"object":"response","status":"completed"}', "not_a_stream"),
        (b'{"choices":[{"message":{"content":"Hi"}}]}', "not_a_stream"),
        (b'{"output":["a"],"status":"succeeded"}', "not_a_stream"),
        (b'{"output":[{"type"', "not_a_stream"),
        (b"[1,2]", "not_a_stream"),
        (b"null", "not_a_stream"),
        (b"<!doctype html><title>Sign in</title>", "not_a_stream"),
        (b"upstream connect error or disconnect", "not_a_stream"),
        (b"{" * 100_000, "not_a_stream"),
        (b"", "truncated"),
        (b"\n\r\n  \n", "truncated"),
        (b": keep-alive\n\n", "truncated"),
        (b"data: [DONE]\n\n", "truncated"),
        (body_of(chat_reply("A stream of chat chunks")), "truncated"),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else value,
)
def test_a_body_that_is_no_answer_fails_with_its_code(body: bytes, code: str) -> None:
    answer = result(body)
    assert answer.error is not None
    assert (answer.error.code, answer.text) == (code, "")


def test_a_whole_response_is_an_answer() -> None:
    answer = result(body_of(whole_response_reply("Hello world", model="m-2", tool_calls=CALLS)))
    assert (answer.text, answer.tool_calls, answer.model) == ("Hello world", CALLS, "m-2")
    assert (answer.status, answer.finish_reason, answer.created) == ("completed", "tool_calls", 1_800_000_000)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 2


def test_a_whole_response_may_be_incomplete() -> None:
    response = {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [message("Hi")],
    }
    assert result(body_of(json_reply(response))).finish_reason == "length"


# Scripted


@pytest.mark.parametrize(
    "content",
    [
        {"text": "Hello world, naïve café, 漢字 👋🏽"},
        {"text": ""},
        {"text": ["He", "llo", " ", "\n\n"]},
        {"text": "Yes.", "reasoning": "Let me see. It is so."},
        {"text": "", "tool_calls": CALLS},
        {"text": "I look.", "reasoning": "Which city?", "tool_calls": CALLS},
    ],
)
def test_both_apis_tell_the_same_answer(content: dict[str, Any]) -> None:
    def told(reply: Reply, decoder: ChatDecoder | ResponsesDecoder) -> LLMResult:
        return msgspec.structs.replace(fold(events_of([body_of(reply)], decoder)), response_id=None, last_seq=0)

    by_chat = told(chat_reply(**content, usage=True), ChatDecoder(stream_id="str_1"))
    assert told(responses_reply(**content), ResponsesDecoder(stream_id="str_1")) == by_chat
    assert by_chat.status == "completed"


def test_a_scripted_reply_keeps_openais_order_and_numbers() -> None:
    reply = responses_reply("Hello", reasoning="Hm", tool_calls=CALLS[:1], refusal="No")
    frames = [step for step in reply.steps if isinstance(step, bytes)]
    events = [msgspec.json.decode(frame.split(b"data: ")[1]) for frame in frames]
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    assert [frame.split(b"\n")[0] for frame in frames] == [b"event: " + each["type"].encode() for each in events]
    names = [each["type"].removeprefix("response.") for each in events]
    assert list(dict.fromkeys(names)) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "refusal.delta",
        "refusal.done",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "completed",
    ]


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ({}, "completed", "stop"),
        ({"incomplete_reason": "max_output_tokens"}, "completed", "length"),
        ({"incomplete_reason": "content_filter"}, "completed", "content_filter"),
        ({"error": {"code": "server_error", "message": "no"}}, "failed", None),
    ],
)
def test_a_scripted_reply_ends_as_it_is_told(options: dict[str, Any], status: str, reason: str | None) -> None:
    answer = result(body_of(responses_reply("Hello world", **options)))
    assert (answer.text, answer.status, answer.finish_reason) == ("Hello world", status, reason)


def test_a_scripted_refusal_is_one() -> None:
    answer = result(body_of(responses_reply("", refusal="I can't help.", usage=False)))
    assert (answer.refusal, answer.text) == ("I can't help.", "")


async def test_the_sdk_reads_a_scripted_reply_as_an_answer() -> None:
    reply = responses_reply("Hello world", reasoning="Let me see", tool_calls=CALLS, refusal="No", slice_bytes=100)
    async with (
        ScriptedEndpoint(reply) as endpoint,
        AsyncOpenAI(
            base_url=endpoint.base_url, api_key="EMPTY", max_retries=0, _strict_response_validation=True
        ) as sdk,
        sdk.responses.stream(model="scripted", input="Hello") as stream,
    ):
        types = [each.type async for each in stream]
        final = await stream.get_final_response()
    assert (types[0], types[-1]) == ("response.created", "response.completed")
    assert (final.output_text, final.status, final.model) == ("Hello world", "completed", "scripted")
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert final.usage is not None
    assert final.usage.total_tokens == final.usage.input_tokens + final.usage.output_tokens


@pytest.mark.parametrize(
    "options", [{"incomplete_reason": "content_filter"}, {"error": {"code": "server_error", "message": "no"}}]
)
async def test_the_sdk_reads_every_scripted_end(options: dict[str, Any]) -> None:
    async with (
        ScriptedEndpoint(responses_reply("Hello", **options)) as endpoint,
        AsyncOpenAI(
            base_url=endpoint.base_url, api_key="EMPTY", max_retries=0, _strict_response_validation=True
        ) as sdk,
        await sdk.responses.create(model="scripted", input="Hello", stream=True) as stream,
    ):
        events = [each async for each in stream]
    assert [each.sequence_number for each in events] == list(range(len(events)))
    assert events[-1].type == ("response.failed" if "error" in options else "response.incomplete")


# Damaged


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_of_any_kind_give_the_same_answer(line_end: bytes) -> None:
    body = body_of(responses_reply("Hello\nworld", reasoning="Hm", tool_calls=CALLS))
    assert result(b"\xef\xbb\xbf" + body.replace(b"\n", line_end)) == result(body)


def test_a_cut_at_any_place_gives_the_same_events() -> None:
    body = body_of(responses_reply("Hello world", reasoning="Hm so", tool_calls=CALLS, refusal="No"))
    whole = decoded(body)
    rand = random.Random(7)
    for _ in range(200):
        at = rand.randrange(len(body))
        assert events_of([body[:at], body[at:]], ResponsesDecoder(stream_id="str_1", model="asked-for")) == whole


def test_a_body_that_breaks_off_anywhere_is_truncated() -> None:
    body = body_of(responses_reply("Hello world", tool_calls=CALLS))
    last = body.rindex(b"event: ")
    for at in range(0, last, 97):
        answer = fold(decoded(body[:at]))
        assert answer.error is not None
        # The beginning of a first name is no event yet.
        assert answer.error.code == ("truncated" if at > 5 or not at else "not_a_stream")


VALUES: list[Any] = [
    *(None, True, 0, -1, 1.5, 2**70, "", "x", "error", "response.completed", "[DONE]", "\u2028", "a\x00b"),
    *(
        [],
        {},
        [None],
        {"": None},
        {"error": {"code": 429}},
        [{"type": "message", "content": [{"type": "output_text"}]}],
    ),
]


def misshapen(body: bytes, rand: random.Random) -> bytes:
    """The body with values inside its events replaced."""
    frames = body.split(b"\n\n")
    for number in rand.sample(range(len(frames) - 1), k=3):
        name, value = frames[number].split(b"\ndata: ")
        frames[number] = name + b"\ndata: " + msgspec.json.encode(replaced(msgspec.json.decode(value), rand))
    return b"\n\n".join(frames)


def replaced(value: Any, rand: random.Random) -> Any:
    if rand.random() < 0.15 or not value:
        return rand.choice(VALUES)
    if isinstance(value, dict):
        key = rand.choice(list(value))
        return value | {key: replaced(value[key], rand)}
    if isinstance(value, list):
        at = rand.randrange(len(value))
        return [*value[:at], replaced(value[at], rand), *value[at + 1 :]]
    return rand.choice(VALUES)


@pytest.mark.parametrize("seed", range(20))
def test_misshapen_bodies_give_whole_streams_in_any_slices(seed: int) -> None:
    rand = random.Random(seed)
    bodies = [
        body_of(responses_reply("a b", reasoning="c d", tool_calls=CALLS, refusal="e f")),
        (RECORDINGS / "toolcall.sse").read_bytes(),
    ]
    for body in bodies:
        assert result(misshapen(body, rand)).status in ("completed", "failed")


def test_what_was_said_is_joined_once_however_often_it_is_compared() -> None:
    said = Said()
    said.pieces += ["Hel", "lo"]
    assert [said.unsaid(whole) for whole in ("Hello world", "Hello", "Hel", "Good day")] == [" world", "", "", ""]
    assert said.pieces == ["Hello"]


def test_a_short_whole_is_told_from_a_long_text_without_joining_it() -> None:
    said = Said()
    for _ in range(3):
        said.pieces += ["long ", "text "]
        assert said.unsaid("long ") == ""
    assert len(said.pieces) == 6


def test_what_was_said_is_measured_anew_after_it_was_read() -> None:
    item = OutputItem("message", None)
    said = item.said("output_text", 0)
    said.pieces += ["a", "b"]
    assert said.unsaid("a") == ""
    said.pieces += ["c", "d"]
    assert list(item.rest("output_text", ["abcde"])) == [(0, "e")]
    said.pieces.append("e")
    assert [said.unsaid(whole) for whole in ("abcde", "abcdef")] == ["", "f"]


def test_an_output_of_more_items_than_any_answer_has_is_malformed() -> None:
    whole = result(completed(*[message("x")] * 10_001))
    assert whole.error is not None
    assert whole.error.code == "malformed"
