"""What a span and its metrics say about a call: pure, and without OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from hub.observe.base import Call, Outcome
from hub.observe.provider import find_server
from hub.result import TokenUsage

__all__ = ("Attributes", "common_attributes", "error_type", "outcome_attributes", "request_attributes")

Attributes: TypeAlias = dict[str, str | bool | int | float | Sequence[str]]

_API_TYPES = {"chat": "chat_completions", "responses": "responses"}


def common_attributes(call: Call) -> Attributes:
    """What a span has from its start, for samplers, and every metric."""
    server = find_server(call.base_url)
    return _known(
        {
            "gen_ai.operation.name": call.operation,
            "gen_ai.provider.name": server.provider,
            "gen_ai.request.model": call.model,
            "server.address": server.address or None,
            "server.port": server.port if server.address else None,
        }
    )


def request_attributes(call: Call) -> Attributes:
    """What a span says of the request, its content excepted. Values of another type than expected are left out."""
    params = call.params
    attributes = {name: read(params.get(param)) for param, name, read in _PARAMS}
    attributes["hub.stream_id"] = call.stream_id
    attributes["hub.identifier"] = call.identifier
    attributes["gen_ai.request.stream"] = True if call.operation == "chat" else None
    attributes["gen_ai.output.type"] = _output_type(params)
    attributes["gen_ai.request.max_tokens"] = next(
        (params[name] for name in _MAX_TOKENS if _integer(params.get(name)) is not None), None
    )
    if find_server(call.base_url).provider == "openai":
        attributes["openai.api.type"] = _API_TYPES.get(call.api)
        tier = _text(params.get("service_tier"))
        attributes["openai.request.service_tier"] = None if tier == "auto" else tier
    return _known(attributes)


def error_type(outcome: Outcome) -> str | None:
    """Our error code of a call that failed, `_OTHER` where it has none; None for a call that didn't fail."""
    if outcome.status != "failed":
        return None
    return outcome.failure.code if outcome.failure else "_OTHER"


def outcome_attributes(call: Call, outcome: Outcome, retried: Sequence[str]) -> Attributes:
    """What a span says of the end, the text excepted.

    Args:
        call: The call, over.
        outcome: How it ended.
        retried: The error codes of the tries that another one followed.
    """
    failure = outcome.failure
    return _known(
        {
            "gen_ai.response.id": outcome.response_id,
            "gen_ai.response.model": outcome.model,
            "gen_ai.response.finish_reasons": list(outcome.finish_reasons) or None,
            "gen_ai.response.time_to_first_chunk": call.first_content_seconds,
            "error.type": error_type(outcome),
            "http.response.status_code": failure.status if failure else None,
            "hub.request_id": outcome.request_id,
            "hub.status": outcome.status,
            "hub.attempts": call.attempts,
            "hub.rate_limit_seconds": call.rate_limit_seconds,
            "hub.retried_errors": list(retried) or None,
            **(_usage(call, outcome.usage) if outcome.usage else {}),
        }
    )


def _usage(call: Call, usage: TokenUsage) -> dict[str, Any]:
    """The counts. Cached and reasoning tokens are left out where 0, which also stands for "not reported"."""
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens if call.operation == "chat" else None,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
        "hub.usage.cost_usd": usage.cost_usd,
        "hub.usage.estimated": usage.estimated or None,
    }


def _known(attributes: Mapping[str, Any]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return list(value)
    return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _choices(value: Any) -> int | None:
    return None if value == 1 else _integer(value)


def _id(value: Any) -> str | None:
    """A conversation is named by its id or by a mapping that has it."""
    return _text(value.get("id")) if isinstance(value, Mapping) else _text(value)


_MAX_TOKENS = ("max_completion_tokens", "max_output_tokens", "max_tokens")

_PARAMS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("temperature", "gen_ai.request.temperature", _number),
    ("top_p", "gen_ai.request.top_p", _number),
    ("top_k", "gen_ai.request.top_k", _number),
    ("frequency_penalty", "gen_ai.request.frequency_penalty", _number),
    ("presence_penalty", "gen_ai.request.presence_penalty", _number),
    ("seed", "gen_ai.request.seed", _integer),
    ("stop", "gen_ai.request.stop_sequences", _texts),
    ("n", "gen_ai.request.choice.count", _choices),
    ("conversation", "gen_ai.conversation.id", _id),
    ("encoding_format", "gen_ai.request.encoding_formats", _texts),
    ("dimensions", "gen_ai.embeddings.dimension.count", _integer),
)
"""A request's parameter, its attribute, and what reads the one into the other."""


def _output_type(params: Mapping[str, Any]) -> str | None:
    wanted = params.get("response_format")
    if wanted is None and isinstance(text := params.get("text"), Mapping):
        wanted = text.get("format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    return "json" if kind in ("json_schema", "json_object") else "text" if kind == "text" else None
