"""Checks a call's arguments, before anything is sent, and makes the request of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from pydantic import BaseModel

from hub.errors import InvalidRequestError
from hub.models.profile import ModelProfile

__all__ = ("ChatRequest", "as_profile", "chat_request", "check_max_tokens", "check_temperature", "check_type")

_NOT_PARAMETERS = {
    "stream": "every call streams; `invoke` gives a whole result",
    "timeout": "pass timeouts=Timeouts(…)",
}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat request: `params` are those of Chat Completions, and any other that the endpoint understands."""

    model: str
    params: Mapping[str, Any] = field(repr=False)  # headers among them may hold a key


def chat_request(
    *, profile: ModelProfile, messages: Any, max_tokens: Any, temperature: Any, params: Mapping[str, Any]
) -> ChatRequest:
    """The request for these arguments; None leaves `max_tokens` and `temperature` to the endpoint.

    Raises:
        InvalidRequestError: An argument is missing or wrong.
    """
    for name in _NOT_PARAMETERS.keys() & params.keys():
        raise InvalidRequestError(f"{name} is not an argument: {_NOT_PARAMETERS[name]}.")
    check_type("extra_body", params.get("extra_body"), Mapping)
    request: dict[str, Any] = {"model": profile.model_name, "messages": _messages(messages), **params}
    # OpenAI's newer name for the same limit, where the caller uses it, stands in the place of the older one.
    if max_tokens is not None and "max_completion_tokens" not in params:
        request["max_tokens"] = check_max_tokens(max_tokens)
    if temperature is not None:
        request["temperature"] = check_temperature(temperature)
    return ChatRequest(profile.model_name, request)


def as_profile(model: Any) -> ModelProfile:
    """What is known of a model that is given by its name or as a profile."""
    if isinstance(model, ModelProfile):
        return model
    if not isinstance(model, str) or not model:
        raise InvalidRequestError(
            f"model must be a name or a ModelProfile, not {_kind(model) if model else repr(model)}."
        )
    return ModelProfile(model_name=model)


def check_max_tokens(value: Any) -> int | None:
    """The value, where it is a number of tokens or None."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise InvalidRequestError(f"max_tokens must be a whole number of at least 0, not {_kind(value)}.")


def check_temperature(value: Any) -> float | None:
    """The value, where it is a temperature or None."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0:
        return value
    raise InvalidRequestError(f"temperature must be a number of at least 0, not {_kind(value)}.")


def check_type(name: str, value: Any, kind: type) -> None:
    """Pass over a value of that type, or None.

    Raises:
        InvalidRequestError: It is of another type.
    """
    if value is not None and not isinstance(value, kind):
        raise InvalidRequestError(f"{name} must be a {kind.__name__}, not {_kind(value)}.")


def _messages(messages: Any) -> list[Any]:
    """The messages as a list of mappings, checked as far as every endpoint needs it."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InvalidRequestError(
            f"messages must be a list such as [{{'role': 'user', 'content': 'Hello'}}], not {_kind(messages)}."
        )
    # The SDK's own message objects, as an earlier answer had them, are pydantic models.
    listed = [each.model_dump(exclude_none=True) if isinstance(each, BaseModel) else each for each in messages]
    if not listed:
        raise InvalidRequestError("messages is empty: at least one message is needed.")
    for number, message in enumerate(listed):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidRequestError(f"messages[{number}] must be a mapping with a 'role'.")
    return [each if isinstance(each, dict) else dict(each) for each in listed]  # JSON knows no other mapping


def _kind(value: Any) -> str:
    """What a wrong value is; itself only where it is a number: a text may be anything."""
    return repr(value) if isinstance(value, int | float) else type(value).__name__
