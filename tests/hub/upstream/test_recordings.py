"""Recorded bodies of real servers: llama.cpp's own, llama-cpp-python's, and one that does not stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.result import LLMResult
from hub.testing import ScriptedEndpoint, recorded_reply

from .support import HELLO, NO_RETRY, client_of, outcome, result_of

RECORDINGS = Path(__file__).parents[2] / "fixtures/upstream"


async def recorded(name: str) -> LLMResult:
    return await result_of((RECORDINGS / f"{name}.sse").read_bytes())


def text_of(name: str) -> str:
    """The text of a recording, taken out of it the plain way."""
    lines = (RECORDINGS / f"{name}.sse").read_bytes().split(b"\n\n")
    chunks = [msgspec.json.decode(line[6:]) for line in lines if line.startswith(b"data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


@pytest.mark.parametrize(
    ("name", "finish_reason", "usage"),
    [
        ("llamacpp-chat", "stop", None),
        ("llamacpp-usage", "stop", (44, 19, 63, 43)),
        ("llamacpp-length", "length", (44, 5, 49, 43)),
        ("llamacpp-jsonschema", "stop", None),
        ("llamacpp-logprobs", "length", None),
        ("llamacpp-toolcall", "tool_calls", (356, 31, 387, 128)),
        ("llamacpp-tools-required", "length", (268, 96, 364, 267)),
        ("lcpython-chat", "stop", None),
        ("lcpython-usage", "stop", None),
        ("lcpython-length", "length", None),
        ("lcpython-logprobs", "length", None),
        ("lcpython-toolcall", "stop", None),
        ("lcpython-tools-auto", "stop", None),
        ("cyllama-embedded-chat", "stop", (39, 0, 39, 0)),
    ],
)
async def test_a_recorded_answer_decodes_to_its_text_usage_and_end(
    name: str, finish_reason: str, usage: tuple[int, ...] | None
) -> None:
    result = await recorded(name)
    assert (result.status, result.finish_reason, result.model) == ("completed", finish_reason, "smollm2-135m")
    assert result.text == ("" if name.startswith("cyllama") else text_of(name))
    assert result.usage is not None
    counts = result.usage
    assert counts.estimated == (usage is None)
    if usage is not None:
        reported = (counts.input_tokens, counts.output_tokens, counts.total_tokens, counts.cached_input_tokens)
        assert reported == usage


async def test_a_recorded_tool_call_has_its_name_and_whole_arguments() -> None:
    result = await recorded("llamacpp-toolcall")
    (made,) = result.tool_calls
    assert made.name == "get_weather"
    assert set(msgspec.json.decode(made.arguments)) == {"city"}
    assert made.id == "CWRTjWs4vGmFgKq5b0mkvEeFa6dMBC0j"


async def test_a_recorded_structured_answer_is_json() -> None:
    assert msgspec.json.decode((await recorded("llamacpp-jsonschema")).text)


@pytest.mark.parametrize(
    ("name", "code", "status", "message"),
    [
        (
            "llamacpp-err-badrole",
            "invalid_request",
            400,
            "The endpoint answered 400: Expected 'messages'",
        ),
        ("lcpython-err-badrole", "endpoint_error", 500, "The endpoint answered 500: 1 validation error:"),
    ],
)
async def test_a_recorded_error_keeps_its_status_and_says_what_was_wrong(
    name: str, code: str, status: int, message: str
) -> None:
    async with (
        ScriptedEndpoint(recorded_reply(RECORDINGS / f"{name}.sse")) as endpoint,
        client_of(endpoint, retry=NO_RETRY) as client,
    ):
        error = (await outcome(client.stream(messages=HELLO))).error
    assert error is not None
    assert (error.code, error.status) == (code, status)
    assert error.message.startswith(message)
    assert "LIBRARY-PATH" not in error.message


async def test_recordings_decode_over_a_connection_as_they_do_from_bytes() -> None:
    names = sorted(path.stem for path in RECORDINGS.glob("*.sse") if "err" not in path.stem)
    replies = [recorded_reply(RECORDINGS / f"{name}.sse", slice_bytes=97) for name in names]
    async with ScriptedEndpoint(*replies) as endpoint, client_of(endpoint) as client:
        for name in names:
            sent = await outcome(client.stream(messages=HELLO))
            decoded = await recorded(name)
            assert (sent.text, sent.tool_calls, sent.usage) == (decoded.text, decoded.tool_calls, sent.usage)


def as_asked(path: Path) -> dict[str, Any]:
    """The request of a recording, as one would ask it of our client."""
    request = msgspec.json.decode(path.read_bytes())
    params = {name: value for name, value in request.items() if name not in ("stream", "stream_options")}
    params["api"] = "responses" if "input" in request else "chat"
    # Two requests were wrong on purpose, in ways that our client refuses to send.
    if params.get("input") == [{"type": "web_search_call"}]:
        params["input"] = "Hello"
    if params.get("messages") == "x":
        params["messages"] = HELLO
    return params


EVERY = [path.relative_to(RECORDINGS).with_suffix("").as_posix() for path in sorted(RECORDINGS.rglob("*.sse"))]


@pytest.mark.parametrize("name", EVERY)
async def test_what_was_recorded_is_asked_for_and_read_by_the_client(name: str) -> None:
    asked = as_asked(RECORDINGS / f"{name}.request.json")
    reply = recorded_reply(RECORDINGS / f"{name}.sse", slice_bytes=61)
    async with ScriptedEndpoint(reply) as endpoint, client_of(endpoint, retry=NO_RETRY) as client:
        result = await outcome(client.stream(**asked))
        sent = endpoint.requests[0]
    api = asked.pop("api")
    assert sent.path == ("/v1/responses" if api == "responses" else "/v1/chat/completions")
    assert {key: sent.json()[key] for key in asked.keys() - {"input"}} == {
        key: value for key, value in asked.items() if key != "input"
    }
    is_refused = "err" in name
    assert (result.status, result.error is None) == ("failed" if is_refused else "completed", not is_refused)
    assert result.usage is not None
    assert (result.usage.total_tokens > 0) is not is_refused


@pytest.mark.parametrize("server", ["llamacpp", "lcpython"])
async def test_recorded_log_probabilities_belong_to_the_text(server: str) -> None:
    result = await recorded(f"{server}-logprobs")
    assert len(result.logprobs) == 6
    assert "".join(token["token"] for token in result.logprobs) == result.text
    for token in result.logprobs:
        assert token["logprob"] <= 0
        assert len(token["top_logprobs"]) == 2


async def test_a_call_that_was_required_and_never_came_ended_at_the_limit() -> None:
    result = await recorded("llamacpp-tools-required")
    assert (result.status, result.finish_reason, result.tool_calls) == ("completed", "length", ())
    assert result.text
