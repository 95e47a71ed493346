"""Reported usage, in the shapes endpoints give it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.result import TokenUsage

__all__ = ("parse_chat_usage",)

MAX_COUNT = 2**53
"""Above it a number is no count, and JSON readers in browsers would round it."""


def parse_chat_usage(usage: Any) -> TokenUsage | None:
    """The counts of a chat chunk's `usage`; None where it has none (Vertex sends usage without counts)."""
    if not isinstance(usage, Mapping):
        return None
    prompt = _count(usage.get("prompt_tokens"))
    completion = _count(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    total = _count(usage.get("total_tokens"))
    cached = _count(_detail(usage, "prompt_tokens_details", "cached_tokens"))
    if cached is None:  # DeepSeek
        cached = _count(usage.get("prompt_cache_hit_tokens"))
    reasoning = _count(_detail(usage, "completion_tokens_details", "reasoning_tokens"))
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


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_COUNT:
        return None
    return int(value)


def _usd(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_COUNT:
        return None
    return float(value)


def _detail(usage: Mapping[str, Any], key: str, name: str) -> Any:
    details = usage.get(key)
    return details.get(name) if isinstance(details, Mapping) else None
