"""A request as a line of a file tells it: a body by itself, or OpenAI's form with `custom_id`, `url` and `body`. Pure.

    {"custom_id": "a", "messages": [{"role": "user", "content": "Hello"}]}
    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": …}}

The first form goes to the URL that its members and its model fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from hub.errors import InvalidRequestError
from hub.models.profile import ModelProfile, as_profile

__all__ = ("BatchRequest", "Url", "parse_request")

Url: TypeAlias = Literal["/v1/chat/completions", "/v1/responses", "/v1/embeddings"]

_NAMES = ("custom_id", "identifier")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request.

    Attributes:
        index: Its position in the input, from 0.
        custom_id: The caller's name for it; None where it has none.
        url: What of the API it is for.
        is_url_given: The caller said so; else it is what its members fit best.
        body: What is sent, its model among it.
    """

    index: int
    custom_id: str | None
    url: Url
    is_url_given: bool
    body: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.body["model"])

    def line(self, custom_id: str) -> bytes:
        """The line of an input file of OpenAI's Batch API."""
        return msgspec.json.encode({"custom_id": custom_id, "method": "POST", "url": self.url, "body": self.body})


def parse_request(value: Any, index: int, *, profile: ModelProfile) -> BatchRequest:
    """The request that a line's JSON tells.

    Args:
        value: The JSON.
        index: The position in the input, from 0.
        profile: The model to ask where the request names none.

    Raises:
        InvalidRequestError: It is no request; the message begins with what is wrong, and doesn't name the line.
    """
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"a request is a JSON object, not {type(value).__name__}")
    names = [value[name] for name in _NAMES if value.get(name) is not None]
    if not all(isinstance(name, str) and name for name in names):
        raise InvalidRequestError("custom_id is a text that is not empty")
    url, body = value.get("url"), value.get("body")
    if body is None:
        body = {name: member for name, member in value.items() if name not in (*_NAMES, "method", "url")}
    if not isinstance(body, Mapping):
        raise InvalidRequestError("body is a JSON object")
    if url is not None and url not in get_args(Url):
        raise InvalidRequestError(f"url is one of {', '.join(get_args(Url))}")
    if ("messages" in body) == ("input" in body):
        raise InvalidRequestError("a request has messages or input, one of them")
    if body.get("stream"):
        raise InvalidRequestError("stream is not for a batch: its results are whole")
    model = body.get("model", profile.model_name)
    if not isinstance(model, str) or not model:
        raise InvalidRequestError("model is a text that is not empty")
    asked = profile if model == profile.model_name else as_profile(model)
    return BatchRequest(
        index, names[0] if names else None, url or _url(body, asked), url is not None, {"model": model, **body}
    )


def _url(body: Mapping[str, Any], profile: ModelProfile) -> Url:
    if "messages" in body:
        return "/v1/chat/completions"
    return "/v1/embeddings" if profile.category == "embeddings" else "/v1/responses"
