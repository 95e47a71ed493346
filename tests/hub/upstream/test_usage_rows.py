"""What a call used and cost, from the bytes of the answer to the `usage` and `done` events, by both APIs."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from hub.client import OpenAIClient
from hub.events import Done, Usage
from hub.models.pricing import UsageCosts
from hub.models.profile import ModelProfile
from hub.result import TokenUsage
from hub.testing import (
    Reply,
    ScriptedEndpoint,
    chat_reply,
    completion_reply,
    raw_reply,
    responses_reply,
    sse,
    whole_response_reply,
)

from .responses_support import body_of
from .support import HELLO, NO_RETRY, STOP, chunk, client_of, collected

HI = chunk("Hi")
PRICED = ModelProfile(
    model_name="m-1",
    usage_costs=UsageCosts(input=10e-6, output=100e-6, cached_input=1e-6),
    allows_missing_finish_reason=True,
)
APIS = pytest.mark.parametrize("api", ["chat", "responses"])


async def used(reply: Reply, *, api: Any = "chat", model: Any = "m-1", **params: Any) -> TokenUsage:
    """What the stream says was used: the same in its `usage` event and in `done`."""
    async with ScriptedEndpoint(reply) as endpoint, client_of(endpoint, model=model, retry=NO_RETRY) as client:
        events = await collected(client.stream(messages=HELLO, api=api, **params))
    (usage,) = [event for event in events if isinstance(event, Usage)]
    done = events[-1]
    assert isinstance(done, Done)
    assert done.usage is not None
    assert usage.counts() == done.usage
    return done.usage


def counts(
    api: str, read: int, written: int, *, cached: int | None = None, reasoning: int | None = None, **more: Any
) -> dict[str, Any]:
    """A `usage` object in the names of that API."""
    chat = api == "chat"
    usage: dict[str, Any] = {
        "prompt_tokens" if chat else "input_tokens": read,
        "completion_tokens" if chat else "output_tokens": written,
    }
    if cached is not None:
        usage["prompt_tokens_details" if chat else "input_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        usage["completion_tokens_details" if chat else "output_tokens_details"] = {"reasoning_tokens": reasoning}
    return {**usage, "total_tokens": read + written, **more}


def answered(api: str, usage: Any) -> Reply:
    """A stream of "Hi" that ends with this usage."""
    return chat_reply("Hi", usage=usage) if api == "chat" else responses_reply("Hi", usage=usage)


# Which report counts


async def test_cumulative_usage_is_replaced_and_never_added() -> None:
    reports = [chunk("x", usage=counts("chat", 7, number)) for number in range(1, 6)]
    usage = await used(raw_reply(sse(*reports, STOP, chunk(choices=[], usage=counts("chat", 7, 5)))))
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (7, 5, 12)


async def test_usage_that_grows_while_a_response_runs_counts_by_its_last_report() -> None:
    body = body_of(responses_reply("Hi", usage=counts("responses", 7, 5)))
    begun = body.replace(b'"usage":null', b'"usage":{"input_tokens":7,"output_tokens":1,"total_tokens":8}')
    assert begun != body
    usage = await used(raw_reply(begun), api="responses")
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (7, 5, 12)


@pytest.mark.parametrize("later", [None, {}, {"traffic_type": "ON_DEMAND"}, [], "none"], ids=str)
async def test_the_last_report_with_counts_wins_whatever_follows_it(later: Any) -> None:
    reported = chunk(choices=[], usage=counts("chat", 7, 2))
    usage = await used(raw_reply(sse(HI, STOP, reported, chunk(choices=[], usage=later))))
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (7, 2, False)


@APIS
@pytest.mark.parametrize("nothing", [{}, {"traffic_type": "ON_DEMAND"}, {"total_tokens": 9}, False], ids=str)
async def test_usage_without_counts_is_estimated_and_says_so(api: Any, nothing: Any) -> None:
    usage = await used(answered(api, nothing), api=api)
    assert usage.estimated
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


async def test_usage_in_the_chunk_of_the_choice_counts_without_a_blank_line_after_done() -> None:
    last = chunk(finish_reason="stop", usage=counts("chat", 7, 2), timings={"predicted_n": 2})
    usage = await used(raw_reply(sse(HI, last).rstrip()))
    assert (usage.input_tokens, usage.output_tokens) == (7, 2)


@APIS
async def test_usage_of_an_answer_that_failed_is_kept(api: Any) -> None:
    report = counts(api, 7, 2)
    replies = {
        "chat": raw_reply(sse(chunk("Hi", usage=report), {"error": {"message": "no", "code": 500}})),
        "responses": responses_reply("Hi", usage=report, error={"code": "server_error", "message": "no"}),
    }
    usage = await used(replies[api], api=api, model=PRICED)
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (7, 2, False)
    assert usage.cost_usd == pytest.approx(7 * 10e-6 + 2 * 100e-6)


@APIS
@pytest.mark.parametrize("status", [400, 429, 500])
async def test_what_was_refused_used_nothing(api: Any, status: int) -> None:
    usage = await used(Reply(status=status), api=api, model=PRICED)
    assert usage == TokenUsage(cost_usd=usage.cost_usd)
    assert usage.cost_usd in (None, 0.0)


# Parts of the counts


@APIS
async def test_more_reasoning_than_output_is_no_more_than_the_output(api: Any) -> None:
    usage = await used(answered(api, counts(api, 7, 2, reasoning=50)), api=api, model=PRICED)
    assert (usage.output_tokens, usage.reasoning_tokens, usage.total_tokens) == (2, 2, 9)
    assert usage.cost_usd == pytest.approx(7 * 10e-6 + 2 * 100e-6)


@APIS
async def test_reasoning_is_billed_once_as_a_part_of_the_output(api: Any) -> None:
    usage = await used(answered(api, counts(api, 0, 10, reasoning=8)), api=api, model=PRICED)
    assert usage.cost_usd == pytest.approx(10 * 100e-6)


@APIS
async def test_cached_tokens_are_billed_once_by_their_own_price(api: Any) -> None:
    usage = await used(answered(api, counts(api, 1000, 10, cached=800)), api=api, model=PRICED)
    assert (usage.input_tokens, usage.cached_input_tokens) == (1000, 800)
    assert usage.cost_usd == pytest.approx(200 * 10e-6 + 800 * 1e-6 + 10 * 100e-6)


async def test_cached_tokens_by_deepseeks_name_are_billed_once() -> None:
    report = counts("chat", 1000, 10, prompt_cache_hit_tokens=800, prompt_cache_miss_tokens=200)
    usage = await used(answered("chat", report), model=PRICED)
    assert usage.cached_input_tokens == 800
    assert usage.cost_usd == pytest.approx(200 * 10e-6 + 800 * 1e-6 + 10 * 100e-6)


@APIS
async def test_more_cached_tokens_than_input_are_no_more_than_the_input(api: Any) -> None:
    usage = await used(answered(api, counts(api, 100, 0, cached=500)), api=api, model=PRICED)
    assert usage.cached_input_tokens == 100
    assert usage.cost_usd == pytest.approx(100 * 1e-6)


# Money


@APIS
@pytest.mark.parametrize("cost", [0.25, 0, 1e-9])
async def test_the_cost_that_the_endpoint_reports_goes_before_prices(api: Any, cost: float) -> None:
    usage = await used(answered(api, counts(api, 7, 2, cost=cost)), api=api, model=PRICED)
    assert usage.cost_usd == cost


@APIS
@pytest.mark.parametrize("odd", [-1, "0.25", True, None, {}], ids=str)
async def test_a_cost_that_is_none_leaves_it_to_the_prices(api: Any, odd: Any) -> None:
    usage = await used(answered(api, counts(api, 7, 2, cost=odd)), api=api, model=PRICED)
    assert usage.cost_usd == pytest.approx(7 * 10e-6 + 2 * 100e-6)


@APIS
@pytest.mark.parametrize("model", ["m-1", "gpt-5.1"])
async def test_a_cost_that_no_one_knows_is_none_and_not_0(api: Any, model: str) -> None:
    # A server of one's own may call its model "gpt-5.1": OpenAI's prices are not its prices.
    usage = await used(answered(api, counts(api, 7, 2)), api=api, model=model)
    assert usage.cost_usd is None


@APIS
async def test_an_estimate_is_priced_like_a_report(api: Any) -> None:
    usage = await used(answered(api, False), api=api, model=PRICED)
    assert usage.estimated
    assert usage.cost_usd == pytest.approx(usage.input_tokens * 10e-6 + usage.output_tokens * 100e-6)


@pytest.mark.parametrize(
    ("api", "reply"),
    [
        ("chat", completion_reply("Hi", usage=counts("chat", 1000, 10, cached=800))),
        ("responses", whole_response_reply("Hi", usage=counts("responses", 1000, 10, cached=800))),
    ],
    ids=["chat", "responses"],
)
async def test_an_answer_that_was_not_streamed_is_counted_and_billed_alike(api: Any, reply: Reply) -> None:
    usage = await used(reply, api=api, model=PRICED)
    assert (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens) == (1000, 800, 10)
    assert usage.cost_usd == pytest.approx(200 * 10e-6 + 800 * 1e-6 + 10 * 100e-6)


@APIS
async def test_at_its_providers_address_a_model_costs_its_list_price(api: Any) -> None:
    body = body_of(answered(api, counts(api, 1_000_000, 100_000, cached=400_000)))
    headers = {"Content-Type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body, headers=headers))
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        OpenAIClient("gpt-5.1", base_url="https://api.openai.com/v1", api_key="EMPTY", http_client=http) as client,
    ):
        result = await client.invoke(messages=HELLO, api=api)
    assert result.usage is not None
    # USD per million, read 2026-11-21: 1.25 in, 0.125 cached, 10 out.
    assert result.usage.cost_usd == pytest.approx(0.6 * 1.25 + 0.4 * 0.125 + 0.1 * 10)
