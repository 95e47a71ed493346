"""What a call takes of its rate limit: leave before it is sent, its usage when it is over; and what headers say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.completion import fold
from hub.limits import Limiter
from hub.models.profile import ModelProfile
from hub.testing import (
    Close,
    Gate,
    Hang,
    Reply,
    chat_chunk,
    chat_reply,
    collect,
    completion_reply,
    embeddings_reply,
    raw_reply,
    refuse,
    response_event,
    responses_reply,
    sse,
    status_reply,
)
from hub.upstream.attempt import Attempt
from hub.upstream.clocks import Timeouts
from hub.upstream.quota import Quota
from hub.upstream.request import Request
from hub.upstream.route import CoolDown, Target
from tests.hub.limits.support import ManualClock

from .limits_support import (
    INPUT,
    answered,
    ask,
    client_at,
    has,
    limiter_of,
    scripted,
    tokens_left,
    used,
    waiting,
    with_headers,
)
from .support import FOREVER, HELLO, NO_RETRY, MovedClock, held, within

BUDGET = 1_000
HALF = raw_reply(sse(chat_chunk(content="x" * 400), done=False), Close())
"""A hundred tokens of an answer that breaks off."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def left_after(*replies: Reply, **options: Any) -> int:
    """Tokens that are left of the budget after a call that is answered so."""
    limiter = limiter_of(ManualClock(), BUDGET, 10)
    client = client_at(scripted(*replies), limiter, retry=NO_RETRY)
    await answered(client, **options)
    return await tokens_left(limiter, BUDGET)


# Leave


async def test_a_call_beyond_the_budget_is_sent_once_there_is_room(clock: ManualClock) -> None:
    limiter, transport = limiter_of(clock, requests=1), scripted()
    client = client_at(transport, limiter)
    await answered(client)
    second = ask(client)
    await waiting(limiter)
    await clock.advance(59.0)
    assert len(transport.requests) == 1
    await clock.advance(2.0)
    assert (await within(second)).status == "completed"
    assert len(transport.requests) == 2


async def test_a_call_waits_for_its_own_tokens_alone(clock: ManualClock) -> None:
    limiter, transport = limiter_of(clock, INPUT * 2), scripted(used(0, 0), used(INPUT, INPUT))
    client = client_at(transport, limiter)
    await answered(client)
    await answered(client)
    third = ask(client)
    await waiting(limiter)
    third.cancel()
    assert len(transport.requests) == 2


async def test_every_request_for_embeddings_waits_for_its_own_leave(clock: ManualClock) -> None:
    limiter, transport = limiter_of(clock, requests=2), scripted()
    embedding = asyncio.create_task(client_at(transport, limiter).embedding([[1] * 200_000] * 3))
    await waiting(limiter)
    await within(transport.received(2))
    await clock.advance(61.0)
    assert len((await within(embedding)).vectors) == 3


# What it takes in the end


async def test_the_usage_that_the_endpoint_reports_is_what_was_taken() -> None:
    assert await left_after(used(40, 60)) == BUDGET - 100
    assert await left_after(completion_reply("Hi", usage={"prompt_tokens": 3, "completion_tokens": 4})) == BUDGET - 7
    usage = {"input_tokens": 30, "output_tokens": 20, "total_tokens": 50}
    assert await left_after(responses_reply("Hi", usage=usage), api="responses") == BUDGET - 50


async def test_a_broken_answer_took_its_input_and_what_had_come() -> None:
    assert await left_after(HALF) == BUDGET - INPUT - 100


async def test_a_reader_that_leaves_early_took_what_had_come(clock: ManualClock) -> None:
    limiter = limiter_of(clock, BUDGET)
    client = client_at(scripted(raw_reply(sse(chat_chunk(content="x" * 400), done=False), Hang())), limiter)
    async with client.stream(messages=HELLO) as stream:
        async for event in stream:
            if event.type == "text_delta":
                break
    assert await tokens_left(limiter, BUDGET) == BUDGET - INPUT - 100


@pytest.mark.parametrize("reply", [status_reply(500), status_reply(429), status_reply(400)])
async def test_a_request_that_was_refused_counts_and_its_tokens_do_not(reply: Reply, clock: ManualClock) -> None:
    limiter = limiter_of(clock, BUDGET, 2)
    await answered(client_at(scripted(reply), limiter, retry=NO_RETRY))
    assert await tokens_left(limiter, BUDGET) == BUDGET
    assert await has(limiter, requests=1)
    assert not await has(limiter, requests=2)


async def test_a_refusal_inside_an_answer_took_no_tokens() -> None:
    error = {"error": {"message": "overloaded", "code": 503}}
    assert await left_after(raw_reply(sse(error))) == BUDGET
    failed = response_event("response.failed", response={"error": {"code": "server_error", "message": "no"}})
    assert await left_after(raw_reply(sse(failed)), api="responses") == BUDGET


async def test_an_endpoint_that_was_never_reached_took_nothing(clock: ManualClock, unused_tcp_port: int) -> None:
    limiter = limiter_of(clock, BUDGET, 1)
    options: dict[str, Any] = {"api_key": "EMPTY", "retry": NO_RETRY, "limiter": limiter}
    async with OpenAIClient("m-1", base_url=f"http://127.0.0.1:{unused_tcp_port}/v1", **options) as client:
        result = await answered(client)
    assert result.error is not None
    assert result.error.code == "connection_failed"
    assert await has(limiter, tokens=BUDGET, requests=1)


async def test_a_request_whose_connection_was_lost_counts_as_estimated(clock: ManualClock) -> None:
    limiter = limiter_of(clock, BUDGET, 1)
    await answered(client_at(scripted(refuse()), limiter, retry=NO_RETRY))
    assert await tokens_left(limiter, BUDGET) == BUDGET - INPUT
    assert not await has(limiter, requests=1)


async def test_a_silent_endpoint_took_the_input(clock: ManualClock) -> None:
    loop_clock, gate, limiter = MovedClock(), Gate(), limiter_of(clock, BUDGET)
    timeouts = Timeouts(first_token_timeout=5.0, connect_timeout=FOREVER)
    call = ask(client_at(scripted(held(gate=gate, head=False)), limiter, retry=NO_RETRY, timeouts=timeouts))
    await within(gate.reached())
    await loop_clock.pass_by(6.0)
    await within(call)
    assert await tokens_left(limiter, BUDGET) == BUDGET - INPUT


async def test_each_try_takes_its_own(clock: ManualClock) -> None:
    limiter = limiter_of(clock, BUDGET, 2)
    client = client_at(scripted(HALF, used(10, 20)), limiter, restart=True)
    loop_clock, call = MovedClock(), ask(client)
    while not call.done():
        await loop_clock.pass_by(1.0)
    assert (await call).text == "Hi"
    assert await tokens_left(limiter, BUDGET) == BUDGET - INPUT - 100 - 30
    assert not await has(limiter, requests=1)


async def test_embeddings_take_what_the_endpoint_reports(clock: ManualClock) -> None:
    limiter = limiter_of(clock, BUDGET)
    reply = embeddings_reply(usage={"prompt_tokens": 77, "total_tokens": 77})
    await client_at(scripted(reply), limiter).embedding("Hello")
    assert await tokens_left(limiter, BUDGET) == BUDGET - 77


@pytest.mark.parametrize(("reply", "left"), [(embeddings_reply(usage=False), 750), (status_reply(500), BUDGET)])
async def test_embeddings_without_a_report_take_their_estimate_or_nothing(
    reply: Reply, left: int, clock: ManualClock
) -> None:
    limiter = limiter_of(clock, BUDGET)
    call = client_at(scripted(reply), limiter, retry=NO_RETRY).embedding("x" * 1_000)
    await asyncio.gather(call, return_exceptions=True)
    assert await tokens_left(limiter, BUDGET) == left


# What the endpoint says


SAYS = {
    "x-ratelimit-limit-tokens": "500",
    "x-ratelimit-remaining-tokens": "120",
    "x-ratelimit-limit-requests": "9",
    "x-ratelimit-remaining-requests": "3",
}


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_the_headers_of_an_answer_correct_the_limiter(api: Any, clock: ManualClock) -> None:
    limiter = limiter_of(clock, BUDGET)
    reply = chat_reply("Hi") if api == "chat" else responses_reply("Hi")
    await answered(client_at(scripted(with_headers(reply, SAYS)), limiter, api=api))
    assert 100 <= await tokens_left(limiter, 500) <= 120
    assert await has(limiter, requests=3)
    assert not await has(limiter, requests=4)


async def test_the_headers_of_embeddings_correct_the_limiter(clock: ManualClock) -> None:
    limiter = limiter_of(clock)
    await client_at(scripted(with_headers(embeddings_reply(), SAYS)), limiter).embedding("Hello")
    assert 100 <= await tokens_left(limiter, 500) <= 120


async def test_headers_count_as_soon_as_they_are_there(clock: ManualClock) -> None:
    gate, limiter = Gate(), limiter_of(clock)
    call = ask(client_at(scripted(with_headers(held(gate=gate), SAYS)), limiter))
    await within(gate.reached())
    assert not await has(limiter, tokens=121)
    call.cancel()


# Waiting


async def test_waiting_costs_nothing_of_the_first_token_clock(clock: ManualClock) -> None:
    loop_clock, limiter = MovedClock(), limiter_of(clock, requests=1)
    client = client_at(scripted(), limiter, timeouts=Timeouts(first_token_timeout=5.0, total_timeout=90.0))
    await answered(client)
    second = ask(client)
    await waiting(limiter)
    await loop_clock.pass_by(60.0)
    await clock.advance(61.0)
    assert (await within(second)).status == "completed"


async def test_waiting_counts_for_the_total_clock(clock: ManualClock) -> None:
    loop_clock, limiter, transport = MovedClock(), limiter_of(clock, requests=1), scripted()
    client = client_at(transport, limiter, timeouts=Timeouts(total_timeout=30.0))
    await answered(client)
    second = ask(client)
    await waiting(limiter)
    await loop_clock.pass_by(31.0)
    error = (await within(second)).error
    assert error is not None
    assert error.code == "total_timeout"
    assert error.message == "The request still waited for its rate limit after 30.0 s; nothing was sent."
    assert (limiter.waiting, clock.pending, len(transport.requests)) == (0, 0, 1)


async def stopped(client: OpenAIClient, limiter: Limiter) -> None:
    stream = client.stream(messages=HELLO)
    call = asyncio.create_task(collect(stream))
    await waiting(limiter)
    stream.stop()
    assert fold(await within(call)).status == "cancelled"


async def cancelled(client: OpenAIClient, limiter: Limiter) -> None:
    call = ask(client)
    await waiting(limiter)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def embedding_cancelled(client: OpenAIClient, limiter: Limiter) -> None:
    call = asyncio.create_task(client.embedding("Hello"))
    await waiting(limiter)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def closed(client: OpenAIClient, limiter: Limiter) -> None:
    stream = client.stream(messages=HELLO)
    reading = asyncio.ensure_future(anext(aiter(stream)))
    await waiting(limiter)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await stream.aclose()


@pytest.mark.parametrize("leave", [stopped, cancelled, closed, embedding_cancelled])
async def test_who_leaves_while_waiting_takes_nothing_and_holds_up_nobody(
    leave: Any, clock: ManualClock, clean: None
) -> None:
    limiter, transport = limiter_of(clock, requests=1), scripted()
    client = client_at(transport, limiter)
    await answered(client)
    await leave(client, limiter)
    assert (limiter.waiting, clock.pending) == (0, 0)
    behind = ask(client)
    await waiting(limiter)
    await clock.advance(61.0)
    assert (await within(behind)).status == "completed"
    assert len(transport.requests) == 2


async def test_a_try_that_had_leave_and_was_not_sent_takes_nothing(clock: ManualClock) -> None:
    limiter = limiter_of(clock, BUDGET, 1)
    endpoint = client_at(scripted())._connections.endpoint
    request = Request(ModelProfile(model_name="m-1"), {"messages": HELLO})
    target = Target(endpoint, request, CoolDown(0.0), quota=Quota(limiter))
    attempt = Attempt(target, number=1, stream_id="str_1", first_seq=0, identifier=None)
    await attempt.admit()
    assert not await has(limiter, requests=1)
    await attempt.release()
    assert await has(limiter, tokens=BUDGET, requests=1)


async def test_who_is_stopped_as_leave_comes_takes_nothing(clock: ManualClock, clean: None) -> None:
    limiter, transport = limiter_of(clock, BUDGET, 1), scripted()
    client = client_at(transport, limiter)
    await answered(client)
    stream = client.stream(messages=HELLO)
    call = asyncio.create_task(collect(stream))
    await waiting(limiter)
    clock.now += 61.0
    await limiter.correct({"x-ratelimit-remaining-requests": "1"})  # the first in line looks again, and then:
    stream.stop()
    assert fold(await within(call)).status == "cancelled"
    assert len(transport.requests) == 1
    assert await has(limiter, tokens=BUDGET, requests=1)
