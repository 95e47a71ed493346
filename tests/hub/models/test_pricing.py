"""What a call cost: once for each token, by the right price, and unknown where it is unknown."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from hub.errors import ConfigurationError
from hub.models import price_data
from hub.models.catalog import GPT5, GPT5Point1, GPT6Point1Sol, TextEmbedding3Large
from hub.models.pricing import UsageCosts
from hub.models.profile import ModelProfile
from hub.result import TokenUsage

OPENAI = "https://api.openai.com/v1"
AT = datetime(2026, 11, 21, tzinfo=UTC)
USAGE = TokenUsage(input_tokens=1_000_000, output_tokens=100_000, total_tokens=1_100_000, cached_input_tokens=400_000)


def million(million_usd: float) -> float:
    return million_usd / 1e6


OWN = UsageCosts(input=million(1), output=million(2), cached_input=million(0.1))


def cost(profile: ModelProfile | type[ModelProfile], usage: TokenUsage = USAGE, **more: Any) -> float | None:
    return profile.price(usage, **{"at": AT, **more}).cost_usd


def parsed_cost(profile: type[ModelProfile], usage: dict[str, Any], **more: Any) -> float | None:
    parsed = profile.parse_usage(usage, **{"at": AT, **more})
    assert parsed is not None
    return parsed.cost_usd


def test_cached_tokens_are_billed_once() -> None:
    assert OWN.cost(USAGE) == pytest.approx(0.6 + 0.04 + 0.2)
    assert cost(GPT5) == pytest.approx(0.6 * 1.25 + 0.4 * 0.125 + 0.1 * 10)


def test_cached_tokens_without_a_price_of_their_own_cost_what_others_do() -> None:
    assert UsageCosts(input=million(1), output=0.0).cost(USAGE) == pytest.approx(1.0)


def test_more_cached_tokens_than_input_are_no_more_than_the_input() -> None:
    usage = TokenUsage(input_tokens=10, cached_input_tokens=20, output_tokens=1, reasoning_tokens=5)
    assert OWN.cost(usage) == pytest.approx(10 * million(0.1) + million(2))
    assert cost(GPT5, usage) == pytest.approx(10 * million(0.125) + million(10))


def test_only_the_cost_is_added() -> None:
    assert GPT5.price(USAGE, at=AT) == TokenUsage(
        input_tokens=1_000_000,
        output_tokens=100_000,
        total_tokens=1_100_000,
        cached_input_tokens=400_000,
        cost_usd=cost(GPT5),
    )


def test_a_cost_the_endpoint_reported_wins_over_every_price() -> None:
    usage = TokenUsage(input_tokens=10, cost_usd=0.5)
    assert (cost(GPT5, usage), cost(ModelProfile(model_name="m", usage_costs=OWN), usage)) == (0.5, 0.5)
    assert parsed_cost(GPT5, {"prompt_tokens": 10, "cost": 0}) == 0.0


@pytest.mark.parametrize("base_url", [None, OPENAI, "http://localhost:8000/v1", "https://gateway.example.org/v1"])
def test_own_prices_win_everywhere(base_url: str | None) -> None:
    profile = dataclasses.replace(GPT5(), usage_costs=OWN)
    assert cost(profile, base_url=base_url) == pytest.approx(OWN.cost(USAGE))
    assert cost(profile, base_url=base_url, service_tier="flex") == pytest.approx(OWN.cost(USAGE))


@pytest.mark.parametrize(
    "base_url",
    [
        "http://localhost:8000/v1",
        "http://127.0.0.1:8000/v1",
        "http://[::1]:8000/v1",
        "http://gpu-server/v1",
        "https://llm.example.org/v1",
        "https://api.openai.com.example.org/v1",
        "https://eu.api.openai.com/v1",  # costs more than the list price
        "http://[broken",
        "",
    ],
)
def test_list_prices_don_t_hold_at_an_address_of_nobody_who_publishes_them(base_url: str) -> None:
    assert cost(GPT5, base_url=base_url) is None
    assert cost(ModelProfile(model_name="gpt-5"), base_url=base_url) is None


@pytest.mark.parametrize(
    "base_url",
    [OPENAI, "https://api.openai.com", "https://API.openai.com:443/v1/", "https://mine.openai.azure.com/openai/v1/"],
)
def test_list_prices_hold_where_the_provider_or_who_sells_its_models_answers(base_url: str) -> None:
    assert cost(GPT5, base_url=base_url) == cost(GPT5) is not None
    assert cost(ModelProfile(model_name="gpt-5"), base_url=base_url) == cost(GPT5)


def test_another_provider_s_price_is_its_own() -> None:
    profile = ModelProfile(model_name="deepseek-chat")
    at_deepseek = cost(profile, base_url="https://api.deepseek.com/v1")
    assert at_deepseek is not None
    assert cost(profile, base_url=OPENAI) is None
    assert cost(ModelProfile.get("openai/gpt-5"), base_url="https://openrouter.ai/api/v1") is not None


@pytest.mark.parametrize("name", ["gpt-5-2025-08-07", "openai/gpt-5"])
def test_a_model_under_another_name_of_its_own_costs_the_same(name: str) -> None:
    assert cost(ModelProfile.get(name)) == pytest.approx(cost(GPT5))


def test_a_deployment_of_any_name_has_the_list_prices_its_profile_states() -> None:
    deployment = dataclasses.replace(GPT5(), model_name="prod-eu")
    assert cost(deployment, base_url="https://mine.openai.azure.com/openai/v1/") == pytest.approx(cost(GPT5))
    assert cost(deployment) == pytest.approx(cost(GPT5))
    assert cost(deployment, base_url="https://api.deepseek.com") is None
    assert cost(deployment, service_tier="flex") is None


def test_what_nobody_knows_is_none_and_never_0() -> None:
    for name in ("llama3.2", "my-model", "x" * 10_000):
        assert cost(ModelProfile(model_name=name)) is None
        assert cost(ModelProfile(model_name=name), TokenUsage()) is None


def test_output_of_a_model_that_has_a_price_for_input_only_is_unknown() -> None:
    assert cost(TextEmbedding3Large, TokenUsage(input_tokens=1_000_000)) == pytest.approx(0.13)
    assert cost(TextEmbedding3Large, TokenUsage(input_tokens=10, output_tokens=1)) is None


def test_a_long_input_costs_by_its_tier() -> None:
    short = TokenUsage(input_tokens=272_000, output_tokens=1_000)
    long = TokenUsage(input_tokens=272_001, output_tokens=1_000)
    assert cost(GPT6Point1Sol, short) == pytest.approx(0.272 * 2 + 0.001 * 10)
    assert cost(GPT6Point1Sol, long) == pytest.approx(0.272001 * 4 + 0.001 * 15)


def test_written_cache_is_billed_at_its_price_and_once() -> None:
    details = {"cached_tokens": 200_000, "cache_write_tokens": 50_000}
    expected = 0.02 * 2 / 2 + 0.0 + 0.2 * 0.1 + 0.05 * 2.5  # 10,000 others
    usage = {"input_tokens": 260_000, "output_tokens": 0, "input_tokens_details": details}
    assert parsed_cost(GPT6Point1Sol, usage) == pytest.approx(expected)
    own = UsageCosts(input=million(2), output=million(10), cached_input=million(0.1), cache_write=million(2.5))
    counts = TokenUsage(input_tokens=260_000, cached_input_tokens=200_000)
    assert own.cost(counts, cache_write_tokens=50_000) == pytest.approx(expected)
    assert own.cost(counts, cache_write_tokens=10**9) == pytest.approx(0.2 * 0.1 + 0.06 * 2.5)


def test_a_service_tier_has_its_own_price_from_wherever_it_is_told() -> None:
    assert cost(GPT5Point1, service_tier="flex") == pytest.approx(cost(GPT5Point1) / 2)  # type: ignore[operator]
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    assert parsed_cost(GPT5Point1, usage | {"service_tier": "priority"}) == pytest.approx(2.5)
    assert parsed_cost(GPT5Point1, usage, service_tier="flex") == pytest.approx(0.625)
    for usual in ("default", "auto"):
        assert parsed_cost(GPT5Point1, usage, service_tier=usual) == pytest.approx(1.25)


@pytest.mark.parametrize("tier", ["ultrafast", "scale", "batch"])
def test_a_tier_whose_prices_are_unknown_makes_the_cost_unknown(tier: str) -> None:
    assert cost(GPT5Point1, service_tier=tier) is None
    assert cost(GPT5Point1, service_tier="flex", base_url="https://mine.openai.azure.com/openai/v1") is None
    assert cost(GPT5Point1, service_tier="flex", at=datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_sound_is_billed_at_its_price() -> None:
    text = {"prompt_tokens": 1_000, "completion_tokens": 1_000}
    sound = text | {"prompt_tokens_details": {"audio_tokens": 1_000}}
    profile = type("Sound", (ModelProfile,), {"model_name": "gpt-audio"})
    assert parsed_cost(profile, sound) > parsed_cost(profile, text)  # type: ignore[operator]


def test_sound_from_the_cache_that_can_t_be_told_apart_makes_the_cost_unknown() -> None:
    usage = {"prompt_tokens": 100, "prompt_tokens_details": {"audio_tokens": 50, "cached_tokens": 70}}
    assert parsed_cost(type("Realtime", (ModelProfile,), {"model_name": "gpt-realtime"}), usage) is None


def test_a_price_is_that_of_its_day() -> None:
    profile = ModelProfile(model_name="deepseek-chat")
    night, day = (cost(profile, at=datetime(2026, 11, 21, hour, tzinfo=UTC)) for hour in (20, 10))
    assert night is not None
    assert day is not None
    assert night < day


def test_a_model_is_looked_up_once() -> None:
    offer = price_data.find_offer("gpt-5", provider_id="openai")
    assert offer is not None
    assert price_data.find_offer("gpt-5", provider_id="openai") is offer


def test_names_without_number_take_no_memory() -> None:
    for number in range(600):
        price_data.find_offer(f"model-{number}")
    assert price_data._find_offer.cache_info().currsize <= 256


@pytest.mark.parametrize("prices", [{"input": -1}, {"output": float("nan")}, {"input": None}, {"cached_input": "1"}])
def test_a_price_that_is_none_is_refused(prices: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="must be USD per token"):
        UsageCosts(**{"input": 0.0, "output": 0.0, **prices})


def test_a_self_hosted_model_needs_no_price_data() -> None:
    script = (
        "import json, sys; from hub.models.profile import ModelProfile\n"
        "usage = ModelProfile.get('gpt-5').parse_usage({'prompt_tokens': 1}, base_url='http://localhost:8000/v1')\n"
        "print(json.dumps([usage.cost_usd, 'genai_prices' in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(run.stdout) == [None, False]


def test_prices_need_no_network() -> None:
    script = (
        "import socket, threading\n"
        "def refuse(*args, **kwargs): raise AssertionError('a connection')\n"
        "socket.socket.connect = refuse\n"
        "from hub.models.catalog import GPT5\n"
        "print(GPT5.parse_usage({'prompt_tokens': 1}).cost_usd, threading.active_count())"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["1.25e-06", "1"]
