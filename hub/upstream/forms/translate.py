"""Requests from one API's form to the other's: Chat Completions and the Responses API. Pure.

Parameters that both APIs have, those that already are in the form asked for, and unknown ones pass through as they
are; None means that a parameter isn't given. What has no counterpart is refused, never left out: only values that
say what the other API does anyway are. Both forms: https://platform.openai.com/docs/guides/migrate-to-responses
(read 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hub.errors import InvalidRequestError
from hub.upstream.forms.conversation import items_of, messages_of
from hub.upstream.forms.tool_forms import flat_choice, flat_tool, nested_choice, nested_tool

__all__ = ("to_chat", "to_responses")

_CHAT_ONLY = {
    "audio": "",
    "frequency_penalty": "",
    "function_call": "Use tool_choice.",
    "functions": "Use tools.",
    "logit_bias": "",
    "modalities": "",
    "n": "Ask several times.",
    "prediction": "",
    "presence_penalty": "",
    "seed": "",
    "stop": "",
    "web_search_options": "Use tools=[{'type': 'web_search'}].",
}
"""Parameters of Chat Completions alone, and what to do instead."""

_RESPONSES_ONLY = {
    "access_programs": "",
    "background": "",
    "background_options": "",
    "context_management": "",
    "conversation": "Give all messages.",
    "image": "",
    "max_tool_calls": "",
    "previous_response_id": "Give all messages.",
    "prompt": "",
    "truncation": "",
}
"""Parameters of the Responses API alone, and what to do instead."""

_SAYS_NOTHING: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "frequency_penalty": (0,),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "stop": ([],),
    "truncation": ("disabled",),
}
"""What the other API does anyway."""

_LOGPROBS = "message.output_text.logprobs"


def to_responses(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in the form of the Responses API.

    System and developer messages stay messages, where they stand. A function that doesn't say `strict` says that it
    isn't, which is the default of Chat Completions alone.

    Raises:
        InvalidRequestError: A parameter or a part of a message has no counterpart there, or makes no sense.
    """
    given = _given(params)
    _refuse(given, _CHAT_ONLY, "the Responses API")
    limits = [given.pop(name, None) for name in ("max_completion_tokens", "max_tokens")]
    logprobs = given.pop("logprobs", None)
    format_, verbosity = given.pop("response_format", None), given.pop("verbosity", None)
    effort = given.pop("reasoning_effort", None)
    if "messages" in given:
        given["input"] = items_of(given.pop("messages"))
    # The newest name of the limit is the one that counts.
    for limit in limits:
        if limit is not None:
            given.setdefault("max_output_tokens", limit)
    _put(given, "text", {"format": _flat_format(format_), "verbosity": verbosity})
    _put(given, "reasoning", {"effort": effort})
    if logprobs:
        given["include"] = list(dict.fromkeys((*given.get("include", ()), _LOGPROBS)))
    if "stream_options" in given:
        # Usage is in the last event whether it was asked for or not.
        options = _mapping("stream_options", given["stream_options"])
        _replace(given, "stream_options", {name: each for name, each in options.items() if name != "include_usage"})
    _convert_tools(given, flat_tool, flat_choice)
    return given


def to_chat(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in the form of Chat Completions.

    `instructions` become a first message of the system. Items of reasoning are left out: no message holds them.

    Raises:
        InvalidRequestError: A parameter or an item has no counterpart there, or makes no sense.
    """
    given = _given(params)
    _refuse(given, _RESPONSES_ONLY, "Chat Completions")
    if "input" in given:
        given["messages"] = messages_of(given.pop("input"))
    if (instructions := given.pop("instructions", None)) is not None:
        given["messages"] = [*messages_of(instructions, role="system"), *given["messages"]]
    if (limit := given.pop("max_output_tokens", None)) is not None:
        given.pop("max_tokens", None)
        given.setdefault("max_completion_tokens", limit)
    text = _members(given, "text", ("format", "verbosity"))
    _set_once(given, "response_format", _nested_format(text.get("format")), "text.format")
    _set_once(given, "verbosity", text.get("verbosity"), "text.verbosity")
    _set_once(given, "reasoning_effort", _members(given, "reasoning", ("effort",)).get("effort"), "reasoning.effort")
    for each in given.pop("include", ()):
        if each != _LOGPROBS:
            raise InvalidRequestError(f"include={each!r} has no counterpart in Chat Completions.")
        given["logprobs"] = True
    _convert_tools(given, nested_tool, nested_choice)
    return given


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of what is given at all."""
    given = {name: value for name, value in params.items() if value is not None}
    if "messages" in given and "input" in given:
        raise InvalidRequestError("messages and input are two forms of the same: give one of them.")
    if "messages" not in given and "input" not in given:
        raise InvalidRequestError(
            "messages is missing: give messages=[{'role': 'user', 'content': 'Hello'}], or input='Hello'."
        )
    return given


def _refuse(given: dict[str, Any], table: Mapping[str, str], api: str) -> None:
    for name in [name for name in table if name in given]:
        if given.pop(name) not in _SAYS_NOTHING.get(name, ()):
            instead = table[name] or "Where the endpoint takes it all the same, pass it in extra_body."
            raise InvalidRequestError(f"{name} has no counterpart in {api}. {instead}")


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{name} must be a mapping, not {type(value).__name__}.")
    return value


def _put(given: dict[str, Any], name: str, members: Mapping[str, Any]) -> None:
    """Add members to a parameter that is a mapping."""
    own = dict(_mapping(name, given.get(name, {})))
    for member, value in members.items():
        _set_once(own, member, value, f"{name}.{member}")
    if own or name in given:
        given[name] = own


def _replace(given: dict[str, Any], name: str, value: Any) -> None:
    """Set a parameter, or leave it out where nothing is left of it."""
    if value:
        given[name] = value
    else:
        del given[name]


def _set_once(given: dict[str, Any], name: str, value: Any, label: str) -> None:
    """Set a parameter that came in the other API's form, unless that is None.

    Raises:
        InvalidRequestError: It came in this form as well, and says another thing.
    """
    if value is None:
        return
    if given.get(name, value) != value:
        raise InvalidRequestError(f"{label} is given twice, in the forms of both APIs, and they differ.")
    given[name] = value


def _members(given: dict[str, Any], name: str, known: tuple[str, ...]) -> dict[str, Any]:
    """A parameter that is a mapping, taken out of the others.

    Raises:
        InvalidRequestError: It has members that have no counterpart.
    """
    members = {key: value for key, value in _mapping(name, given.pop(name, {})).items() if value is not None}
    for key in members:
        if key not in known:
            raise InvalidRequestError(f"{name}.{key} has no counterpart in Chat Completions.")
    return members


def _flat_format(value: Any) -> Any:
    match value:
        case {"type": "json_schema", "json_schema": Mapping() as schema}:
            return {"type": "json_schema", **schema}
        case None | {"type": str()}:
            return value
        case _:
            raise InvalidRequestError("response_format must be a mapping such as {'type': 'json_object'}.")


def _nested_format(value: Any) -> Any:
    match value:
        case {"type": "json_schema", "schema": _}:
            return {"type": "json_schema", "json_schema": {key: value[key] for key in value if key != "type"}}
        case None | {"type": str()}:
            return value
        case _:
            raise InvalidRequestError("text.format must be a mapping such as {'type': 'json_object'}.")


def _convert_tools(given: dict[str, Any], tool: Callable[[Any, str], Any], choice: Callable[[Any], Any]) -> None:
    if "tools" in given:
        if isinstance(given["tools"], str | bytes | Mapping):
            raise InvalidRequestError(f"tools must be a list, not {type(given['tools']).__name__}.")
        given["tools"] = [tool(each, f"tools[{number}]") for number, each in enumerate(given["tools"])]
    if "tool_choice" in given:
        given["tool_choice"] = choice(given["tool_choice"])
