"""The catalog against genai-prices, against the figures it was made from, and against its page."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from hub.models import catalog
from hub.models.pricing import UsageCosts
from hub.models.profile import ModelProfile
from hub.result import TokenUsage

MODELS: list[type[ModelProfile]] = [getattr(catalog, name) for name in catalog.__all__]
PAGE = Path(__file__).parents[3] / "docs" / "models.md"
AT = datetime(2026, 11, 21, tzinfo=UTC)

# USD a million tokens: input, cached input, output.
FIGURES = {
    "gpt-5": (1.25, 0.125, 10),
    "gpt-5-mini": (0.25, 0.025, 2),
    "gpt-5-nano": (0.05, 0.005, 0.4),
    "gpt-5.1": (1.25, 0.125, 10),
    "gpt-5.2": (1.75, 0.175, 14),
    "gpt-6.1-sol": (2, 0.1, 10),
    "gpt-6.1-terra": (1, 0.05, 5),
    "text-embedding-3-large": (0.13, None, 0),
    "text-embedding-3-small": (0.02, None, 0),
}


def costs(model: type[ModelProfile]) -> UsageCosts:
    assert model.usage_costs is not None
    return model.usage_costs


def test_every_model_has_its_figures() -> None:
    assert {model.model_name for model in MODELS} == set(FIGURES)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_prices_to_read_are_those_it_is_billed_by(model: type[ModelProfile]) -> None:
    output = 0 if model.category == "embeddings" else 1_000
    usage = TokenUsage(input_tokens=9_000, cached_input_tokens=4_000, output_tokens=output)
    assert model.price(usage, at=AT).cost_usd == pytest.approx(costs(model).cost(usage))
    details = {"input_tokens_details": {"cached_tokens": 4_000, "cache_write_tokens": 3_000}}
    written = model.parse_usage({"input_tokens": 9_000, "output_tokens": output, **details}, at=AT)
    assert written is not None
    assert written.cost_usd == pytest.approx(costs(model).cost(usage, cache_write_tokens=3_000))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_prices_are_the_figures(model: type[ModelProfile]) -> None:
    prices = costs(model)
    seen = (prices.input, prices.cached_input, prices.output)
    expected = tuple(None if figure is None else figure / 1e6 for figure in FIGURES[model.model_name])
    assert seen == expected
    assert prices.provider == "openai"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_is_found_by_its_name_and_makes_sense(model: type[ModelProfile]) -> None:
    profile = ModelProfile.get(model.model_name)
    assert type(profile) is model
    assert (profile.key, model.__doc__ is not None) == (model.model_name, True)
    assert profile.context_window is not None
    assert profile.max_input is not None
    assert profile.max_input <= profile.context_window
    if profile.category == "completions":
        assert profile.max_output == 128_000
        assert profile.max_input + profile.max_output == profile.context_window


def test_models_that_always_reason_take_no_temperature() -> None:
    refusing = {model.model_name for model in MODELS if not model.takes_temperature}
    assert refusing == {"gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-6.1-sol", "gpt-6.1-terra"}


def test_the_days_on_which_models_end_are_known() -> None:
    ends = {model.model_name: model.deprecated_at for model in MODELS if model.deprecated_at is not None}
    last = date(2026, 12, 11)
    assert ends == {"gpt-5": last, "gpt-5-mini": last, "gpt-5-nano": last, "gpt-5.1": date(2027, 4, 1)}


def row(model: type[ModelProfile]) -> list[str]:
    """A model's row of the page's table."""
    prices, limits = costs(model), model.rate_limits
    usd = ["" if price is None else f"{price * 1e6:g}" for price in (prices.input, prices.cached_input, prices.output)]
    return [
        f"`{model.__name__}`",
        f"`{model.model_name}`",
        f"{model.context_window:,}",
        f"{model.max_input:,}",
        str(model.output_dimensions or "") if model.category == "embeddings" else f"{model.max_output:,}",
        " / ".join(usd) if model.category == "completions" else usd[0],
        "" if limits is None else f"{limits.tkn_per_min:,} / {limits.req_per_min:,}",
        "" if model.deprecated_at is None else model.deprecated_at.isoformat(),
    ]


def test_the_page_s_table_is_the_catalog() -> None:
    table = PAGE.read_text().partition("## The catalog\n")[2].partition("\n## ")[0]
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    assert rows == [row(model) for model in MODELS]


def test_the_page_lists_every_fact_of_a_profile() -> None:
    table = PAGE.read_text().partition("## Facts\n")[2].partition("\n## ")[0]
    listed = [
        word
        for line in table.splitlines()
        if line.startswith("| `")
        for word in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert listed == [field.name for field in fields(ModelProfile)]
