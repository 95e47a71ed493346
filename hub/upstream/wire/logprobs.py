"""The tokens of a text with their probabilities, as endpoints give them beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ("parse_logprobs",)

_ALTERNATIVES = "top_logprobs"


def parse_logprobs(value: Any) -> list[dict[str, Any]] | None:
    """The tokens that a `logprobs` member lists; None where it lists none.

    Chat Completions has the list under `content`, the Responses API as it is. Of each token are kept `token`,
    `logprob`, `bytes` and, the same for its alternatives, `top_logprobs`; what isn't of its type is left out.
    """
    if isinstance(value, Mapping):
        value = value.get("content")
    if not isinstance(value, list):
        return None
    return [_token(each) for each in value if isinstance(each, Mapping)] or None


def _token(value: Mapping[str, Any]) -> dict[str, Any]:
    token = _plain(value)
    alternatives = value.get(_ALTERNATIVES)
    if isinstance(alternatives, list):
        token[_ALTERNATIVES] = [_plain(each) for each in alternatives if isinstance(each, Mapping)]
    return token


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if isinstance(token := value.get("token"), str):
        kept["token"] = token
    logprob = value.get("logprob")
    if isinstance(logprob, int | float) and not isinstance(logprob, bool):
        kept["logprob"] = float(logprob) if abs(logprob) < 1e300 else None
    octets = value.get("bytes")
    if isinstance(octets, list) and all(type(each) is int and 0 <= each < 256 for each in octets):
        kept["bytes"] = octets
    return kept
