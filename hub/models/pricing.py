"""What a call cost: by the prices a profile states, else by the list prices of whoever sells at that address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from types import MappingProxyType
from urllib.parse import urlsplit

from hub.errors import ConfigurationError
from hub.models.usage import STANDARD_TIERS
from hub.result import TokenUsage

__all__ = ("UsageCosts", "cost_usd", "may_have_list_prices", "prepare")

_NO_DETAILS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageCosts:
    """Prices in USD per token.

    Attributes:
        input: A token of the input.
        output: A token of the output, reasoning included.
        cached_input: A token of the input that came from the endpoint's cache; None where it costs what others do.
        cache_write: A token of the input that was written to that cache; None where it costs what others do.
        provider: Whose list prices these are, by its name in genai-prices ("openai"). They hold only where that
            provider answers, and its data there, which knows tiers and dates, goes before them. None for your own
            prices, which hold everywhere.

    Raises:
        ConfigurationError: A price is negative or no number.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    provider: str | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input", "cache_write"):
            price = getattr(self, name)
            optional = name in ("cached_input", "cache_write")
            if (price is not None or not optional) and not _is_price(price):
                raise ConfigurationError(f"UsageCosts: {name} must be USD per token, at least 0, not {price!r}.")

    def cost(self, usage: TokenUsage, *, cache_write_tokens: int = 0) -> float:
        """What this usage costs in USD; cached and written tokens, being parts of the input, are billed once."""
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        written = min(cache_write_tokens, usage.input_tokens - cached)
        return (
            (usage.input_tokens - cached - written) * self.input
            + cached * (self.input if self.cached_input is None else self.cached_input)
            + written * (self.input if self.cache_write is None else self.cache_write)
            + usage.output_tokens * self.output
        )


def cost_usd(
    usage: TokenUsage,
    *,
    model_name: str,
    usage_costs: UsageCosts | None = None,
    base_url: str | None = None,
    service_tier: str | None = None,
    details: Mapping[str, int] = _NO_DETAILS,
    at: datetime | None = None,
) -> float | None:
    """What this usage cost in USD; None where that is unknown.

    Args:
        usage: The counts; its own `cost_usd` is not looked at.
        model_name: The name the endpoint knows the model by.
        usage_costs: The prices of the model's profile.
        base_url: Where the endpoint is. At an address of nobody who publishes prices only one's own prices hold: a
            server of one's own may call its model "gpt-5". None where the address isn't known; then the model's
            name alone tells whose prices they are.
        service_tier: The tier the endpoint says it used; at one whose prices are unknown the cost is.
        details: Further counts, as `hub.models.usage.billing_details` gives them.
        at: When the call was made, since prices change; None for now. Without a time zone it is UTC.
    """
    written = details.get("cache_write_tokens", 0)
    if usage_costs is not None and usage_costs.provider is None:
        return usage_costs.cost(usage, cache_write_tokens=written)
    if base_url is not None and _is_private(base_url):
        return None
    # Loaded on first use: its data take a fifth of a second and 22 MB, which self-hosted models never need.
    from hub.models import price_data

    provider_id = None if usage_costs is None else usage_costs.provider
    offer = price_data.find_offer(model_name, provider_id=provider_id, base_url=base_url)
    if offer is not None:
        return price_data.list_cost_usd(offer, usage, service_tier=service_tier, details=details, at=at)
    if usage_costs is None or usage_costs.provider is None or not _is_standard(service_tier):
        return None
    if base_url is not None and not price_data.sells_for(usage_costs.provider, base_url):
        return None
    return usage_costs.cost(usage, cache_write_tokens=written)


def may_have_list_prices(base_url: str) -> bool:
    """Whether prices for what answers there may be listed somewhere: not for an address of a local network."""
    return not _is_private(base_url)


def prepare() -> None:
    """Load the list prices, which takes a fifth of a second; from any thread, ahead of the first `cost_usd`."""
    from hub.models import price_data

    price_data.find_offer("gpt-5.1", provider_id="openai")


def _is_standard(service_tier: str | None) -> bool:
    return service_tier is None or service_tier in STANDARD_TIERS


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _is_private(base_url: str) -> bool:
    """Whether an address is of the kind nobody sells at: an IP address, or a name of a local network."""
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return True
    return "." not in host or ":" in host or host.replace(".", "").isdigit()
