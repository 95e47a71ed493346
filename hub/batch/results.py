"""What becomes of one item: its result, or a dictionary that tells why there is none; and either as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel

from hub.embeddings import Embeddings
from hub.errors import EndpointError, HubError, InvalidRequestError
from hub.upstream.failures import safe_text, shortened

__all__ = ("as_json", "cancelled", "failure", "is_failure")

_FAILED = ("failed", "cancelled")


def failure(exc: Exception, index: int, key: str | None = None) -> dict[str, Any]:
    """The dictionary in the place of a result that an exception prevented.

    Its members: `error` (a message that may be shown), `status` (`"failed"`), `error_code` (the word of an
    `EndpointError`, `"invalid_request"` for wrong arguments, else None), `error_type` (the exception's class),
    `index`, and `key` where the item has one.
    """
    said = shortened(safe_text(str(exc)))
    kind = type(exc).__name__
    code = exc.code if isinstance(exc, EndpointError) else None
    if isinstance(exc, InvalidRequestError):
        code = "invalid_request"
    message = (said or kind) if isinstance(exc, HubError) or not said else f"{kind}: {said}"
    return _error(message, "failed", code, kind, index, key)


def cancelled(index: int, key: str | None = None) -> dict[str, Any]:
    """The dictionary for an item that cancelled itself; `status` is `"cancelled"`."""
    return _error("The work was cancelled from within.", "cancelled", None, "CancelledError", index, key)


def is_failure(result: Any) -> bool:
    """Whether a result says of itself that it is none: by the `status` of a dictionary or an `LLMResult`."""
    status = result.get("status") if isinstance(result, Mapping) else getattr(result, "status", None)
    return isinstance(status, str) and status in _FAILED


def as_json(result: Any) -> bytes:
    """A result as JSON on one line.

    An `LLMResult`, another Struct, a dataclass and a pydantic model become objects with their members; `Embeddings`
    one with `model`, `usage`, `dimensions` and `vectors`.

    Raises:
        InvalidRequestError: JSON can't hold it.
    """
    try:
        if isinstance(result, Embeddings):
            result = _hook(result)  # a dataclass, so msgspec would take it for what it knows
        return msgspec.json.encode(result, enc_hook=_hook)
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise InvalidRequestError(
            f"A result of type {type(result).__name__} can't be kept in a checkpoint, since JSON can't hold it: {exc}. "
            "Return text, numbers, lists, dictionaries, an LLMResult or a pydantic model."
        ) from exc


def _hook(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Embeddings):
        return {
            "model": value.model,
            "usage": value.usage,
            "dimensions": value.dimensions,
            "vectors": value.vectors,
        }
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _error(message: str, status: str, code: str | None, kind: str, index: int, key: str | None) -> dict[str, Any]:
    told = {"error": message, "status": status, "error_code": code, "error_type": kind, "index": index}
    return told if key is None else {**told, "key": key}
