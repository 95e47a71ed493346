"""What Qdrant's client raises, as errors of ours."""

from __future__ import annotations

import msgspec

from hub.errors import CacheError, MissingExtraError

try:
    from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse
except ImportError as exc:
    raise MissingExtraError("The cache in Qdrant", "qdrant") from exc

__all__ = ("FAULTS", "NoCollectionError", "is_missing", "is_outage", "is_taken", "translate")

FAULTS = (
    ApiException,
    QdrantException,
    OSError,
    ValueError,  # an answer that is no JSON
    RecursionError,  # or one nested too deeply
    AssertionError,  # an answer without a result
)
"""What the client (1.20) lets out, in its REST mode."""

_MAX_WORDS = 200


class NoCollectionError(CacheError):
    """There is no collection of this name."""


class _Status(msgspec.Struct):
    error: str


class _Body(msgspec.Struct):
    status: _Status


def is_missing(exc: Exception) -> bool:
    """Whether the collection isn't there."""
    return isinstance(exc, UnexpectedResponse) and exc.status_code == 404


def is_taken(exc: Exception) -> bool:
    """Whether a collection to be made is there already."""
    return isinstance(exc, UnexpectedResponse) and exc.status_code == 409


def is_outage(exc: Exception) -> bool:
    """Whether the next call will fare no better: the server can't be reached, or turns everybody away."""
    if isinstance(exc, UnexpectedResponse):
        return exc.status_code in (401, 403, 429) or (exc.status_code or 500) >= 500
    return isinstance(exc, ResponseHandlingException | QdrantException | OSError)


def translate(exc: Exception, server: str, timeout: float) -> CacheError:
    """The error that says what happened and, where that is known, what to do.

    Args:
        exc: One of `FAULTS`.
        server: What the message calls it.
        timeout: Seconds that an operation has.
    """
    match exc:
        case TimeoutError():
            return CacheError(f"{server} gave no answer within {timeout:g} s.")
        case UnexpectedResponse(status_code=401 | 403):
            return CacheError(f"{server} refused the API key ({exc.status_code}): check QDRANT_API_KEY.")
        case UnexpectedResponse(status_code=404):
            return NoCollectionError(f"{server} has no such collection{_words(exc.content)}.")
        case UnexpectedResponse():
            return CacheError(f"{server} answered with status {exc.status_code}{_words(exc.content)}.")
        case ResourceExhaustedResponse():
            return CacheError(f"{server} turns requests away for {exc.retry_after_s} s.")
        case ResponseHandlingException():
            return CacheError(f"{server} can't be reached ({type(exc.source).__name__}).")
        case _:
            return CacheError(f"{server} gave an answer that is not Qdrant's ({type(exc).__name__}).")


def _words(content: bytes) -> str:
    """What the server said, where it said it in Qdrant's way."""
    try:
        words = msgspec.json.decode(content, type=_Body).status.error
    except (msgspec.DecodeError, UnicodeError):
        return ""
    return f": {words[:_MAX_WORDS]}".rstrip(".")
