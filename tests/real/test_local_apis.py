"""One real answer by each way of asking for it: both APIs, usage, log probabilities, choices, replays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from hub.client import OpenAIClient
from hub.events import TextDelta
from hub.local_model import LocalModel
from hub.testing import check_grammar, forbid_real_calls, recorded
from tests.real.support import QUESTION, REAL, ask_server

pytestmark = REAL

APIS: list[Literal["chat", "responses"]] = ["chat", "responses"]


async def test_at_temperature_0_both_apis_say_and_count_the_same(client: OpenAIClient) -> None:
    chat, responses = [await client.invoke(messages=QUESTION, max_tokens=24, api=api) for api in APIS]
    assert chat.text == responses.text
    assert len(chat.text) > 20
    assert chat.usage is not None
    assert responses.usage is not None
    assert (chat.usage.input_tokens, chat.usage.output_tokens) == (
        responses.usage.input_tokens,
        responses.usage.output_tokens,
    )


@pytest.mark.parametrize("api", APIS)
async def test_usage_is_what_the_server_itself_counts(client: OpenAIClient, model: LocalModel, api: Any) -> None:
    question = [{"role": "user", "content": "Where is the café «Ω»? 你好"}]
    result = await client.invoke(messages=question, max_tokens=16, api=api)
    prompt = (await ask_server(model, "/apply-template", {"messages": question}))["prompt"]
    options = {"add_special": True, "parse_special": True}
    read = (await ask_server(model, "/tokenize", {"content": prompt, **options}))["tokens"]
    written = (await ask_server(model, "/tokenize", {"content": result.text}))["tokens"]
    assert result.usage is not None
    assert (result.usage.estimated, result.usage.input_tokens) == (False, len(read))
    # The end of a turn is a token without text, and what was made of two tokens may be read as one.
    assert abs(result.usage.output_tokens - len(written)) <= 2
    assert result.usage.total_tokens == result.usage.input_tokens + result.usage.output_tokens
    assert result.usage.cost_usd is None


async def test_the_same_prompt_again_is_read_from_the_servers_cache(client: OpenAIClient) -> None:
    question = [{"role": "user", "content": "Name three rivers of Europe, please."}]
    await client.invoke(messages=question, max_tokens=2)
    usage = (await client.invoke(messages=question, max_tokens=2)).usage
    assert usage is not None
    assert 0 < usage.cached_input_tokens < usage.input_tokens


async def test_log_probabilities_stand_beside_the_text_they_belong_to(client: OpenAIClient) -> None:
    events = [event async for event in client.stream(messages=QUESTION, max_tokens=6, logprobs=True, top_logprobs=2)]
    check_grammar(events)
    deltas = [event for event in events if isinstance(event, TextDelta)]
    plain = await client.invoke(messages=QUESTION, max_tokens=6)
    assert "".join(delta.text for delta in deltas) == plain.text
    for delta in deltas:
        assert "".join(token["token"] for token in delta.logprobs or ()) == delta.text


async def test_the_result_has_the_log_probabilities_of_every_token(client: OpenAIClient) -> None:
    result = await client.invoke(messages=QUESTION, max_tokens=6, logprobs=True, top_logprobs=2)
    assert result.usage is not None
    assert len(result.logprobs) == result.usage.output_tokens == 6
    for token in result.logprobs:
        assert token["logprob"] <= 0
        # At temperature 0 the likeliest token is the one that was taken.
        assert token["top_logprobs"][0]["token"] == token["token"]


async def test_log_probabilities_that_the_server_leaves_out_break_nothing(client: OpenAIClient) -> None:
    asked, plain = [
        await client.invoke(messages=QUESTION, max_tokens=6, api="responses", **options)
        for options in ({"logprobs": True}, {})
    ]
    assert (asked.status, asked.text) == ("completed", plain.text)


async def test_two_choices_are_told_apart(client: OpenAIClient) -> None:
    events = [event async for event in client.stream(messages=QUESTION, max_tokens=8, n=2, temperature=1.0, seed=1)]
    check_grammar(events)
    result = await client.invoke(messages=QUESTION, max_tokens=8, n=2, temperature=1.0, seed=1)
    assert [choice.choice for choice in result.choices] == [0, 1]
    assert result.choices[0].text != result.choices[1].text
    assert all(choice.text for choice in result.choices)
    assert result.finish_reasons == ("length", "length")
    assert result.text == result.choices[0].text


async def test_a_response_is_a_dictionary_that_json_holds(client: OpenAIClient, model: LocalModel) -> None:
    response = await client.get_response(messages=QUESTION, max_tokens=6, identifier="mine")
    assert json.loads(json.dumps(response)) == response
    assert (response["error"], response["status"], response["identifier"]) == ("OK", "completed", "mine")
    assert (response["model"], response["finish_reason"]) == (model.model, "length")
    assert response["usage"]["output_tokens"] == 6
    assert response["output"]


async def test_the_server_names_its_model(client: OpenAIClient, model: LocalModel) -> None:
    assert await client.list_models() == [model.model]


@pytest.mark.parametrize("api", APIS)
async def test_a_real_stream_recorded_is_replayed_without_the_server(
    model: LocalModel, tmp_path: Path, api: Any
) -> None:
    path = tmp_path / "colours.json"

    async def answer() -> Any:
        async with (
            recorded(path, environ={}) as http,
            OpenAIClient(
                model.model, base_url=model.base_url, api_key="EMPTY", temperature=0, http_client=http
            ) as client,
        ):
            return await client.invoke(messages=QUESTION, max_tokens=12, api=api, stream_id="str_1")

    live = await answer()
    with forbid_real_calls():
        replayed = await answer()
    assert live.status == "completed"
    assert msgspec.structs.replace(replayed, last_seq=live.last_seq) == live
