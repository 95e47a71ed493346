"""What is read out of endpoints' headers."""

from __future__ import annotations

import pytest

from hub.limits.base import Correction
from hub.limits.headers import parse_rate_limits, parse_reset

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("7.66ms", 0.00766),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3_723),
        ("1d", 86_400),
        ("100us", 0.0001),
        ("0s", 0),
        ("55", 55),
        ("0.5", 0.5),
        (" 12 ", 12),
        ("1795000030", 30),
        ("1795000030000", 30),
        ("2026-11-18T10:26:50Z", 10),
        ("2026-11-18T10:26:50+00:00", 10),
        ("Wed, 18 Nov 2026 10:26:50 GMT", 10),
        ("2020-01-01T00:00:00Z", 0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("6m later", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_a_reset_is_read_in_every_form(text: str, seconds: float | None) -> None:
    now = NOW if "2026" not in text else 1_794_997_600.0
    expected = None if seconds is None else pytest.approx(seconds)
    assert parse_reset(text, now=now) == expected


def headers(**fields: str) -> dict[str, str]:
    return {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in fields.items()}


def test_openai_counts_by_the_minute() -> None:
    read = parse_rate_limits(
        headers(
            limit_requests="5000",
            remaining_requests="4999",
            reset_requests="12ms",
            limit_tokens="160000",
            remaining_tokens="159976",
            reset_tokens="9ms",
        )
    )
    assert read == Correction(
        limit_requests=5000, remaining_requests=4999, limit_tokens=160_000, remaining_tokens=159_976
    )


def test_groq_counts_requests_by_the_day_and_tokens_by_the_minute() -> None:
    read = parse_rate_limits(
        headers(
            limit_requests="14400",
            remaining_requests="14370",
            reset_requests="2m59.56s",
            limit_tokens="18000",
            remaining_tokens="17997",
            reset_tokens="7.66ms",
        )
    )
    assert read == Correction(remaining_requests=14_370, limit_tokens=18_000, remaining_tokens=17_997)


def test_a_day_is_told_from_a_minute_also_by_its_first_request() -> None:
    read = parse_rate_limits(headers(limit_requests="14400", remaining_requests="14399", reset_requests="6s"))
    assert read == Correction(remaining_requests=14_399)


def test_azure_says_minus_one_for_what_it_does_not_know() -> None:
    assert parse_rate_limits(headers(limit_tokens="-1", remaining_tokens="-1", reset_tokens="0")) is None


def test_azure_tells_no_limit_and_writes_one_name_its_own_way() -> None:
    read = parse_rate_limits(
        {
            "x-ratelimit-remaining-tokens": "61353",
            "X-RateLimit-Remaining-Requests": "79",
            "x-rate-limit-reset-tokens": "55",
        }
    )
    assert read == Correction(remaining_tokens=61_353, remaining_requests=79)


def test_cerebras_names_what_it_counts_by() -> None:
    read = parse_rate_limits(
        {
            "x-ratelimit-limit-tokens-minute": "60000",
            "x-ratelimit-remaining-tokens-minute": "59000",
            "x-ratelimit-limit-requests-day": "14400",
            "x-ratelimit-remaining-requests-day": "0",
        }
    )
    assert read == Correction(limit_tokens=60_000, remaining_tokens=59_000)


def test_anthropic_has_names_of_its_own() -> None:
    read = parse_rate_limits(
        {
            "anthropic-ratelimit-tokens-limit": "80000",
            "anthropic-ratelimit-tokens-remaining": "79000",
            "anthropic-ratelimit-requests-remaining": "49",
        }
    )
    assert read == Correction(limit_tokens=80_000, remaining_tokens=79_000, remaining_requests=49)


@pytest.mark.parametrize("limit", ["0", "0.5", "1e-320"])
def test_a_limit_below_one_stands_for_an_unknown_one(limit: str) -> None:
    assert parse_rate_limits(headers(limit_tokens=limit, remaining_tokens="0")) is None


def test_nothing_is_left_is_believed() -> None:
    assert parse_rate_limits(headers(remaining_requests="0")) == Correction(remaining_requests=0)


@pytest.mark.parametrize("value", ["", "many", "nan", "inf", "-5", "1e400"])
def test_nonsense_is_passed_over(value: str) -> None:
    assert parse_rate_limits(headers(limit_tokens=value, remaining_tokens=value, reset_tokens=value)) is None


def test_tokens_that_would_let_no_request_through_are_not_believed() -> None:
    headers = {"x-ratelimit-limit-tokens": "99", "x-ratelimit-remaining-tokens": "98"}
    assert parse_rate_limits(headers, now=0.0) is None
    assert parse_rate_limits({"x-ratelimit-limit-tokens": "100"}, now=0.0) == Correction(limit_tokens=100.0)
