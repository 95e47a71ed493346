"""Chat bodies of every shape that endpoints are known to send, decoded from bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.events import LLMEvent, TextDelta
from hub.result import TokenUsage
from hub.testing import sse
from hub.upstream import failures
from hub.upstream.wire.chat import ChatDecoder

from .support import STOP, answer, chunk, events_of, result_of

HI = chunk("Hi")
ROLE = chunk(delta={"role": "assistant", "content": ""})
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
COUNTED = TokenUsage(input_tokens=7, output_tokens=2, total_tokens=9)
ERROR = {"error": {"message": "out of memory", "type": "server_error", "param": None, "code": 500}}


# What comes out of an ordinary answer


async def test_meta_names_the_endpoints_model_id_and_time() -> None:
    result = await result_of(answer(ROLE, HI), identifier="mine")
    assert (result.model, result.response_id, result.created) == ("m-1", "chatcmpl-1", 1_795_000_000)
    assert (result.identifier, result.attempt, result.step, result.cached) == ("mine", 1, 0, False)


async def test_meta_names_the_model_asked_for_where_the_endpoint_names_none() -> None:
    assert (await result_of(answer(chunk("Hi", model=None, id=None)))).model == "asked-for"


async def test_meta_comes_with_the_first_content_not_before() -> None:
    decoder = ChatDecoder(stream_id="s")
    assert decoder.feed(sse(ROLE, chunk(choices=[]), done=False) + b": comment\n\n") == []
    assert [event.type for event in decoder.feed(sse(HI, done=False))] == ["meta", "text_delta"]


async def test_an_answer_without_content_still_is_one() -> None:
    events = await events_of([answer(ROLE)])
    assert [event.type for event in events] == ["meta", "usage", "done"]


async def test_reported_usage_is_taken_with_its_details() -> None:
    usage = USAGE | {
        "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 1},
        "cost": 0.25,
    }
    result = await result_of(answer(HI, chunk(choices=[], usage=usage)))
    assert result.usage == TokenUsage(
        input_tokens=7, output_tokens=2, total_tokens=9, cached_input_tokens=5, reasoning_tokens=1, cost_usd=0.25
    )


async def test_usage_that_no_one_reported_is_estimated_from_what_was_said() -> None:
    result = await result_of(answer(*(chunk("word ") for _ in range(10))))
    assert result.usage is not None
    assert (result.usage.estimated, result.usage.output_tokens, result.usage.input_tokens) == (True, 13, 6)


async def test_several_choices_are_kept_apart() -> None:
    chunks = [chunk(text, choice={"index": number}) for text in ("a", "b") for number in (0, 1)]
    ends = [chunk(choice={"index": number}, finish_reason=reason) for number, reason in ((0, "stop"), (1, "length"))]
    result = await result_of(sse(*chunks, *ends), params={"n": 2})
    assert [choice.text for choice in result.choices] == ["ab", "ab"]
    assert result.finish_reasons == ("stop", "length")


async def test_choices_in_one_chunk_are_all_taken() -> None:
    both = chunk(choices=[{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}])
    ends = chunk(choices=[{"index": number, "delta": {}, "finish_reason": "stop"} for number in (0, 1)])
    result = await result_of(sse(both, both, ends), params={"n": 2})
    assert [choice.text for choice in result.choices] == ["aa", "bb"]


async def test_a_choice_that_never_ends_makes_the_answer_truncated() -> None:
    body = sse(
        chunk("b", choice={"index": 1}), chunk("a"), chunk(choice={"index": 1}, finish_reason="stop"), done=False
    )
    result = await result_of(body, params={"n": 2})
    assert result.error is not None
    assert result.error.code == "truncated"


# Where a typed stream would end in silence


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"message":"no","type":"server_error"}}', "endpoint_error"),
        (b'\n\n {"error":{"message":"no","type":"server_error"}}', "endpoint_error"),
        (b'[{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}]', "rate_limited"),
        (b'{"error":"no such model","code":404}', "endpoint_error"),
        (b'{"object":"error","message":"too long","code":400}', "invalid_request"),
        (b'{"detail":"Not Found"}', "endpoint_error"),
        (b'{"choices":[]}', "not_a_stream"),
        (b'{"choices":[7]}', "truncated"),
        (b'{"hello":"world"}', "not_a_stream"),
        (b'{"choices":[{"mess', "not_a_stream"),
        (b"[1,2]", "not_a_stream"),
        (b'"text"', "not_a_stream"),
        (b"<!doctype html><title>Sign in</title>", "not_a_stream"),
        (b"upstream connect error or disconnect", "not_a_stream"),
        (b"null", "not_a_stream"),
        (b"", "truncated"),
        (b"\n\r\n  \n", "truncated"),
        (b": OPENROUTER PROCESSING\n\n", "truncated"),
        (b"data: [DONE]\n\n", "truncated"),
        (b"data: \n\ndata:\n\n", "truncated"),
        (sse(chunk(choices=[])), "truncated"),
        (sse(ROLE, HI, done=False), "truncated"),
        (sse(ROLE, done=False), "truncated"),
        (sse(HI, done=False) + b'data: {"id":"chatcm', "truncated"),
        (sse(ROLE, HI)[:-14] + b"data: {broken}\n\n", "malformed"),
        (sse(HI, done=False) + b"data: \xff\xfe\n\n", "malformed"),
        (sse(HI, done=False) + b'data: {"choices":[{"delta":{"content":"\xc3"}}]}\n\n', "malformed"),
        (sse(HI, done=False) + b"data: 7\n\n", "malformed"),
        (sse(HI, done=False) + b"data: ping\n\n", "malformed"),
        (sse(HI, done=False) + b'error: {"code":500,"message":"llama.cpp, up to 2025"}\n\n', "endpoint_error"),
        (sse(HI, done=False) + b'event: error\ndata: {"message":"no error key"}\n\n', "endpoint_error"),
        (sse(HI, done=False) + b"event: error\ndata: upstream went away\n\n", "endpoint_error"),
        (sse(HI, {"object": "error", "message": "older vLLM", "code": 400}, done=False), "invalid_request"),
        (sse(HI, ERROR), "endpoint_error"),
        (sse(HI, ERROR, STOP), "endpoint_error"),
        (sse(chunk("Hi", choice={"index": 10**9}), STOP), "malformed"),
        (sse(HI, chunk("Hi", choice={"index": 10**30}), STOP), "malformed"),
        (sse(HI, done=False) + b"data: " + b"[" * 100_000 + b"\n\n", "malformed"),
        (sse(HI, done=False) + b'data: {"usage":' + b"[" * 100_000 + b"\n\n", "malformed"),
        (sse(HI, done=False) + b'data: {"choices":[],"error":' + b"[" * 100_000 + b"\n\n", "malformed"),
        (sse(HI, done=False) + b'data: {"unknown":' + b"[" * 100_000 + b"\n\n", "malformed"),
        (b"{" * 100_000, "not_a_stream"),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else value,
)
async def test_nonsense_ends_in_an_error_of_its_code(body: bytes, code: str) -> None:
    result = await result_of(body)
    assert (result.status, result.error and result.error.code) == ("failed", code)


async def test_what_was_said_before_an_error_stays() -> None:
    result = await result_of(sse(HI, chunk(" there"), ERROR))
    assert (result.text, result.error and result.error.message) == ("Hi there", "out of memory")


async def test_an_error_in_mid_stream_has_the_status_it_names() -> None:
    error = {
        "error": {"code": 502, "message": "provider down"},
        "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
    }
    result = await result_of(sse(HI, chunk() | error))
    assert result.error is not None
    assert (result.error.code, result.error.status, result.error.retryable) == ("endpoint_error", 502, True)
    assert result.finish_reason is None


async def test_a_finish_reason_error_alone_is_an_error() -> None:
    result = await result_of(sse(HI, chunk(finish_reason="error")))
    assert result.error is not None
    assert result.error.code == "endpoint_error"


@pytest.mark.parametrize("nothing", [None, "", False, {}])
async def test_an_empty_error_member_is_none(nothing: Any) -> None:
    assert (await result_of(answer(chunk("Hi", error=nothing), chunk("!", error=nothing)))).text == "Hi!"


async def test_a_whole_completion_instead_of_a_stream_is_the_answer() -> None:
    message = {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    whole = {
        "id": "x",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    body = sse(whole, done=False)[len("data: ") :]
    result = await result_of(body)
    assert (result.status, result.text, result.usage) == ("completed", "Hi", COUNTED)
    assert (result.finish_reason, result.tool_calls[0].name) == ("tool_calls", "f")


async def test_a_stream_that_just_ends_is_whole_where_the_profile_allows_it() -> None:
    result = await result_of(sse(HI, done=False), allows_missing_finish_reason=True)
    assert (result.status, result.text, result.finish_reason) == ("completed", "Hi", "other")


async def test_an_empty_body_is_truncated_even_where_the_profile_allows_a_missing_end() -> None:
    assert (await result_of(sse(chunk(choices=[]), done=False), allows_missing_finish_reason=True)).status == "failed"


async def test_a_finish_reason_without_done_is_an_end() -> None:
    assert (await result_of(answer(HI, done=False))).status == "completed"


async def test_done_without_a_finish_reason_is_an_end() -> None:
    result = await result_of(sse(HI))
    assert (result.status, result.finish_reason) == ("completed", "other")


async def test_a_body_that_breaks_off_in_the_usage_after_the_end_is_whole() -> None:
    result = await result_of(answer(HI, done=False) + b'data: {"usage":{"prompt_tok')
    assert (result.status, result.text) == ("completed", "Hi")


async def test_the_last_chunk_may_lack_its_blank_line() -> None:
    assert (await result_of(answer(HI, done=False).rstrip())).status == "completed"


async def test_a_byte_order_mark_does_not_hide_the_first_chunk() -> None:
    assert (await result_of(b"\xef\xbb\xbf" + answer(HI))).text == "Hi"


async def test_bytes_after_done_are_left_alone() -> None:
    assert (await result_of(answer(HI) + sse(chunk(" more"), ERROR) + b"\xff{")).text == "Hi"


@pytest.mark.parametrize("end", [b"\r\n", b"\r"], ids=["CRLF", "CR"])
async def test_other_line_ends_and_missing_spaces_are_read(end: bytes) -> None:
    body = answer(HI, chunk(" there")).replace(b"data: ", b"data:").replace(b"\n", end)
    assert (await result_of(body)).text == "Hi there"


async def test_comments_and_pings_between_chunks_say_nothing() -> None:
    ping = b': OPENROUTER PROCESSING\n\nevent: ping\ndata: {"type":"ping"}\n\n'
    assert (await result_of(ping + sse(HI, done=False) + ping + answer(chunk("!")))).text == "Hi!"


# How it is done


async def test_the_lean_way_and_the_general_way_agree() -> None:
    shapes = [
        chunk("Hi"),
        chunk(delta={"reasoning": "a", "content": "b"}, usage=USAGE),
        chunk("x", choice={"index": 3}),
        chunk("x", choice={"index": 127}, finish_reason="length"),
        chunk("end", finish_reason="stop", usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 1}}),
        chunk("x", finish_reason="error"),
        chunk(delta={}),
    ]
    for shape in shapes:
        lean, lean_events = _fed(sse(HI, shape, done=False))
        general, general_events = _fed(sse(HI, done=False) + b"event: named\n" + sse(shape, done=False))
        assert lean_events == general_events
        assert lean.usage == general.usage
        assert lean.is_finished == general.is_finished
        assert (lean.output_chars, lean.output_deltas) == (general.output_chars, general.output_deltas)
        assert lean.finish_reasons.reasons(is_whole=True) == general.finish_reasons.reasons(is_whole=True)
        assert str(lean.failure) == str(general.failure)


def _fed(body: bytes) -> tuple[ChatDecoder, list[LLMEvent]]:
    decoder = ChatDecoder(stream_id="s")
    return decoder, decoder.feed(body)


async def test_a_megabyte_in_one_delta_arrives_whole() -> None:
    text = "0123456789" * 100_000
    body = answer(chunk(text), chunk(text))
    decoder = ChatDecoder(stream_id="s")
    events = [event for at in range(0, len(body), 16_384) for event in decoder.feed(body[at : at + 16_384])]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text * 2


async def test_a_line_without_end_is_given_up_at_a_bound() -> None:
    decoder = ChatDecoder(stream_id="s")
    decoder.feed(sse(HI, done=False) + b"data: ")
    fed = 0
    while decoder.failure is None and fed < 100_000_000:
        decoder.feed(b"x" * 65_536)
        fed += 65_536
    assert decoder.failure is not None
    assert (decoder.failure.code, fed < 17_000_000) == ("malformed", True)


async def test_a_whole_body_without_end_is_given_up_at_a_bound() -> None:
    decoder = ChatDecoder(stream_id="s")
    fed = 0
    while decoder.failure is None and fed < 200_000_000:
        decoder.feed(b'{"a":"' if fed == 0 else b"x" * 1_000_000)
        fed += 1_000_000
    assert decoder.failure is not None
    assert (decoder.failure.code, fed < 70_000_000) == ("not_a_stream", True)


async def test_a_failure_ends_the_decoding() -> None:
    decoder = ChatDecoder(stream_id="s")
    decoder.feed(sse(HI, ERROR, done=False))
    assert decoder.feed(answer(HI)) == []
    assert decoder.finish() == []
    assert decoder.failure is not None
    assert decoder.failure.code == failures.from_payload(ERROR).code


@pytest.mark.parametrize("count", [129, 50_000])
async def test_more_choices_in_one_chunk_than_can_be_asked_for_are_malformed(count: int) -> None:
    for body in (answer(HI, chunk(choices=[{}] * count)), json.dumps(chunk(choices=[{}] * count)).encode()):
        result = await result_of(body)
        assert result.error is not None
        assert result.error.code == "malformed"


async def test_as_many_choices_in_one_chunk_as_can_be_asked_for_are_taken() -> None:
    choices = [{"index": number, "delta": {"content": "x"}, "finish_reason": "stop"} for number in range(128)]
    result = await result_of(sse(chunk(choices=choices)), params={"n": 128})
    assert (result.status, len(result.choices)) == ("completed", 128)


async def test_more_parts_of_a_content_than_any_answer_has_are_malformed() -> None:
    for content in (["x"] * 10_001, [{"type": "thinking", "thinking": ["x"] * 10_001}]):
        result = await result_of(answer(HI, chunk(content)))
        assert result.error is not None
        assert result.error.code == "malformed"
