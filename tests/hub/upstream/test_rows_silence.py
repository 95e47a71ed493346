"""Where the SDK's stream ends in silence, ours says what came: each row over a connection, by both APIs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hub.models.profile import ModelProfile
from hub.result import LLMResult
from hub.testing import (
    Reply,
    ScriptedEndpoint,
    chat_reply,
    completion_reply,
    json_reply,
    raw_reply,
    responses_reply,
    sse,
    whole_response_reply,
)

from .responses_support import body_of, text
from .support import HELLO, NO_RETRY, STOP, chunk, client_of, outcome

APIS = pytest.mark.parametrize("api", ["chat", "responses"])
WHOLE = {"chat": chat_reply("Hi there", usage=True), "responses": responses_reply("Hi there")}
DONE = b"data: [DONE]\n\n"
VLLM = {"error": {"message": "out of memory", "type": "InternalServerError", "param": None, "code": 500}}


async def told(reply: Reply, api: Any, **facts: Any) -> LLMResult:
    """What our client makes of an answer; tried once."""
    profile = ModelProfile(model_name="m-1", **facts)
    async with ScriptedEndpoint(reply) as endpoint, client_of(endpoint, model=profile, retry=NO_RETRY) as client:
        return await outcome(client.stream(messages=HELLO, api=api))


def begun(api: str) -> bytes:
    """The answer up to its first piece of text."""
    steps = [step for step in WHOLE[api].steps if isinstance(step, bytes)]
    first = next(number for number, step in enumerate(steps) if b'"Hi"' in step)
    return b"".join(steps[: first + 1])


def code_of(result: LLMResult) -> str | None:
    return None if result.error is None else result.error.code


@APIS
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (json_reply({"error": {"message": "no", "code": 500}}), "endpoint_error"),
        (json_reply({"error": {"message": "slow down", "code": 429}}), "rate_limited"),
        (raw_reply(b'\n\n\n{"error":{"message":"no"}}', content_type="application/json"), "endpoint_error"),
        (raw_reply(b"<html>Sign in</html>", content_type="text/html"), "not_a_stream"),
        (raw_reply(b"", content_type="application/json"), "truncated"),
        (raw_reply(), "truncated"),
        (raw_reply(DONE), "truncated"),
        (raw_reply(b": keep-alive\n\n" * 3), "truncated"),
    ],
    ids=["error", "rate limit", "error after blanks", "HTML", "empty JSON", "empty stream", "DONE alone", "comments"],
)
async def test_a_good_status_without_an_answer_is_an_error(api: Any, reply: Reply, code: str) -> None:
    result = await told(reply, api)
    assert (result.status, code_of(result), result.text) == ("failed", code, "")
    assert result.error is not None
    assert result.error.message


@pytest.mark.parametrize(
    ("api", "reply"),
    [("chat", completion_reply("Hi there")), ("responses", whole_response_reply("Hi there"))],
    ids=["chat", "responses"],
)
async def test_an_endpoint_that_ignores_stream_is_read_all_the_same(api: Any, reply: Reply) -> None:
    for whole in (reply, replace(reply, slice_bytes=7), replace(reply, steps=(b"\n \n", *reply.steps), headers={})):
        framed = replace(whole, framing="chunked")
        result = await told(framed, api)
        assert (result.status, result.text, result.finish_reason) == ("completed", "Hi there", "stop")
        assert result.usage is not None
        assert (result.usage.output_tokens, result.usage.estimated) == (2, False)


@APIS
async def test_a_body_that_ends_before_its_end_is_truncated_unless_the_profile_allows_it(api: Any) -> None:
    cut = raw_reply(begun(api))
    strict = await told(cut, api)
    lenient = await told(cut, api, allows_missing_finish_reason=True)
    assert (code_of(strict), strict.text) == ("truncated", "Hi")
    assert (code_of(lenient), lenient.status, lenient.text) == (None, "completed", "Hi")


@APIS
@pytest.mark.parametrize(
    ("last", "code", "status"),
    [
        (b'error: {"code":500,"message":"slot unavailable","type":"server_error"}\n\n', "endpoint_error", 500),
        (b'event: error\ndata: {"message":"no error key"}\n\n', "endpoint_error", None),
        (b'event: error\ndata: {"code":429,"message":"no error key"}\n\n', "rate_limited", 429),
        (sse({"object": "error", "message": "too long", "code": 400}), "invalid_request", 400),
        (sse(VLLM), "endpoint_error", 500),
        (sse({"error": {**VLLM["error"], "type": "BadRequestError", "code": 400}}), "invalid_request", 400),
        (sse({"error": {**VLLM["error"], "type": "NotFoundError", "code": 404}}), "not_found", 404),
        (sse({"error": {**VLLM["error"], "type": "RateLimitError", "code": 429}}), "rate_limited", 429),
        (sse({"error": {"message": "upstream", "code": 502}}), "endpoint_error", 502),
        (b"data: {broken}\n\n", "malformed", None),
        (b"data: \xff\xfe\n\n", "malformed", None),
        (b'data: {"a":"\xc3"}\n\n', "malformed", None),
    ],
    ids=[
        "field named error",
        "event without error key",
        "the same with a status",
        "older vLLM",
        "vLLM",
        "vLLM 400",
        "vLLM 404",
        "vLLM 429",
        "gateway",
        "bad JSON",
        "bad UTF-8",
        "half a character",
    ],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["at once", "in mid-stream"])
async def test_an_error_in_the_stream_is_one_with_its_status(
    api: Any, last: bytes, code: str, status: int | None, is_first: bool
) -> None:
    before = b"" if is_first else begun(api)
    result = await told(raw_reply(before, last), api)
    assert result.error is not None
    assert (result.error.code, result.error.status) == (code, status)
    assert result.text == ("" if is_first else "Hi")
    assert result.finish_reason is None


@APIS
async def test_the_last_event_counts_without_a_blank_line_after_it(api: Any) -> None:
    body = body_of(WHOLE[api]).removesuffix(DONE).rstrip()
    result = await told(raw_reply(body), api)
    assert (result.status, result.text, result.finish_reason) == ("completed", "Hi there", "stop")


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("chat", sse(chunk("Hi"), STOP)),
        ("responses", b"".join(line for line in text("Hi").splitlines(keepends=True) if b"event:" not in line)),
    ],
    ids=["chat", "responses"],
)
async def test_a_byte_order_mark_does_not_hide_the_first_event(api: Any, body: bytes) -> None:
    assert body.startswith(b"data:")
    result = await told(raw_reply(b"\xef\xbb\xbf" + body), api, allows_missing_finish_reason=True)
    assert (result.status, result.text) == ("completed", "Hi")


@APIS
async def test_empty_data_lines_are_passed_over(api: Any) -> None:
    frames = body_of(WHOLE[api]).split(b"\n\n")
    body = b"\n\ndata:\n\ndata: \n\n".join(frames)
    result = await told(raw_reply(body), api)
    assert (result.status, result.text) == ("completed", "Hi there")
