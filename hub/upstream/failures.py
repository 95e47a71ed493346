"""The error table of the endpoint boundary: statuses, error bodies and foreign exceptions to `EndpointError`.

What an exception of the SDK or its transports becomes is decided here and nowhere else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx2
import msgspec
import openai

from hub.errors import EndpointError, ErrorCode, endpoint_error

__all__ = (
    "from_exception",
    "from_payload",
    "malformed",
    "not_a_stream",
    "retry_after",
    "truncated",
    "was_dropped",
)

MAX_MESSAGE_CHARS = 500

_KEY_LIKE = re.compile(r"\b(sk|pk|rk|key|hf|gsk|xai)[-_][A-Za-z0-9*_\-]{8,}|(?<=Bearer )\S+")
_URL_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")

_CODE_BY_STATUS: dict[int, ErrorCode] = {
    401: "unauthorized",
    402: "budget_exceeded",
    403: "unauthorized",
    404: "not_found",
    408: "endpoint_error",
    409: "endpoint_error",
    425: "endpoint_error",
    429: "rate_limited",
}
_RETRYABLE_STATUSES = frozenset((408, 409, 425, 429))

_STATUS_BY_WORD: dict[str, int] = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "permission_denied": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "notfounderror": 404,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "context_length_exceeded": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "ratelimiterror": 429,
    "overloaded_error": 529,
    "server_error": 500,
    "api_error": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
}
"""Words that endpoints use for `code` or `type` in errors without a number (OpenAI, vLLM, Anthropic-like)."""

_BUDGET_WORDS = frozenset(("insufficient_quota", "billing_hard_limit_reached", "insufficient_credits"))
_FILTER_WORDS = frozenset(("content_filter", "content_policy_violation", "responsibleaipolicyviolation"))


def from_exception(exc: Exception, *, url: str) -> EndpointError:
    """Our error for anything the SDK or its transport raises.

    Args:
        exc: The exception as it came.
        url: The endpoint's base URL, for the message; without user and password.
    """
    if isinstance(exc, EndpointError):
        return exc
    if isinstance(exc, openai.APIStatusError):
        return _from_status(exc)
    chain = tuple(_causes(exc))
    if (code := _timeout_code(chain)) is not None:
        words = "no connection within the connect time-out" if code == "connect_timeout" else "no answer in time"
        return endpoint_error(f"The endpoint at {url} gave {words}.", code=code, retryable=True)
    if any(isinstance(cause, _CONNECTION_ERRORS) for cause in chain):
        return endpoint_error(
            f"The endpoint at {url} can't be reached or closed the connection{_reason(chain)}.",
            code="connection_failed",
            retryable=True,
        )
    if any(isinstance(cause, httpx2.DecodingError | openai.APIResponseValidationError) for cause in chain):
        return malformed("the body can't be decoded")
    if any(isinstance(cause, httpx2.InvalidURL | httpx2.UnsupportedProtocol | aiohttp.InvalidURL) for cause in chain):
        return endpoint_error(f"{url} is no usable endpoint address.", code="invalid_request")
    if isinstance(exc, TypeError | ValueError | openai.OpenAIError):
        return endpoint_error(f"The request can't be sent: {_safe(str(exc))}", code="invalid_request")
    return endpoint_error(
        f"The call to {url} failed with {type(exc).__name__}.", code="connection_failed", retryable=True
    )


def was_dropped(error: EndpointError) -> bool:
    """Whether a connection that stood was closed before any answer came, as opposed to one that never stood."""
    raw = tuple(_causes(error))
    if any(isinstance(cause, aiohttp.ClientConnectorError) for cause in raw):
        return False
    return any(
        isinstance(
            cause,
            aiohttp.ServerDisconnectedError
            | aiohttp.ClientOSError
            | httpx2.RemoteProtocolError
            | httpx2.ReadError
            | httpx2.WriteError,
        )
        for cause in raw
    )


def from_payload(payload: Any, *, status: int | None = None, retry_after: float | None = None) -> EndpointError:
    """Our error for an error object inside a body or a stream, whatever its shape.

    Shapes seen: `{"error": {"message", "type", "param", "code"}}`, `{"error": "text"}`, `{"object": "error",
    "message", "code"}`, `{"detail": …}`, `{"message": …}`, plain text.
    """
    error = payload.get("error", payload) if isinstance(payload, Mapping) else payload
    words: list[str] = []
    message = ""
    if isinstance(error, Mapping):
        for key in ("code", "status", "type"):
            value = error.get(key)
            if status is None and (number := _status_number(value)) is not None:
                status = number
            elif isinstance(value, str):
                words.append(value.lower())
        detail = error.get("message") or error.get("detail") or error.get("error")
        message = detail if isinstance(detail, str) else _json(detail) if detail else ""
    elif isinstance(error, str):
        message = error
    elif error is not None:
        message = _json(error)
    if status is None:
        status = next((_STATUS_BY_WORD[word] for word in words if word in _STATUS_BY_WORD), None)
    code, retryable = _classify(status, words)
    return endpoint_error(
        _safe(message) or _plain_words(status),
        code=code,
        status=status,
        retryable=retryable,
        retry_after=retry_after,
    )


def truncated(detail: str) -> EndpointError:
    """The answer ended before its end."""
    return endpoint_error(f"The endpoint's answer ended early: {detail}.", code="truncated", retryable=True)


def malformed(detail: str) -> EndpointError:
    """The answer has bytes that can't be read."""
    return endpoint_error(f"The endpoint sent something unreadable: {detail}.", code="malformed")


def not_a_stream(detail: str) -> EndpointError:
    """The answer is no stream of chat chunks, nor one whole answer."""
    return endpoint_error(f"The endpoint did not send a chat stream: {detail}.", code="not_a_stream")


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds that a `Retry-After` (seconds or a date) or `retry-after-ms` header asks to wait."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        value = headers.get("retry-after")
        if value is None:
            return None
        if value.strip().replace(".", "", 1).isdigit():
            return float(value)
        instant = parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, instant - (time.time() if now is None else now))


_CONNECTION_ERRORS: tuple[type[Exception], ...] = (
    openai.APIConnectionError,
    httpx2.TransportError,
    httpx2.StreamError,
    httpx2.TooManyRedirects,
    aiohttp.ClientError,
    OSError,
    EOFError,
)
"""Later than the time-outs: with aiohttp a lost connection arrives as a `ConnectTimeout` of httpx2."""


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = exc
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _timeout_code(chain: tuple[BaseException, ...]) -> ErrorCode | None:
    raw = [cause for cause in chain if isinstance(cause, aiohttp.ClientError)]
    if raw:
        # aiohttp knows; the names its adapter gives them do not: any lost connection becomes a ConnectTimeout.
        if any(isinstance(cause, aiohttp.ConnectionTimeoutError) for cause in raw):
            return "connect_timeout"
        if any(isinstance(cause, aiohttp.ServerTimeoutError) for cause in raw):
            return "first_token_timeout"
        return None
    if any(isinstance(cause, httpx2.ConnectTimeout | httpx2.PoolTimeout) for cause in chain):
        return "connect_timeout"
    if any(isinstance(cause, httpx2.TimeoutException | openai.APITimeoutError) for cause in chain):
        return "first_token_timeout"
    return None


def _reason(chain: tuple[BaseException, ...]) -> str:
    for cause in chain:
        if isinstance(cause, aiohttp.ClientConnectorDNSError):
            return " (its host name doesn't resolve)"
        if isinstance(cause, ConnectionRefusedError):
            return " (connection refused)"
        if isinstance(cause, aiohttp.ClientSSLError | httpx2.ProxyError):
            return f" ({type(cause).__name__})"
    return ""


def _from_status(exc: openai.APIStatusError) -> EndpointError:
    body = exc.body
    if body is None:
        text = exc.response.text if exc.response.is_closed else ""
        body = text if text and not text.lstrip().startswith("<") else None
    # The SDK takes the object under "error" out of the body by itself.
    return from_payload(body, status=exc.status_code, retry_after=retry_after(exc.response.headers))


def _classify(status: int | None, words: list[str]) -> tuple[ErrorCode, bool]:
    if any(word in _FILTER_WORDS for word in words):
        return "content_filter", False
    if any(word in _BUDGET_WORDS for word in words):
        return "budget_exceeded", False
    if status is None:
        return "endpoint_error", True
    if status in _CODE_BY_STATUS:
        return _CODE_BY_STATUS[status], status in _RETRYABLE_STATUSES
    if 400 <= status < 500:
        return "invalid_request", False
    return "endpoint_error", True


def _status_number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
        return value
    return None


def _safe(message: str) -> str:
    """A message fit to be shown: one paragraph, no traceback, no key, no password, bounded."""
    lines = []
    for line in message.strip().splitlines():
        if not line.strip() or line.lstrip().startswith(('File "', "Traceback ")):
            break
        lines.append(line.strip())
    text = _URL_USERINFO.sub("", _KEY_LIKE.sub("***", " ".join(lines)))
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, msgspec.MsgspecError):
        return str(value)


def _plain_words(status: int | None) -> str:
    if status is None:
        return "The endpoint reported an error without saying which."
    return f"The endpoint answered with status {status}."
