"""Large lists: cut into requests, sent side by side, retried one by one; endpoints that take less than was sent."""

from __future__ import annotations

import asyncio

import pytest

from hub.errors import EndpointError
from hub.result import TokenUsage
from hub.testing import Gate, Hang, RecordedRequest, Reply, raw_reply, refuse, status_reply
from hub.testing.embeddings import embeddings_answer, embeddings_reply, fake_vector
from hub.upstream.retry import RetryPolicy

from .embedding_support import (
    AT_ONCE,
    Handler,
    ask,
    at_most,
    embed,
    embedder,
    failure,
    sizes,
    texts,
    within,
)

# Several requests


async def test_a_large_list_goes_in_several_requests_and_comes_back_in_order() -> None:
    async with embedder(handler=embeddings_answer) as (ours, endpoint):
        result = await embed(ours, texts(10), max_inputs=4)
    assert sorted(sizes(endpoint)) == [2, 4, 4]
    assert result.vectors == [fake_vector(text) for text in texts(10)]
    assert result.usage == TokenUsage(input_tokens=20, total_tokens=20)


async def test_a_request_keeps_to_its_tokens() -> None:
    async with embedder(handler=embeddings_answer) as (ours, endpoint):
        result = await embed(ours, ["aaaa", "bb", "cc", "d" * 9, "e"], max_request_tokens=5, concurrency=1)
    assert [request.json()["input"] for request in endpoint.requests] == [["aaaa"], ["bb", "cc"], ["d" * 9], ["e"]]
    assert result[3] == fake_vector("d" * 9)


async def test_token_ids_are_their_own_count() -> None:
    async with embedder(handler=embeddings_answer) as (ours, endpoint):
        await embed(ours, [[1, 2], [3, 4], [5]], max_request_tokens=3, concurrency=1)
    assert [request.json()["input"] for request in endpoint.requests] == [[[1, 2]], [[3, 4], [5]]]


async def test_no_token_is_counted_where_it_can_not_matter() -> None:
    def count(text: str) -> int:
        raise AssertionError(text)

    async with embedder(handler=embeddings_answer) as (ours, _):
        await embed(ours, texts(20), count_tokens=count)


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    gate = Gate()
    held: Handler = lambda request: Reply(  # noqa: E731
        **{name: getattr(embeddings_answer(request), name) for name in ("steps", "headers", "framing")}, before=(gate,)
    )
    async with embedder(handler=held) as (ours, endpoint):
        call = asyncio.create_task(embed(ours, texts(9), max_inputs=1, concurrency=3))
        await within(gate.reached(3))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(endpoint.requests) == 3
        gate.open()
        assert (await call).vectors == [fake_vector(text) for text in texts(9)]


async def test_the_first_failure_ends_the_call_and_closes_the_other_requests() -> None:
    gate = Gate()
    hanging = Reply(before=(gate, Hang()))

    def answer(request: RecordedRequest) -> Reply:
        return refusing if request.json()["input"] == ["text 2"] else hanging

    refusing = Reply(before=(gate,), **{name: getattr(status_reply(401), name) for name in ("steps", "status")})
    async with embedder(handler=answer) as (ours, endpoint):
        call = asyncio.create_task(embed(ours, texts(3), max_inputs=1))
        await within(gate.reached(3))
        gate.open()
        with pytest.raises(EndpointError) as caught:
            await call
        assert caught.value.code == "unauthorized"
        for request in endpoint.requests:
            if request.json()["input"] != ["text 2"]:
                await within(request.left.wait())


async def test_cancelling_the_call_closes_every_request() -> None:
    gate = Gate()
    half = raw_reply(b'{"data": [', gate, Hang())
    async with embedder(handler=lambda _: half) as (ours, endpoint):
        call = asyncio.create_task(embed(ours, texts(3), max_inputs=1))
        await within(gate.reached(3))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        for request in endpoint.requests:
            await within(request.left.wait())
        await within(endpoint.all_closed())


async def test_only_the_request_that_failed_is_sent_again() -> None:
    failed: set[str] = set()

    def answer(request: RecordedRequest) -> Reply:
        (text,) = request.json()["input"]
        if text == "text 1" and text not in failed:
            failed.add(text)
            return status_reply(503)
        return embeddings_answer(request)

    async with embedder(handler=answer) as (ours, endpoint):
        result = await embed(ours, texts(3), max_inputs=1, retry=AT_ONCE)
    assert result.vectors == [fake_vector(text) for text in texts(3)]
    assert sorted(request.json()["input"][0] for request in endpoint.requests) == [
        "text 0",
        "text 1",
        "text 1",
        "text 2",
    ]


async def test_the_endpoint_s_wish_to_wait_is_respected() -> None:
    wish = status_reply(429, headers={"Retry-After": "90"})
    error = await failure(wish, retry=RetryPolicy(backoff=0.0, max_retry_after=60.0))
    assert error.retry_after == 90.0  # longer than what is waited for, so at once
    assert (await ask(status_reply(429, headers={"Retry-After": "0"}), embeddings_reply(), retry=AT_ONCE)).vector


async def test_a_connection_that_went_stale_is_no_failure() -> None:
    stale = Reply(**{name: getattr(embeddings_reply(), name) for name in ("steps", "headers", "framing")})
    async with embedder(stale, refuse(), embeddings_reply()) as (ours, endpoint):
        await embed(ours, "a")
        await embed(ours, "b")
    assert len(endpoint.requests) == 3


# Endpoints that take less


@pytest.mark.parametrize(
    ("status", "message", "sent"),
    [
        (400, "Too many inputs. The max number of inputs is 4.  We hope to increase it soon.", [16, 4, 4, 4, 4]),
        (413, "batch size 16 > maximum allowed batch size 4", [16, 4, 4, 4, 4]),
        (413, "input batch size 16 > maximum allowed batch size 4", [16, 4, 4, 4, 4]),
        (400, "Value error, batch size is invalid, it should not be larger than 4.: input.contents", [16, 4, 4, 4, 4]),
        (
            400,
            "Invalid 'input': array too long. Expected an array with maximum length 4, but got 16.",
            [16, 4, 4, 4, 4],
        ),
        (400, "BatchEmbedContentsRequest.requests: at most 4 requests can be in one batch", [16, 4, 4, 4, 4]),
        (400, "invalid request: total number of texts must be at most 4 - received 16", [16, 4, 4, 4, 4]),
        (400, "4 instance(s) is allowed per prediction. Actual: 16", [16, 4, 4, 4, 4]),
        (422, "batch size 16 > maximum allowed batch size 4", [16, 4, 4, 4, 4]),
        (422, "List should have at most 4 items after validation, not 16", [16, 4, 4, 4, 4]),
        (400, "Too many inputs in request, split into more batches.", [16, 8, 4, 4, 4, 4]),
    ],
)
async def test_an_endpoint_that_takes_fewer_inputs_gets_fewer_and_that_is_remembered(
    status: int, message: str, sent: list[int]
) -> None:
    async with embedder(handler=at_most(4, status_reply(status, message))) as (ours, endpoint):
        result = await embed(ours, texts(16), concurrency=1)
        assert result.vectors == [fake_vector(text) for text in texts(16)]
        assert sorted(sizes(endpoint)) == sorted(sent)
        del endpoint.requests[:]
        await embed(ours, texts(6))
        assert sorted(sizes(endpoint)) == [2, 4]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Requested 453357 tokens, max 300000 tokens per request"),
        (400, "Too many tokens in batch. Max is 16384 got 17555"),
        (400, "Too many tokens overall, split into more batches."),
        (400, "The max allowed tokens per submitted batch is 120000. Your batch has 124302 tokens after truncation."),
        (413, "Request Entity Too Large"),
    ],
)
async def test_an_endpoint_that_takes_fewer_tokens_gets_fewer(status: int, message: str) -> None:
    def answer(request: RecordedRequest) -> Reply:
        if sum(map(len, request.json()["input"])) > 12:
            return status_reply(status, message)
        return embeddings_answer(request)

    async with embedder(handler=answer) as (ours, endpoint):
        inputs = ["aaaaaaaaa", "b", "c", "dddddddd", "e", "ff"]
        assert (await embed(ours, inputs, concurrency=1)).vectors == [fake_vector(text) for text in inputs]
        del endpoint.requests[:]
        await embed(ours, inputs, concurrency=1)
        assert all(sum(map(len, request.json()["input"])) <= 12 for request in endpoint.requests)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (413, "`inputs` must have less than 512 tokens. Given: 600"),
        (413, "`inputs` must have less than 2000 characters. Given: 9000"),
        (413, "input (900 tokens) is larger than the max context size (512 tokens)"),
        (400, "This model's maximum context length is 8192 tokens, however you requested 9000 tokens."),
        (
            500,
            "input (3001 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
        ),
        (400, "Something else"),
    ],
)
async def test_an_input_that_is_too_long_by_itself_fails_at_once(status: int, message: str) -> None:
    async with embedder(handler=lambda _: status_reply(status, message)) as (ours, endpoint):
        with pytest.raises(EndpointError):
            await embed(ours, texts(8), retry=AT_ONCE)
    assert len(endpoint.requests) == 1


async def test_what_a_failed_call_found_out_about_sizes_is_forgotten() -> None:
    too_large = status_reply(413, "Request Entity Too Large")
    poisoned: Handler = lambda request: (  # noqa: E731
        too_large if "text 5" in request.json()["input"] else embeddings_answer(request)
    )
    async with embedder(handler=poisoned) as (ours, endpoint):
        with pytest.raises(EndpointError):
            await embed(ours, texts(8))
        del endpoint.requests[:]
        await embed(ours, texts(5))
    assert sizes(endpoint) == [5]


async def test_a_size_that_was_refused_for_a_while_is_tried_again_some_minutes_later() -> None:
    now = [0.0]
    refusal = status_reply(413, "Request Entity Too Large")
    async with embedder(refusal, handler=embeddings_answer, clock=lambda: now[0]) as (ours, endpoint):
        await embed(ours, texts(16), concurrency=1)
        sent = []
        for now[0] in (299.0, 300.0):
            del endpoint.requests[:]
            await embed(ours, texts(16), concurrency=1)
            sent.append(len(endpoint.requests))
    assert sent[0] > 1
    assert sent[1] == 1


async def test_a_caller_s_larger_limit_counts() -> None:
    async with embedder(handler=embeddings_answer) as (ours, endpoint):
        await embed(ours, texts(2_100), max_inputs=5_000)
    assert sizes(endpoint) == [2_100]


async def test_a_caller_s_smaller_limit_is_not_taken_for_the_endpoint_s() -> None:
    refusal = status_reply(400, "Too many tokens overall, split into more batches.")
    async with embedder(handler=at_most(2, refusal)) as (ours, endpoint):
        await embed(ours, ["a", "b", "c"], max_inputs=3)
        del endpoint.requests[:]
        await embed(ours, ["a", "b"])
        assert sizes(endpoint) != [2]  # the tokens are remembered
        del endpoint.requests[:]
    async with embedder(refusal, handler=embeddings_answer) as (ours, endpoint):
        await embed(ours, ["a" * 9, "b" * 9], max_inputs=2)
        del endpoint.requests[:]
        await embed(ours, ["c", "d", "e"])
        assert sizes(endpoint) == [3]  # and the caller's two inputs are not


async def test_limits_are_those_of_a_model() -> None:
    refusal = status_reply(400, "batch size is invalid, it should not be larger than 2")
    async with embedder(handler=at_most(2, refusal)) as (ours, endpoint):
        await embed(ours, texts(3), model="small")
        del endpoint.requests[:]
        await embed(ours, texts(3), model="other")
    assert sizes(endpoint)[0] == 3


async def test_a_large_list_leaves_the_event_loop_its_turns() -> None:
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(turns)
        return len(text)

    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with embedder(handler=embeddings_answer) as (ours, _):
        ticker = asyncio.create_task(tick())
        await embed(ours, ["x" * 1_000] * 400, count_tokens=count)
        ticker.cancel()
    assert counted[-1] - counted[0] >= 7
