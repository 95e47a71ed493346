"""When to try again, and how long to wait before."""

from __future__ import annotations

from typing import Any

import pytest

from hub.errors import endpoint_error
from hub.upstream.retry import RetryPolicy


def failed(code: Any = "endpoint_error", **more: Any) -> Any:
    return endpoint_error("no", code=code, **{"retryable": True, **more})


def test_three_tries_are_made_by_default() -> None:
    delays = [RetryPolicy().delay(failed(), attempt, 1.0) for attempt in (1, 2, 3, 4)]
    assert delays == [0.5, 1.0, None, None]


def test_backoff_doubles_up_to_its_ceiling_and_is_spread_downwards() -> None:
    policy = RetryPolicy(attempts=20, backoff=1.0, max_backoff=5.0)
    assert [policy.delay(failed(), attempt, 1.0) for attempt in (1, 2, 3, 4, 9)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert policy.delay(failed(), 1, 0.0) == 0.5


@pytest.mark.parametrize(
    "code", ["rate_limited", "endpoint_error", "connection_failed", "connect_timeout", "truncated"]
)
def test_what_may_pass_is_tried_again(code: str) -> None:
    assert RetryPolicy().delay(failed(code), 1, 0.5) is not None


@pytest.mark.parametrize(
    "code", ["invalid_request", "unauthorized", "malformed", "not_a_stream", "first_token_timeout", "stall_timeout"]
)
def test_what_would_fail_or_wait_again_is_not(code: str) -> None:
    assert RetryPolicy().delay(failed(code), 1, 0.5) is None


def test_what_is_not_retryable_is_not_tried_again() -> None:
    assert RetryPolicy().delay(failed(retryable=False), 1, 0.5) is None


def test_the_endpoints_wish_is_waited_for_and_a_little_longer() -> None:
    delay = RetryPolicy().delay(failed(retry_after=20.0), 1, 0.5)
    assert delay is not None
    assert 20.0 < delay < 21.0


def test_a_wish_of_nought_is_a_wish() -> None:
    assert RetryPolicy(backoff=5.0).delay(failed(retry_after=0.0), 1, 0.5) == 0.0


@pytest.mark.parametrize("wish", [60.1, 86_400.0, float("inf")])
def test_a_wish_too_long_ends_the_call(wish: float) -> None:
    assert RetryPolicy().delay(failed(retry_after=wish), 1, 0.5) is None


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"backoff": -1}, {"max_backoff": -1}, {"max_retry_after": -1}], ids=str
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        RetryPolicy(**wrong)
