"""The list prices that `genai-prices` carries. Nothing here asks the network: the data are the package's own.

A program that keeps them fresh by that package's `UpdatePrices` gets the fresh ones here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider

from hub.models.usage import STANDARD_TIERS
from hub.result import TokenUsage

__all__ = ("Offer", "find_offer", "list_cost_usd", "sells_for")


class Offer(NamedTuple):
    """A model as somebody sells it."""

    provider: Provider
    model: ModelInfo


def find_offer(model_name: str, *, provider_id: str | None = None, base_url: str | None = None) -> Offer | None:
    """Who sells a model of that name at that address, else under that id, else the one whose names are like that."""
    return _find_offer(model_name, provider_id, _address(base_url), get_snapshot().timestamp)


def sells_for(provider_id: str, base_url: str) -> bool:
    """Whether that provider answers at the address, or another one that sells its models (Azure those of OpenAI)."""
    at_address = list(_providers_at(_address(base_url) or ""))
    return any(
        provider.id == provider_id or provider_id in (provider.fallback_model_providers or ())
        for provider in at_address
    )


def list_cost_usd(
    offer: Offer,
    usage: TokenUsage,
    *,
    service_tier: str | None,
    details: Mapping[str, int],
    at: datetime | None,
) -> float | None:
    """What this usage cost by the offer's list prices in USD; None where a price it needs isn't listed."""
    at = at or datetime.now(UTC)
    if service_tier in STANDARD_TIERS:
        service_tier = None
    if service_tier is not None and not _knows_tier(offer, service_tier, at):
        return None
    context = None if service_tier is None else {"service_tier": service_tier}
    prices = offer.model.get_prices(at, context)
    if (usage.input_tokens and prices.input_mtok is None) or (usage.output_tokens and prices.output_mtok is None):
        return None
    try:
        calculation = offer.model.calc_price(
            _usage(usage, details), offer.provider, genai_request_timestamp=at, price_context=context
        )
    except ValueError:  # counts that overlap in a way they can't be told apart, such as sound from the cache
        return None
    return float(calculation.total_price)


def _usage(usage: TokenUsage, details: Mapping[str, int]) -> Usage:
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    parts = {
        **details,
        "cache_read_tokens": cached,
        "cache_write_tokens": min(details.get("cache_write_tokens", 0), usage.input_tokens - cached),
        "output_reasoning_tokens": min(usage.reasoning_tokens, usage.output_tokens),
    }
    counts = {name: count for name, count in parts.items() if count}
    return Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, **counts)


def _knows_tier(offer: Offer, service_tier: str, at: datetime) -> bool:
    # A provider that sells another's models sells them at its own tiers, which the data don't have.
    if not any(offer.model is model for model in offer.provider.models):
        return False
    return any(
        variant.when == {"service_tier": service_tier} and (variant.constraint is None or variant.constraint.active(at))
        for variant in offer.model.price_variants or ()
    )


# Names of models may come from users, so the package's own look-up, which remembers every name, is not used. The time
# of the data is an argument so that fresh data are looked at afresh.
@lru_cache(maxsize=256)
def _find_offer(model_name: str, provider_id: str | None, address: str | None, snapshot_at: datetime) -> Offer | None:
    providers = get_snapshot().providers
    if address is not None:
        chosen = list(_providers_at(address))
    elif provider_id is not None:
        chosen = [provider for provider in providers if provider.id == provider_id]
    else:
        name = model_name.lower()
        chosen = [each for each in providers if each.model_match is not None and each.model_match.is_match(name)]
    for provider in chosen:
        if (model := provider.find_model(model_name, all_providers=providers)) is not None:
            return Offer(provider, model)
    return None


def _providers_at(address: str) -> Iterator[Provider]:
    for provider in get_snapshot().providers:
        match = re.match(provider.api_pattern, address)
        # A pattern may end at the end of a host's name without saying so: api.openai.com.example.org is another's.
        if match and (match.end() == len(address) or address[match.end()] == "/" or match[0][-1] in "./"):
            yield provider


def _address(base_url: str | None) -> str | None:
    """The address without user, password, port and query, as the providers' patterns expect it."""
    if base_url is None:
        return None
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"
