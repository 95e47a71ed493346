"""What endpoints say of their rate limits in the headers of a response. Pure.

Their forms, read 2026-11-21 (OpenAI's, Azure's, Groq's, Cerebras' and Anthropic's documentation, and headers that users
reported): times until a reset are "6m0s", "7.66ms", seconds, an instant in ISO 8601 or in Unix seconds or milliseconds.
Azure sends -1 for what it doesn't know, and `x-rate-limit-reset-tokens`. Groq counts requests a day under the names by
which OpenAI counts them a minute. Cerebras appends what it counts by: `-day`, `-minute`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from hub.limits.base import Correction

__all__ = ("parse_rate_limits", "parse_reset")

_NAME = re.compile(
    r"x-rate-?limit-(?P<what>limit|remaining|reset)-(?P<budget>tokens|requests)(?:-minute)?"
    r"|anthropic-ratelimit-(?P<budget2>tokens|requests)-(?P<what2>limit|remaining|reset)"
)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:d|h|ms|us|µs|ns|m|s))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(d|h|ms|us|µs|ns|m|s)")
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

_A_MINUTE = 90.0
"""Seconds. Rounding makes an endpoint's minute look like up to that many."""

LEAST_TOKENS = 100
"""A minute. No endpoint allows fewer; believed, it would let no request through that could tell otherwise."""

_Fields = dict[Literal["limit", "remaining", "reset"], str]


def parse_rate_limits(headers: Mapping[str, str], *, now: float | None = None) -> Correction | None:
    """What the headers say of budgets of a minute; None where they say nothing of use.

    Args:
        headers: Of a response; their names in any case.
        now: Unix seconds; None for the time it is.
    """
    found: dict[str, _Fields] = {}
    for name, value in headers.items():
        match = _NAME.fullmatch(name.lower())
        if match is not None:
            budget = match["budget"] or match["budget2"]
            found.setdefault(budget, {})[match["what"] or match["what2"]] = value  # type: ignore[index]
    now = time.time() if now is None else now
    limit_tokens, remaining_tokens = _read(found.get("tokens", {}), now, LEAST_TOKENS)
    limit_requests, remaining_requests = _read(found.get("requests", {}), now, 1)
    correction = Correction(
        limit_tokens=limit_tokens,
        remaining_tokens=remaining_tokens,
        limit_requests=limit_requests,
        remaining_requests=remaining_requests,
    )
    return None if correction == Correction() else correction


def parse_reset(text: str, *, now: float) -> float | None:
    """Seconds from `now`, in Unix seconds, until a budget is whole again; None where the text doesn't say."""
    text = text.strip().lower()
    if _DURATION.fullmatch(text):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    number = _number(text)
    if number is not None:
        instant = number / 1000 if number > 1e11 else number
        return max(0.0, instant - now) if instant > 1e9 else number
    instant_at = _instant(text.upper())  # Python reads a T and a Z, not a t
    return None if instant_at is None else max(0.0, instant_at - now)


def _read(fields: _Fields, now: float, least: float) -> tuple[float | None, float | None]:
    """Limit a minute and what remains; the limit is None where it isn't known or is of a longer time."""
    limit, remaining = (_number(fields[name]) if name in fields else None for name in ("limit", "remaining"))
    reset = parse_reset(fields["reset"], now=now) if "reset" in fields else None
    if limit is not None and limit < least:
        return None, None  # 0 is some gateways' word for "not known"
    if limit is not None and reset is not None and not _is_of_a_minute(limit, remaining, reset):
        limit = None
    return limit, remaining


def _is_of_a_minute(limit: float, remaining: float | None, reset: float) -> bool:
    """Whether a budget is a minute's: what is missing comes back at the rate at which all of it would."""
    if reset > _A_MINUTE:
        return False
    if remaining is None or remaining >= limit:
        return True
    return limit * reset / (limit - remaining) <= _A_MINUTE


def _number(text: str) -> float | None:
    """A number that is at least 0; -1 stands for none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _instant(text: str) -> float | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        try:
            instant = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            return None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
