"""Checks a call's arguments, before anything is sent, and makes the request of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from types import NoneType
from typing import Any, Literal, TypeAlias, overload

import openai
from pydantic import BaseModel

from hub.errors import InvalidRequestError
from hub.models.profile import ModelProfile
from hub.models.tokens import estimate_input_tokens
from hub.upstream.forms.translate import to_chat, to_responses

__all__ = (
    "MIN_SECRET_CHARS",
    "Api",
    "Request",
    "check_api",
    "check_max_tokens",
    "check_seconds",
    "check_temperature",
    "check_type",
    "model_request",
)

Api: TypeAlias = Literal["chat", "responses"]

MIN_SECRET_CHARS = 8
"""What is shorter is a word such as `EMPTY`, and may stand in any message."""

_MAPPINGS = ("extra_body", "extra_headers", "extra_query", "stream_options")
_LISTS = frozenset(("include", "tools"))

_NOT_GIVEN = (NoneType, openai.Omit, openai.NotGiven)
"""Values of parameters that aren't given."""

_NOT_PARAMETERS = {
    "stream": "every call streams; `invoke` gives a whole result",
    "timeout": "pass timeouts=Timeouts(…)",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request for an answer.

    Attributes:
        profile: The model asked.
        params: The API's own parameters, and any other that the endpoint understands.
        api: Whether it goes to Chat Completions or to the Responses API.
    """

    profile: ModelProfile
    params: Mapping[str, Any] = field(repr=False)  # headers among them may hold a key
    api: Api = "chat"

    @property
    def model(self) -> str:
        """The model's name at the endpoint."""
        return self.profile.model_name

    def secrets(self) -> list[str]:
        """What in its headers and its URL may be a key."""
        found = [self.params.get(name) for name in ("extra_headers", "extra_query")]
        values = [str(value) for each in found if isinstance(each, Mapping) for value in each.values()]
        # Of a header such as "Bearer …", what follows the word is the secret.
        return [word for value in values if len(word := value.rpartition(" ")[2]) >= MIN_SECRET_CHARS]

    def without(self, *names: str) -> Request:
        """The request without these parameters."""
        return replace(self, params={name: value for name, value in self.params.items() if name not in names})

    def estimate_input_tokens(self) -> int:
        """About how many tokens it asks the model to read."""
        texts = [self.params[name] for name in ("instructions", "messages", "input") if self.params.get(name)]
        messages = [each for text in texts for each in (text if isinstance(text, list | tuple) else (text,))]
        return estimate_input_tokens(messages, self.params.get("tools"))


def model_request(
    *,
    profile: ModelProfile,
    api: Api | None,
    max_tokens: int | None,
    temperature: float | None,
    params: Mapping[str, Any],
) -> Request:
    """The request for these arguments, in the form of the API that takes it.

    Args:
        profile: The model to ask.
        api: Which API to use; None means the profile's.
        max_tokens: None leaves the limit to the endpoint.
        temperature: None leaves it to the endpoint.
        params: Everything else; `messages` or `input` among it, in either API's form.

    Raises:
        InvalidRequestError: An argument is missing or wrong, or has no counterpart in that API.
    """
    for name in _NOT_PARAMETERS.keys() & params.keys():
        raise InvalidRequestError(f"{name} is not an argument: {_NOT_PARAMETERS[name]}.")
    given: dict[str, Any] = {"model": profile.model_name}
    given |= {name: value for name, value in params.items() if not isinstance(value, _NOT_GIVEN)}
    for name in _MAPPINGS:
        check_type(name, given.get(name), Mapping)
    for name in _LISTS & given.keys():
        if isinstance(given[name], str | bytes | Mapping) or not isinstance(given[name], Iterable):
            raise InvalidRequestError(f"{name} must be a list, not {_kind(given[name])}.")
        given[name] = list(given[name])
    if "messages" in given:
        given["messages"] = _messages(given["messages"])
    # The newer names for the same limit, where the caller uses one, stand in the place of the older one.
    if max_tokens is not None and not given.keys() & {"max_completion_tokens", "max_output_tokens"}:
        given["max_completion_tokens" if profile.takes_max_completion_tokens else "max_tokens"] = max_tokens
    if temperature is not None:
        given["temperature"] = temperature
    try:
        if (api or profile.api) == "responses":
            return Request(profile, to_responses(given), "responses")
        return Request(profile, to_chat(given))
    except (AttributeError, KeyError, TypeError) as exc:
        raise InvalidRequestError(
            f"A message or a parameter is of a wrong shape: {type(exc).__name__}: {exc}. Compare it with the API's."
        ) from exc


def check_api(value: Any) -> Api | None:
    """The value, where it is the name of an API or None."""
    if value not in (None, "chat", "responses"):
        raise InvalidRequestError(f"api must be 'chat' or 'responses', not {value!r}.")
    api: Api | None = value
    return api


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


@overload
def check_seconds(name: str, value: Any) -> float | None: ...


@overload
def check_seconds(name: str, value: Any, default: float) -> float: ...


def check_seconds(name: str, value: Any, default: float | None = None) -> float | None:
    """The value, where it is a number of seconds; the default where it is None."""
    if value is None:
        return default
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0:
        return float(value)
    raise InvalidRequestError(f"{name} must be a number of seconds, at least 0, not {_kind(value)}.")


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
