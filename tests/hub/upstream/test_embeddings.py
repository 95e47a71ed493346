"""One embeddings request: what is sent, endpoints that fail or reject an encoding, and the clocks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import AsyncAzureOpenAI

from hub.errors import EndpointError, InvalidRequestError
from hub.testing import (
    Close,
    Hang,
    RecordedRequest,
    Reply,
    ScriptedEndpoint,
    json_reply,
    raw_reply,
    refuse,
    status_reply,
)
from hub.testing.embeddings import embeddings_answer, embeddings_reply, fake_vector
from hub.upstream.clocks import Timeouts
from hub.upstream.embedding.request import fetch_embeddings
from hub.upstream.retry import RetryPolicy

from .embedding_support import (
    KEY,
    ask,
    embed,
    embedder,
    embedder_of,
    failure,
    sdk_of,
    within,
)

# What is sent


@pytest.mark.parametrize(
    ("inputs", "sent"),
    [
        ("a", "a"),
        (["a"], ["a"]),
        (["a", "b"], ["a", "b"]),
        (("a", "b"), ["a", "b"]),
        (iter("ab"), ["a", "b"]),
        ([5, 6], [5, 6]),
        ([[5, 6], [7]], [[5, 6], [7]]),
        (range(3), [0, 1, 2]),
    ],
)
async def test_each_form_of_input_goes_as_it_came(inputs: Any, sent: Any) -> None:
    async with embedder(handler=embeddings_answer) as (ours, endpoint):
        await embed(ours, inputs)
    assert endpoint.requests[0].json() == {"model": "m-1", "input": sent, "encoding_format": "base64"}
    assert endpoint.requests[0].path == "/v1/embeddings"
    assert endpoint.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("", "input is an empty text"),
        ([], "input is empty"),
        (["a", ""], r"input\[1\] is an empty text"),
        ([[1], []], r"input\[1\] is an empty list"),
        (["a", 5], r"input\[1\] must be a text .* not 5"),
        (["a", None], r"input\[1\] must be a text .* not None"),
        ([[1], "a"], r"input\[1\] must be a list of token ids"),
        ([1, "a"], r"input\[1\] is str"),
        ([1, True], r"input\[1\] is True"),
        ([1, -1], r"input\[1\] is -1"),
        ([1.5], r"input\[0\] is 1.5"),
        ([b"a"], r"input\[0\] is bytes"),
        (None, "not None"),
        (b"bytes", "not bytes"),
        ({"a": 1}, "not dict"),
        (7, "not 7"),
    ],
)
async def test_a_wrong_input_is_refused_before_anything_is_sent(inputs: Any, words: str) -> None:
    async with embedder() as (ours, endpoint):
        with pytest.raises(InvalidRequestError, match=words):
            await embed(ours, inputs)
    assert endpoint.requests == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dimensions": 0}, "dimensions must be a whole number of at least 1, not 0"),
        ({"dimensions": "8"}, "dimensions must .* not str"),
        ({"dimensions": True}, "dimensions"),
        ({"concurrency": 0}, "concurrency"),
        ({"max_inputs": 0}, "max_inputs"),
        ({"max_request_tokens": 1.5}, "max_request_tokens"),
        ({"params": {"timeout": 5}}, r"pass timeouts=Timeouts"),
        ({"params": {"extra_body": [1]}}, "extra_body must be a Mapping"),
    ],
)
async def test_a_wrong_argument_is_refused_before_anything_is_sent(options: Any, words: str) -> None:
    async with embedder() as (ours, endpoint):
        with pytest.raises(InvalidRequestError, match=words):
            await embed(ours, "a", **options)
    assert endpoint.requests == []


async def test_parameters_go_where_they_belong() -> None:
    params = {
        "user": "u-1",
        "truncate": True,
        "extra_headers": {"X-Trace": "7"},
        "extra_query": {"v": "2"},
        "extra_body": {"pooling": "mean"},
    }
    async with embedder(handler=embeddings_answer) as (ours, endpoint):
        await embed(ours, ["a"], dimensions=4, params=params)
    (request,) = endpoint.requests
    assert request.json() == {
        "model": "m-1",
        "input": ["a"],
        "dimensions": 4,
        "encoding_format": "base64",
        "user": "u-1",
        "truncate": True,
        "pooling": "mean",
    }
    assert request.headers["x-trace"] == "7"
    assert request.headers["accept-encoding"] == "identity"
    assert request.path == "/v1/embeddings?v=2"


async def test_azure_is_asked_at_its_deployment() -> None:
    async with ScriptedEndpoint(handler=embeddings_answer) as endpoint, httpx2.AsyncClient() as http:
        sdk = AsyncAzureOpenAI(
            azure_endpoint=endpoint.base_url.removesuffix("/v1"),
            api_version="2024-10-21",
            api_key=KEY,
            max_retries=0,
            http_client=http,
        )
        result = await embed(embedder_of(sdk), ["a"], model="my-deployment")
    assert endpoint.requests[0].path == "/openai/deployments/my-deployment/embeddings?api-version=2024-10-21"
    assert endpoint.requests[0].headers["api-key"] == KEY
    assert result.vector == fake_vector("a")


# Endpoints that fail


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (json_reply({"error": {"message": "Overloaded", "code": 503}}), "endpoint_error"),
        (json_reply({"object": "error", "message": "no", "code": 401}), "unauthorized"),
        (json_reply({"detail": "no such model"}), "endpoint_error"),
        (json_reply({"error": "boom", "data": []}), "endpoint_error"),
        (raw_reply(b"<html>Sign in</html>", content_type="text/html"), "not_a_stream"),
        (raw_reply(b"OK", content_type="text/plain"), "not_a_stream"),
        (raw_reply(b"\xff\xfe\x00", content_type="text/plain"), "not_a_stream"),
        (raw_reply(), "truncated"),
        (raw_reply(b"  \n"), "truncated"),
        (raw_reply(b'{"data": [{"embedding": [1, 2'), "truncated"),
        (raw_reply(b'{"data": oops}'), "malformed"),
        (raw_reply(b"[" * 100_000), "malformed"),
        (raw_reply(b'{"data": [', Close()), "connection_failed"),
        (refuse(), "connection_failed"),
        (status_reply(401), "unauthorized"),
        (status_reply(404), "not_found"),
        (status_reply(429), "rate_limited"),
        (status_reply(500), "endpoint_error"),
    ],
)
async def test_an_endpoint_that_fails_is_a_typed_error(reply: Reply, code: str) -> None:
    assert (await failure(reply)).code == code


async def test_no_message_shows_the_key() -> None:
    error = await failure(status_reply(401, f"Incorrect API key: {KEY}"))
    assert KEY not in str(error)
    assert KEY not in error.message
    assert error.__cause__ is None


# Encoding formats


async def test_an_endpoint_that_rejects_base64_is_asked_for_numbers_and_that_is_remembered() -> None:
    def answer(request: RecordedRequest) -> Reply:
        if request.json()["encoding_format"] == "base64":
            return status_reply(400, "base64 embedding_type parameter is not supported")
        return embeddings_answer(request)

    async with embedder(handler=answer) as (ours, endpoint):
        assert (await embed(ours, "a")).vector == fake_vector("a")
        await embed(ours, "b")
    assert [request.json()["encoding_format"] for request in endpoint.requests] == ["base64", "float", "float"]


async def test_an_endpoint_that_rejects_the_parameter_itself_is_asked_without_it() -> None:
    def answer(request: RecordedRequest) -> Reply:
        if "encoding_format" in request.json():
            return json_reply({"detail": "extra fields not permitted: ['encoding_format']"}, status=422)
        return embeddings_answer(request)

    async with embedder(handler=answer) as (ours, endpoint):
        assert (await embed(ours, "a")).vector == fake_vector("a")
        await embed(ours, "b")
    assert [request.json().get("encoding_format") for request in endpoint.requests] == ["base64", "float", None, None]


@pytest.mark.parametrize("params", [{"encoding_format": "float"}, {"extra_body": {"encoding_format": "float"}}])
async def test_a_caller_s_own_encoding_format_is_kept(params: Any) -> None:
    async with embedder(status_reply(400, "Invalid value for 'encoding_format'")) as (ours, endpoint):
        with pytest.raises(EndpointError, match="encoding_format"):
            await embed(ours, "a", params=params)
    assert [request.json()["encoding_format"] for request in endpoint.requests] == ["float"]


# Clocks


@pytest.mark.parametrize(
    ("reply", "clock"),
    [
        (Reply(before=(Hang(),)), "first_token_timeout"),
        (raw_reply(Hang()), "first_token_timeout"),
        (raw_reply(b'{"data": [', Hang()), "stall_timeout"),
        (Reply(before=(Hang(),)), "total_timeout"),
        (raw_reply(b'{"data": [', Hang()), "total_timeout"),
    ],
)
async def test_a_clock_that_runs_out_ends_the_call_and_its_connection(reply: Reply, clock: str) -> None:
    timeouts = Timeouts(**{"first_token_timeout": None, "stall_timeout": None, "total_timeout": None, clock: 0.05})
    async with embedder(reply) as (ours, endpoint):
        with pytest.raises(EndpointError, match=r"0\.05 s") as caught:
            await embed(ours, "a", timeouts=timeouts)
        assert caught.value.code == clock
        await within(endpoint.all_closed())


async def test_the_total_clock_covers_the_waits_between_tries() -> None:
    async with embedder(handler=lambda _: status_reply(503)) as (ours, _):
        with pytest.raises(EndpointError) as caught:
            await embed(
                ours, "a", timeouts=Timeouts(total_timeout=0.05), retry=RetryPolicy(backoff=60.0, max_backoff=60.0)
            )
    assert caught.value.code == "total_timeout"


def _slices(body: bytes, size: int) -> Iterator[bytes]:
    yield from (body[at : at + size] for at in range(0, len(body), size))


async def test_a_body_in_many_pieces_is_the_same_body() -> None:
    (body,) = embeddings_reply(3, dimensions=64).steps
    assert isinstance(body, bytes)
    result = await ask(raw_reply(*_slices(body, 37), content_type="application/json"), inputs=["a", "b", "c"])
    assert result.vectors == [fake_vector(str(number), 64) for number in range(3)]
    assert json.loads(body)["model"] == result.model


async def test_a_body_that_is_compressed_all_the_same_is_read() -> None:
    (body,) = embeddings_reply(2).steps
    assert isinstance(body, bytes)
    reply = raw_reply(gzip.compress(body), content_type="application/json", headers={"Content-Encoding": "gzip"})
    assert len(await ask(reply, inputs=["a", "b"])) == 2


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
async def test_a_body_without_end_is_given_up_and_its_connection_closed(headers: dict[str, str]) -> None:
    endless = gzip.compress(bytes(100_000)) if headers else bytes(100_000)
    async with ScriptedEndpoint(raw_reply(endless, Hang(), headers=headers)) as endpoint, sdk_of(endpoint) as sdk:
        with pytest.raises(EndpointError, match="more than 50000 bytes") as caught:
            await within(
                fetch_embeddings(
                    sdk, {}, headers={}, query={}, timeouts=Timeouts(), url=endpoint.base_url, max_body_bytes=50_000
                )
            )
        assert caught.value.code == "malformed"
        await within(endpoint.all_closed())
