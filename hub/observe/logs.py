"""One log record for each call and each retry, with the facts as fields: no prompt, no answer, no key."""

from __future__ import annotations

import logging
from typing import Any

from hub.errors import EndpointError
from hub.observe.base import Call, Observer, Outcome
from hub.result import TokenUsage

__all__ = ("END_FIELDS", "RETRY_FIELDS", "LogObserver")

log = logging.getLogger("hub.calls")
# Where nobody has set up logging, Python would write every failed call to standard error.
log.addHandler(logging.NullHandler())

CALL_FIELDS = ("stream_id", "identifier", "operation", "api", "model", "base_url", "attempts")

RETRY_FIELDS = (*CALL_FIELDS, "error_code", "error_message", "error_status", "delay")
"""What a retry's record bears as attributes, besides those of every `logging.LogRecord`."""

END_FIELDS = (
    *CALL_FIELDS,
    "status",
    "seconds",
    "first_content_seconds",
    "rate_limit_seconds",
    "response_model",
    "response_id",
    "request_id",
    "finish_reasons",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "usage_estimated",
    "cost_usd",
    "error_code",
    "error_message",
    "error_status",
)
"""What the record of a call's end bears; all of them always, None where unknown."""


class LogObserver(Observer):
    """Writes to a logger: the end of a call (INFO, or WARNING where it failed) and each retry (INFO).

    Args:
        logger: Where to; by default the logger `hub.calls`.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._log = logger or log

    def on_retry(self, call: Call, error: EndpointError, delay: float) -> None:
        """Log which try failed, why, and when the next one comes."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        fields = _call_fields(call) | {
            "error_code": error.code,
            "error_message": error.message,
            "error_status": error.status,
            "delay": delay,
        }
        self._log.info(
            "%s %s: try %d failed (%s), the next one comes in %.2f s",
            call.operation,
            call.model,
            call.attempts,
            error.code,
            delay,
            extra=fields,
        )

    def on_end(self, call: Call, outcome: Outcome) -> None:
        """Log how the call ended, how long it took and what it used."""
        level = logging.WARNING if outcome.status == "failed" else logging.INFO
        if not self._log.isEnabledFor(level):
            return
        self._log.log(
            level,
            "%s %s %s in %.2f s%s",
            call.operation,
            call.model,
            outcome.status,
            outcome.seconds,
            _told(outcome),
            extra=_call_fields(call) | _outcome_fields(call, outcome),
        )


def _call_fields(call: Call) -> dict[str, Any]:
    return {name: getattr(call, name) for name in CALL_FIELDS}


def _outcome_fields(call: Call, outcome: Outcome) -> dict[str, Any]:
    usage, failure = outcome.usage, outcome.failure
    return {
        "status": outcome.status,
        "seconds": outcome.seconds,
        "first_content_seconds": call.first_content_seconds,
        "rate_limit_seconds": call.rate_limit_seconds,
        "response_model": outcome.model,
        "response_id": outcome.response_id,
        "request_id": outcome.request_id,
        "finish_reasons": outcome.finish_reasons,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cached_input_tokens": usage.cached_input_tokens if usage else None,
        "reasoning_tokens": usage.reasoning_tokens if usage else None,
        "usage_estimated": usage.estimated if usage else None,
        "cost_usd": usage.cost_usd if usage else None,
        "error_code": failure.code if failure else None,
        "error_message": failure.message if failure else None,
        "error_status": failure.status if failure else None,
    }


def _told(outcome: Outcome) -> str:
    if outcome.failure is not None:
        return f": {outcome.failure.message} ({outcome.failure.code})"
    return _counts(outcome.usage) if outcome.usage else ""


def _counts(usage: TokenUsage) -> str:
    cost = "" if usage.cost_usd is None else f", {usage.cost_usd:.6f} USD"
    return f": {usage.input_tokens} tokens in, {usage.output_tokens} out{cost}"
