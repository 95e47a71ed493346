"""What an embeddings response holds: vectors and usage in every shape, and what is no vector."""

from __future__ import annotations

import base64
import json
import random
import struct
from typing import Any

import httpx2
import pytest

from hub.errors import EndpointError
from hub.result import TokenUsage
from hub.testing import (
    ScriptedEndpoint,
    json_reply,
    status_reply,
)
from hub.testing.embeddings import embeddings_answer, embeddings_reply, fake_vector
from hub.upstream.embedding.body import decode_embeddings

from .embedding_support import (
    ask,
    embed,
    embedder,
    embedder_of,
    failure,
    sdk_of,
)

# What comes back


async def test_vectors_come_in_the_order_of_the_inputs() -> None:
    async with embedder(handler=embeddings_answer) as (ours, _):
        result = await embed(ours, ["a", "b", "c"])
    assert result.vectors == [fake_vector(text) for text in "abc"]
    assert result.model == "scripted"
    assert result.dimensions == 16
    assert result.usage == TokenUsage(input_tokens=3, total_tokens=3)


async def test_indices_decide_over_the_order_of_arrival() -> None:
    data = [{"index": index, "embedding": [float(index), 1.0]} for index in (2, 0, 1)]
    assert (await ask(json_reply({"data": data}), inputs=["a", "b", "c"])).vectors == [[0, 1], [1, 1], [2, 1]]


async def test_lists_of_numbers_are_as_good_as_base64() -> None:
    vectors = [[0.5, -0.25], [1, 2]]
    assert (await ask(embeddings_reply(vectors, base64=False), inputs=["a", "b"])).vectors == vectors


async def test_another_transport_reads_the_same() -> None:
    transport = httpx2.AsyncHTTPTransport()
    async with ScriptedEndpoint(handler=embeddings_answer) as endpoint, sdk_of(endpoint, transport) as sdk:
        assert (await embed(embedder_of(sdk), "a")).vector == fake_vector("a")


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"embedding": [1, 2]}]},
        {"data": [{"embedding": [[1, 2]], "index": 0}]},
        {"data": [{"embedding": {"float": [1, 2]}}]},
        {"data": [{"embedding": base64.b64encode(struct.pack("<2f", 1, 2)).decode().rstrip("="), "index": 0}]},
        {"data": [{"values": [1, 2]}]},
        {"data": [[1, 2]]},
        {"embeddings": [[1, 2]], "model": None},
        {"embedding": [1, 2]},
        [[1, 2]],
        [1, 2],
        {"data": [{"embedding": [1, 2], "index": 0}], "usage": "none", "model": 7},
    ],
)
async def test_odd_shapes_are_read(body: Any) -> None:
    assert (await ask(json_reply(body))).vector == [1.0, 2.0]


def one(embedding: Any, **more: Any) -> dict[str, Any]:
    return {"data": [{"index": 0, "embedding": embedding, **more}]}


def packed(*values: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (one("not base64!"), "neither a list of numbers nor base64"),
        (one("AAAAAAA="), "5 bytes"),
        (one(""), "an empty vector"),
        (one([]), "an empty vector"),
        (one(packed(1, float("nan"))), "NaN"),
        (one(packed(1, float("-inf"))), "NaN"),
        (one([1e300]), "NaN"),
        (one([1, None]), "no number"),
        (one([1, "2"]), "no number"),
        (one(None), "no vector"),
        (one([[1, 2], [3, 4]]), "a vector for each token"),
        ({"data": []}, "0 vectors for 1 inputs"),
        ({"data": [{"embedding": [1]}, {"embedding": [2]}]}, "2 vectors for 1 inputs"),
        (one([1], index=1), "indices"),
        (one([1], index=-1), "indices"),
        (one([1], index="x"), "indices"),
        ("text", "JSON without vectors|no JSON"),
        (7, "no JSON|JSON without vectors"),
    ],
)
async def test_a_response_that_holds_no_such_vectors_is_malformed(body: Any, words: str) -> None:
    error = await failure(json_reply(body))
    assert error.code in ("malformed", "not_a_stream")
    with pytest.raises(EndpointError, match=words):
        raise error


@pytest.mark.parametrize(
    "data",
    [
        [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [2]}],
        [{"index": 0, "embedding": [1]}, {"embedding": [2]}],
        [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [2, 3]}],
        [{"index": 0, "embedding": [1]}],
    ],
)
async def test_vectors_that_fit_no_two_inputs_are_malformed(data: Any) -> None:
    assert (await failure(json_reply({"data": data}), inputs=["a", "b"])).code == "malformed"


async def test_the_largest_float32_is_a_number() -> None:
    assert (await ask(json_reply(one(packed(3.4028234663852886e38, -1))))).vector == [3.4028234663852886e38, -1]


async def test_vectors_that_differ_between_two_requests_are_malformed() -> None:
    replies = (embeddings_reply(1, dimensions=4), embeddings_reply(1, dimensions=5))
    error = await failure(*replies, inputs=["a", "b"], max_inputs=1)
    assert error.code == "malformed"


async def test_dimensions_that_the_endpoint_ignores_are_an_error() -> None:
    error = await failure(embeddings_reply(1, dimensions=16), dimensions=4)
    assert error.code == "malformed"
    assert "16 dimensions where 4 were asked for" in error.message


async def test_dimensions_that_the_endpoint_rejects_are_an_error() -> None:
    async with embedder(status_reply(400, "This model does not support specifying dimensions.")) as (ours, endpoint):
        with pytest.raises(EndpointError, match="dimensions"):
            await embed(ours, "a", dimensions=4)
    assert len(endpoint.requests) == 1


# Usage


async def test_usage_that_no_one_reports_is_estimated() -> None:
    usage = (await ask(embeddings_reply(2, usage=False), inputs=["abc", "de"])).usage
    assert usage == TokenUsage(input_tokens=5, total_tokens=5, estimated=True)


async def test_zeros_are_no_report() -> None:
    reply = embeddings_reply(usage={"prompt_tokens": 0, "total_tokens": 0})
    assert (await ask(reply, inputs="abc")).usage == TokenUsage(input_tokens=3, total_tokens=3, estimated=True)


async def test_a_total_alone_counts_as_input() -> None:
    reply = embeddings_reply(usage={"total_tokens": 4})
    assert (await ask(reply)).usage == TokenUsage(input_tokens=4, total_tokens=4)


async def test_a_sum_with_an_estimate_in_it_is_one() -> None:
    replies = (embeddings_reply(usage={"prompt_tokens": 7, "total_tokens": 7}), embeddings_reply(usage=False))
    usage = (await ask(*replies, inputs=["abc", "de"], max_inputs=1, concurrency=1)).usage
    assert usage == TokenUsage(input_tokens=9, total_tokens=9, estimated=True)


def test_whatever_a_body_holds_it_gives_vectors_or_an_endpoint_error() -> None:
    rand = random.Random(7)
    bodies = [
        json.dumps({"data": [{"index": 0, "embedding": packed(1, 2)}], "model": "m", "usage": {"prompt_tokens": 1}}),
        json.dumps({"data": [{"index": 0, "embedding": [1.5, 2]}], "error": None}),
        json.dumps({"embeddings": {"float": [[1, 2]]}}),
    ]
    odd = ["null", "{}", "[]", "1e999", "-1", '"x"', "true", "NaN", "\\ud800", "\x00", "9" * 400, "["]
    for _ in range(3_000):
        body = rand.choice(bodies)
        for _ in range(rand.randrange(1, 4)):
            start = rand.randrange(len(body) + 1)
            body = body[:start] + rand.choice(odd) + body[start + rand.randrange(12) :]
        try:
            decoded = decode_embeddings(body.encode(), 1)
        except EndpointError:
            continue
        assert len(decoded.buffers) == 1


# Hostile bodies


@pytest.mark.parametrize("entry", [b"[]", b"{}", b'{"embedding":[1]}', b"[[[1]]]"])
def test_a_large_body_of_far_more_entries_than_inputs_is_refused_unread(entry: bytes) -> None:
    body = b'{"data":[' + b",".join([entry] * 400_000) + b"]}"
    with pytest.raises(EndpointError, match="far more entries than vectors for 2 inputs"):
        decode_embeddings(body, 2)


def test_a_large_body_in_an_unusual_shape_is_read() -> None:
    entries = [{"index": index, "embedding": {"float": [[0.123456789] * 1_000]}} for index in range(100)]
    body = json.dumps({"data": entries, "usage": {"prompt_tokens": 1, "details": {}}}).encode()
    assert len(body) > 1_000_000
    assert len(decode_embeddings(body, 100).buffers) == 100


@pytest.mark.parametrize("indices", [(False, True), (True, False), (0.0, 1.0)])
def test_what_only_equals_an_index_is_none(indices: tuple[Any, Any]) -> None:
    body = {"data": [{"index": index, "embedding": [1.0]} for index in indices]}
    with pytest.raises(EndpointError, match="indices"):
        decode_embeddings(json.dumps(body).encode(), 2)


@pytest.mark.parametrize("vector", [[True], [0.5, False], [[True]]])
def test_true_is_no_number(vector: list[Any]) -> None:
    with pytest.raises(EndpointError, match="no number"):
        decode_embeddings(json.dumps(one(vector)).encode(), 1)
