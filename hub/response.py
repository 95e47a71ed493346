"""An answer as a dictionary: what `get_response` gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel

from hub.embeddings import Embeddings
from hub.errors import EndpointError
from hub.result import LLMResult
from hub.structured import ResponseModel

__all__ = ("as_response", "embeddings_response", "failed_response")

OK = "OK"
"""The `error` of an answer that has none."""

_UNSHOWN = ("extra_headers", "extra_query", "api_key")
"""Parameters that may hold a key."""

_KEY_LIKE = re.compile(r"key|secret|password|authorization|(?<!_)token$|auth$", re.IGNORECASE)
"""Names of members of `extra_body` that may."""


def as_response(result: LLMResult, *, params: Mapping[str, Any], identifier: str) -> dict[str, Any]:
    """The dictionary for an answer, whole or not."""
    return _response(
        params,
        output=result.text,
        status=result.status,
        identifier=identifier,
        stream_id=result.stream_id,
        model=result.model,
        reasoning=result.reasoning,
        refusal=result.refusal,
        tool_calls=[msgspec.to_builtins(call) for call in result.tool_calls],
        finish_reason=result.finish_reason,
        usage=msgspec.to_builtins(result.usage),
        error=OK if result.error is None else result.error.message,
        error_code=None if result.error is None else result.error.code,
        cached=result.cached,
    )


def embeddings_response(
    embeddings: Embeddings, *, params: Mapping[str, Any], identifier: str, stream_id: str
) -> dict[str, Any]:
    """The dictionary for vectors: `output` has one for each input."""
    return _response(
        params,
        output=embeddings.vectors,
        status="completed",
        identifier=identifier,
        stream_id=stream_id,
        model=embeddings.model,
        usage=msgspec.to_builtins(embeddings.usage),
    )


def failed_response(
    error: EndpointError, *, params: Mapping[str, Any], identifier: str, stream_id: str
) -> dict[str, Any]:
    """The dictionary for a call that gave nothing."""
    return _response(
        params,
        output=None,
        status="failed",
        identifier=identifier,
        stream_id=stream_id,
        error=error.message,
        error_code=error.code,
    )


def _response(params: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    shown = {name: value for name, value in params.items() if name not in _UNSHOWN}
    if isinstance(extra := shown.get("extra_body"), Mapping):
        shown["extra_body"] = {name: value for name, value in extra.items() if not _KEY_LIKE.search(str(name))}
    if isinstance(messages := shown.get("messages"), list | tuple):
        # The SDK's own message objects, as an earlier answer had them, are pydantic models.
        shown["messages"] = [
            each.model_dump(exclude_none=True) if isinstance(each, BaseModel) else each for each in messages
        ]
    if "response_model" in shown:  # a class, which JSON can't hold
        shown["response_model"] = ResponseModel.of(shown["response_model"]).name
    blank: dict[str, Any] = {
        "output": None,
        "usage": None,
        "status": None,
        "error": OK,
        "identifier": None,
        "error_code": None,
        "model": None,
        "tool_calls": [],
        "reasoning": "",
        "refusal": "",
        "finish_reason": None,
        "cached": False,
        "stream_id": None,
    }
    return {"params": shown, **blank, **members}
