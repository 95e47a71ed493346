"""The models whose profiles come with this package.

Windows, limits, dates and parameters are those of OpenAI's model, pricing and deprecation pages
(developers.openai.com/api/docs, read 2026-11-21). The prices stand here to be read; calls are billed by genai-prices,
which knows their tiers too, and a test compares the two. Rate limits are those of the
lowest paid tier, where published.
"""

from __future__ import annotations

from datetime import date

from hub.models.pricing import UsageCosts
from hub.models.profile import ModelProfile, RateLimits

__all__ = (
    "GPT5",
    "GPT5Mini",
    "GPT5Nano",
    "GPT5Point1",
    "GPT5Point2",
    "GPT6Point1Sol",
    "GPT6Point1Terra",
    "TextEmbedding3Large",
    "TextEmbedding3Small",
)


def _usd_per_million(**prices: float) -> UsageCosts:
    return UsageCosts(**{name: price / 1e6 for name, price in prices.items()}, provider="openai")


class _GPT5Family(ModelProfile):
    """What GPT-5 to GPT-5.2 have in common; the encoding is what tiktoken 0.14 has for every name in `gpt-5`."""

    context_window = 400_000
    max_input = 272_000
    max_output = 128_000
    encoding = "o200k_base"
    takes_max_completion_tokens = True


class GPT5(_GPT5Family):
    """GPT-5. It always reasons, so it refuses a temperature."""

    model_name = "gpt-5"
    usage_costs = _usd_per_million(input=1.25, cached_input=0.125, output=10)
    rate_limits = RateLimits(tkn_per_min=500_000, req_per_min=500)
    deprecated_at = date(2026, 12, 11)
    takes_temperature = False


class GPT5Mini(_GPT5Family):
    """GPT-5 mini. It always reasons, so it refuses a temperature."""

    model_name = "gpt-5-mini"
    usage_costs = _usd_per_million(input=0.25, cached_input=0.025, output=2)
    rate_limits = RateLimits(tkn_per_min=500_000, req_per_min=500)
    deprecated_at = date(2026, 12, 11)
    takes_temperature = False


class GPT5Nano(_GPT5Family):
    """GPT-5 nano. It always reasons, so it refuses a temperature."""

    model_name = "gpt-5-nano"
    usage_costs = _usd_per_million(input=0.05, cached_input=0.005, output=0.4)
    rate_limits = RateLimits(tkn_per_min=200_000, req_per_min=500)
    deprecated_at = date(2026, 12, 11)
    takes_temperature = False


class GPT5Point1(_GPT5Family):
    """GPT-5.1. It takes a temperature as long as `reasoning_effort` is "none", which it is by default."""

    model_name = "gpt-5.1"
    usage_costs = _usd_per_million(input=1.25, cached_input=0.125, output=10)
    deprecated_at = date(2027, 4, 1)


class GPT5Point2(_GPT5Family):
    """GPT-5.2. It takes a temperature as long as `reasoning_effort` is "none", which it is by default."""

    model_name = "gpt-5.2"
    usage_costs = _usd_per_million(input=1.75, cached_input=0.175, output=14)


class _GPT6Point1Family(ModelProfile):
    """What the models of GPT-6.1 have in common.

    They take tools by the Responses API only. Above 272,000 tokens of input the whole call costs more than
    `usage_costs` says. Their encoding is not published.
    """

    context_window = 1_050_000
    max_input = 922_000
    max_output = 128_000
    api = "responses"
    takes_max_completion_tokens = True
    takes_temperature = False


class GPT6Point1Sol(_GPT6Point1Family):
    """GPT-6.1 Sol. It always reasons, so it refuses a temperature."""

    model_name = "gpt-6.1-sol"
    usage_costs = _usd_per_million(input=2, cached_input=0.1, cache_write=2.5, output=10)


class GPT6Point1Terra(_GPT6Point1Family):
    """GPT-6.1 Terra. It reasons by default, and then refuses a temperature."""

    model_name = "gpt-6.1-terra"
    usage_costs = _usd_per_million(input=1, cached_input=0.05, cache_write=1.25, output=5)


class _TextEmbedding3Family(ModelProfile):
    """What the embedding models have in common; the encoding is the one tiktoken 0.14 has for them."""

    category = "embeddings"
    context_window = 8_192
    max_input = 8_192
    encoding = "cl100k_base"
    rate_limits = RateLimits(tkn_per_min=1_000_000, req_per_min=3_000)


class TextEmbedding3Large(_TextEmbedding3Family):
    """The larger embedding model; it shortens its vectors where `dimensions` asks for it."""

    model_name = "text-embedding-3-large"
    output_dimensions = 3_072
    usage_costs = _usd_per_million(input=0.13, output=0)


class TextEmbedding3Small(_TextEmbedding3Family):
    """The smaller embedding model; it shortens its vectors where `dimensions` asks for it."""

    model_name = "text-embedding-3-small"
    output_dimensions = 1_536
    usage_costs = _usd_per_million(input=0.02, output=0)
