"""Framing, quirks and clocks that are no matter of the API: each row over a connection, by both of them."""

from __future__ import annotations

from typing import Any

import pytest

from hub.result import LLMResult, ToolCall
from hub.testing import (
    Hang,
    Pause,
    Reply,
    ScriptedEndpoint,
    Step,
    chat_chunk,
    chat_reply,
    raw_reply,
    responses_reply,
    sse,
)
from hub.upstream.clocks import Timeouts

from .responses_support import body_of, event
from .support import HELLO, NO_RETRY, call, calls, chunk, client_of, outcome, within

APIS = pytest.mark.parametrize("api", ["chat", "responses"])
CALLS = (ToolCall(id="call_a", name="f", arguments='{"x": 1}', index=0),)
WHOLE = {
    "chat": chat_reply("Hi\nthere 👋🏽", reasoning="Hm. So.", tool_calls=CALLS, usage=True),
    "responses": responses_reply("Hi\nthere 👋🏽", reasoning="Hm. So.", tool_calls=CALLS),
}


async def told(body: bytes | Reply, api: Any, **options: Any) -> LLMResult:
    """What our client makes of a body; tried once."""
    reply = raw_reply(body) if isinstance(body, bytes) else body
    async with ScriptedEndpoint(reply) as endpoint, client_of(endpoint, retry=NO_RETRY) as client:
        result = await outcome(client.stream(messages=HELLO, api=api, stream_id="str_1", **options))
        if "timeouts" in options:
            await within(endpoint.all_closed())
    return result


def split_data(body: bytes) -> bytes:
    """The same events, the JSON of each over several `data:` lines."""
    return body.replace(b'data: {"', b'data: {\ndata: "').replace(b'":{"', b'":\ndata: {"')


FRAMINGS: dict[str, Any] = {
    "no space": lambda body: body.replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
    "CR": lambda body: body.replace(b"\n", b"\r"),
    "CRLF": lambda body: body.replace(b"\n", b"\r\n"),
    "data over lines": split_data,
    "comments": lambda body: body.replace(b"\n\n", b"\n\n: OPENROUTER PROCESSING\n\n"),
    "keep-alive before all": lambda body: b": keep-alive\n\n" * 20 + b"\n" * 20 + body,
    "a comment of a megabyte": lambda body: b": " + b"." * 1_000_000 + b"\n\n" + body,
    "ids and retry times": lambda body: body.replace(b"data: ", b"id: 1\nretry: 5\ndata: "),
    "bytes after the end": lambda body: body + b"data: [DONE]\n\ndata: {broken\n\n\xff",
    "pings": lambda body: body.replace(b"\n\n", b'\n\nevent: ping\ndata: {"type":"ping"}\n\n', 3),
}


@APIS
@pytest.mark.parametrize("reframe", FRAMINGS.values(), ids=FRAMINGS)
async def test_however_it_is_framed_an_answer_is_the_same(api: Any, reframe: Any) -> None:
    body = body_of(WHOLE[api])
    changed = reframe(body)
    assert changed != body
    assert await told(changed, api) == await told(body, api)


@APIS
@pytest.mark.parametrize("size", [1, 2, 3, 61])
async def test_however_it_is_cut_an_answer_is_the_same(api: Any, size: int) -> None:
    body = body_of(WHOLE[api])
    assert await told(raw_reply(body, slice_bytes=size), api) == await told(body, api)


# Quirks


async def test_a_blank_id_and_model_of_a_response_wait_for_those_that_are_not() -> None:
    whole = body_of(responses_reply("Hi there"))
    begun = event("created", response={"id": "", "object": "response", "created_at": 0, "model": ""})
    result = await told(begun + whole, "responses")
    assert (result.model, result.response_id, result.created) == ("scripted", "resp_scripted", 1_800_000_000)


async def test_ollamas_whole_calls_beside_blank_content_end_for_their_calls() -> None:
    beside = {"role": "assistant", "content": ""}
    entries = [call({"x": number}, name=name, id=f"call_{name}") for number, name in enumerate("fg")]
    for reason in ("stop", None):
        chunks = [chunk(delta={**beside, "tool_calls": [entry]}) for entry in entries]
        body = sse(*chunks, chunk(delta=beside, finish_reason=reason))
        result = await told(body, "chat")
        assert [(each.name, each.arguments) for each in result.tool_calls] == [("f", '{"x":0}'), ("g", '{"x":1}')]
        assert (result.status, result.finish_reason, result.text) == ("completed", "tool_calls", "")


async def test_vllms_named_tool_that_ends_with_stop_ended_for_its_call() -> None:
    body = sse(
        calls(call("", name="f", index=0, id="a"), call('{"x"', index=0)),
        calls(call(": 1}", index=0)),
        chunk(finish_reason="stop", choice={"stop_reason": None}),
    )
    result = await told(body, "chat")
    assert [(each.name, each.arguments) for each in result.tool_calls] == [("f", '{"x": 1}')]
    assert (result.finish_reason, result.raw_finish_reason) == ("tool_calls", "stop")


async def test_openrouters_error_beside_a_choice_is_one_with_its_status_and_text_stays() -> None:
    error = {
        "error": {"code": 502, "message": "Provider disconnected", "metadata": {"provider_name": "x"}},
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
    }
    result = await told(sse(chunk("Hi"), chunk() | error), "chat")
    assert result.error is not None
    assert (result.error.code, result.error.status, result.error.retryable) == ("endpoint_error", 502, True)
    assert (result.text, result.finish_reason) == ("Hi", None)


async def test_a_finish_reason_before_the_filters_verdict_and_the_usage_ends_nothing() -> None:
    verdict = {"index": 0, "finish_reason": None, "content_filter_results": {"hate": {"filtered": False}}}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    stop = chunk(finish_reason="stop", usage=None)
    body = sse(chunk("Hi", usage=None), stop, chunk(choices=[verdict]), chunk(choices=[], usage=usage))
    result = await told(body, "chat")
    assert (result.status, result.finish_reason, result.text) == ("completed", "stop", "Hi")
    assert result.usage is not None
    assert (result.usage.total_tokens, result.usage.estimated) == (9, False)


# Clocks of the Responses API: what is no content resets none


BEGUN = event("created", response={"id": "resp_1", "model": "m-1", "status": "in_progress"})
TEXT = event("output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta="Hi")
NO_CONTENT = {
    "comments": b": keep-alive\n\n",
    "progress": event("in_progress", response={"id": "resp_1", "status": "in_progress"}),
    "items without text": event("output_item.added", output_index=0, item={"type": "message", "content": []}),
    "queued": event("queued", response={"id": "resp_1", "status": "queued"}),
    "annotations": event("output_text.annotation.added", item_id="msg_1", annotation={}),
}


def dripping(piece: bytes, before: bytes) -> Reply:
    drops: list[Step] = [Pause(0.01), piece]
    return raw_reply(before, *drops * 300, Hang())


@pytest.mark.parametrize("piece", NO_CONTENT.values(), ids=NO_CONTENT)
async def test_a_response_without_content_runs_into_the_first_token_clock(piece: bytes) -> None:
    result = await told(dripping(piece, BEGUN), "responses", timeouts=Timeouts(first_token_timeout=0.15))
    assert (result.error and result.error.code, result.text) == ("first_token_timeout", "")


@pytest.mark.parametrize("piece", NO_CONTENT.values(), ids=NO_CONTENT)
async def test_a_response_that_stalls_runs_into_the_gap_clock(piece: bytes) -> None:
    result = await told(dripping(piece, BEGUN + TEXT), "responses", timeouts=Timeouts(stall_timeout=0.15))
    assert (result.error and result.error.code, result.text) == ("stall_timeout", "Hi")


@APIS
async def test_an_answer_without_end_runs_into_the_total_clock(api: Any) -> None:
    piece = sse(chat_chunk(content="Hi"), done=False) if api == "chat" else TEXT
    result = await told(dripping(piece, b""), api, timeouts=Timeouts(total_timeout=0.15))
    assert (result.error and result.error.code) == "total_timeout"
    assert result.text.startswith("Hi")
