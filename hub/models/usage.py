"""Reported usage, in the shapes endpoints give it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.result import TokenUsage

__all__ = ("MAX_COUNT", "STANDARD_TIERS", "billing_details", "parse_usage", "reported_service_tier")

STANDARD_TIERS = frozenset(("auto", "default", "standard"))
"""Service tiers that are billed at the usual prices."""

MAX_COUNT = 2**53
"""Above it a number is no count, and JSON readers in browsers would round it."""


def parse_usage(usage: Any) -> TokenUsage | None:
    """The counts of a `usage` object; None where it has none (Vertex sends usage without counts).

    Understood are Chat Completions' names (`prompt_tokens` …), the Responses API's (`input_tokens` …) and those of
    embeddings. `cost_usd` is what the endpoint itself says the call cost, None where it doesn't.
    """
    if not isinstance(usage, Mapping):
        return None
    prompt = _first_count(usage, "prompt_tokens", "input_tokens")
    completion = _first_count(usage, "completion_tokens", "output_tokens")
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    total = _count(usage.get("total_tokens"))
    cached = _input_detail(usage, "cached_tokens")
    if cached is None:  # DeepSeek
        cached = _count(usage.get("prompt_cache_hit_tokens"))
    reasoning = _output_detail(usage, "reasoning_tokens")
    if reasoning is None:
        reasoning = _count(usage.get("reasoning_tokens"))
    return TokenUsage(
        input_tokens=prompt,
        output_tokens=completion,
        total_tokens=prompt + completion if total is None else total,
        cached_input_tokens=min(cached or 0, prompt),
        # Baseten reports more reasoning tokens than output tokens.
        reasoning_tokens=min(reasoning or 0, completion),
        cost_usd=_usd(usage.get("cost")),
    )


def billing_details(usage: Mapping[str, Any]) -> dict[str, int]:
    """The parts of a `usage` object that have prices of their own and no field in `TokenUsage`.

    The keys are `cache_write_tokens`, `input_audio_tokens` and `output_audio_tokens`, each there only where it is
    above 0. All are parts of the input or the output, as cached tokens are.
    """
    written = _input_detail(usage, "cache_write_tokens")
    if written is None:  # gateways before Anthropic's models
        written = _count(usage.get("cache_creation_input_tokens"))
    parts = {
        "cache_write_tokens": written,
        "input_audio_tokens": _input_detail(usage, "audio_tokens"),
        "output_audio_tokens": _output_detail(usage, "audio_tokens"),
    }
    return {name: count for name, count in parts.items() if count}


def reported_service_tier(usage: Mapping[str, Any]) -> str | None:
    """The service tier that a `usage` object names; None where it names none."""
    tier = usage.get("service_tier")
    return tier if isinstance(tier, str) and tier else None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_COUNT:
        return None
    return int(value)


def _first_count(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        if (count := _count(usage.get(name))) is not None:
            return count
    return None


def _usd(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_COUNT:
        return None
    return float(value)


def _input_detail(usage: Mapping[str, Any], name: str) -> int | None:
    return _detail(usage, name, "prompt_tokens_details", "input_tokens_details")


def _output_detail(usage: Mapping[str, Any], name: str) -> int | None:
    return _detail(usage, name, "completion_tokens_details", "output_tokens_details")


def _detail(usage: Mapping[str, Any], name: str, *keys: str) -> int | None:
    for key in keys:
        details = usage.get(key)
        if isinstance(details, Mapping) and (count := _count(details.get(name))) is not None:
            return count
    return None
