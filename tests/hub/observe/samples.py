"""Calls and outcomes to show to observers."""

from __future__ import annotations

from typing import Any

from hub.observe import Call, Outcome
from hub.result import Failure, TokenUsage

USAGE = TokenUsage(
    input_tokens=100, output_tokens=20, total_tokens=120, cached_input_tokens=60, reasoning_tokens=5, cost_usd=0.0125
)
FAILURE = Failure(code="rate_limited", message="Too many requests.", status=429, retryable=True)


def a_call(**changes: Any) -> Call:
    values: dict[str, Any] = {
        "operation": "chat",
        "api": "chat",
        "model": "gpt-5.1",
        "base_url": "https://api.openai.com/v1",
        "stream_id": "str_1",
        "identifier": "order 7",
        "params": {"messages": [{"role": "user", "content": "a secret question"}], "temperature": 0.5},
        "started_at": 100.0,
        "first_content_at": 100.25,
        "rate_limit_seconds": 0.125,
    }
    return Call(**(values | changes))


def an_outcome(**changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "status": "completed",
        "model": "gpt-5.1-2025-11-13",
        "response_id": "chatcmpl-1",
        "finish_reasons": ("stop",),
        "usage": USAGE,
        "failure": None,
        "seconds": 1.5,
        "text": None,
        "request_id": "req_1",
    }
    return Outcome(**(values | changes))


def a_failure(**changes: Any) -> Outcome:
    return an_outcome(
        **(
            {"status": "failed", "model": None, "response_id": None, "finish_reasons": (), "usage": TokenUsage()}
            | {"failure": FAILURE}
            | changes
        )
    )
