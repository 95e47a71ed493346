"""The error table of the endpoint boundary: statuses, error bodies and foreign exceptions to `EndpointError`.

What an exception of the SDK or its transports becomes is decided here and nowhere else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import aiohttp
import httpx2
import msgspec
import openai

from hub.errors import EndpointError, ErrorCode, endpoint_error
from hub.upstream.transport import RedirectsElsewhereError

__all__ = (
    "from_exception",
    "from_payload",
    "malformed",
    "not_a_stream",
    "retry_after",
    "safe_text",
    "shortened",
    "truncated",
    "was_dropped",
)

MAX_MESSAGE_CHARS = 400
MAX_RAW_MESSAGE_CHARS = 20_000

_KEY_LIKE = re.compile(r"\b(sk|pk|rk|key|hf|gsk|xai)[-_][A-Za-z0-9*_\-]{8,}|(?<=Bearer )\S+")
_URL_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

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
    **dict.fromkeys(
        (
            "invalid_prompt",
            "data_residency_mismatch",
            "invalid_image",
            "invalid_image_format",
            "invalid_base64_image",
            "invalid_image_url",
            "invalid_image_mode",
            "image_too_large",
            "image_too_small",
            "image_parse_error",
            "image_file_too_large",
            "unsupported_image_media_type",
            "empty_image_file",
            "failed_to_download_image",
            "image_file_not_found",
        ),
        400,
    ),
    "too_many_requests": 429,
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
_FILTER_WORDS = frozenset(
    (
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "image_content_policy_violation",
        "bio_policy",
        "misalignment_policy_violation",
    )
)


def from_exception(exc: Exception, *, url: str) -> EndpointError:
    """Our error for anything the SDK or its transport raises.

    Args:
        exc: The exception as it came.
        url: The endpoint's base URL, for the message; without user and password.
    """
    if isinstance(exc, EndpointError):
        return exc
    if (answer := _error_answer(exc)) is not None:
        return _from_status(answer)
    chain = tuple(_causes(exc))
    code, retryable = next(
        (code, retryable) for kind, code, retryable in _EXCEPTIONS if any(isinstance(cause, kind) for cause in chain)
    )
    return endpoint_error(_sentence(code, exc, chain, url), code=code, retryable=retryable)


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
    if isinstance(payload, list) and len(payload) == 1:  # Gemini
        payload = payload[0]
    error = payload.get("error") or payload if isinstance(payload, Mapping) else payload
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
        safe_text(message) or _plain_words(status),
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
    """The answer is no stream of an answer, nor one whole answer."""
    return endpoint_error(f"The endpoint did not send an answer: {detail}.", code="not_a_stream")


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds that a `Retry-After` (seconds or a date) or `retry-after-ms` header asks to wait."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            seconds = float(milliseconds) / 1000
            return max(0.0, seconds) if isfinite(seconds) else None
        value = headers.get("retry-after")
        if value is None:
            return None
        if value.strip().replace(".", "", 1).isdecimal():
            return float(value)
        instant = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, instant - (time.time() if now is None else now))


_EXCEPTIONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], ErrorCode, bool], ...] = (
    (aiohttp.ConnectionTimeoutError, "connect_timeout", True),
    (aiohttp.ServerTimeoutError, "first_token_timeout", True),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), "invalid_request", False),
    (aiohttp.TooManyRedirects, "endpoint_error", False),
    (aiohttp.ClientError, "connection_failed", True),
    ((httpx2.ConnectTimeout, httpx2.PoolTimeout), "connect_timeout", True),
    ((httpx2.TimeoutException, openai.APITimeoutError), "first_token_timeout", True),
    ((httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError), "invalid_request", False),
    ((httpx2.TooManyRedirects, RedirectsElsewhereError), "endpoint_error", False),
    ((httpx2.DecodingError, openai.APIResponseValidationError), "malformed", False),
    ((httpx2.HTTPError, httpx2.StreamError, openai.APIConnectionError, OSError, EOFError), "connection_failed", True),
    ((TypeError, ValueError, openai.OpenAIError), "invalid_request", False),
    (RuntimeError, "connection_failed", False),  # a client that was closed, or belongs to another event loop
    (Exception, "connection_failed", True),
)
"""Code, and whether it may help to try again. The first row that fits the exception or one of its causes decides.

aiohttp's own rows come first: the SDK's adapter for it names every lost connection a `ConnectTimeout`.
"""


def _causes(exc: BaseException) -> Iterator[BaseException]:
    # Not by `__context__`: that leads on to whatever the caller was handling when it called us.
    cause: BaseException | None = exc
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _error_answer(exc: Exception) -> openai.APIStatusError | httpx2.HTTPStatusError | None:
    """The error status that the endpoint answered with, also where its body then broke off or can't be decoded."""
    if isinstance(exc, openai.APIStatusError):
        return exc
    try:
        request = exc.request if isinstance(exc, httpx2.RequestError) else None
    except RuntimeError:  # it belongs to none
        return None
    context = exc.__context__
    while request is not None and context is not None:
        if isinstance(context, httpx2.HTTPStatusError) and context.request is request:
            return context
        context = context.__context__
    return None


def _sentence(code: ErrorCode, exc: Exception, chain: tuple[BaseException, ...], url: str) -> str:
    match code:
        case "connect_timeout":
            return f"The endpoint at {url} gave no connection within the connect time-out."
        case "first_token_timeout":
            return f"The endpoint at {url} gave no answer in time."
        case "invalid_request":
            return f"The request can't be sent to {url}: {safe_text(str(exc)) or type(exc).__name__}"
        case "endpoint_error":
            for cause in chain:
                if isinstance(cause, RedirectsElsewhereError):
                    return (
                        f"The endpoint at {url} redirects to another host, {safe_text(str(cause))}; it isn't followed."
                    )
            return f"The endpoint at {url} redirects without end."
        case "malformed":
            return "The endpoint sent something unreadable: the body can't be decoded."
        case _ if any(isinstance(cause, aiohttp.ClientPayloadError | httpx2.RemoteProtocolError) for cause in chain):
            return f"The endpoint at {url} closed the connection before its answer was whole."
        case _:
            return f"The endpoint at {url} can't be reached or closed the connection{_reason(chain)}."


def _reason(chain: tuple[BaseException, ...]) -> str:
    for cause in chain:
        match cause:
            case aiohttp.ClientConnectorDNSError():
                return " (its host name doesn't resolve)"
            case ConnectionRefusedError():
                return " (connection refused)"
            case aiohttp.ClientSSLError() | httpx2.ProxyError():
                return f" ({type(cause).__name__})"
    # Not one that is known for a lost connection: its name may help.
    return "" if isinstance(chain[0], httpx2.HTTPError | openai.OpenAIError) else f" ({type(chain[0]).__name__})"


def _from_status(exc: openai.APIStatusError | httpx2.HTTPStatusError) -> EndpointError:
    response = exc.response
    # The SDK has the JSON decoded, and takes the object under "error" out of it by itself.
    body = exc.body if isinstance(exc, openai.APIStatusError) else None
    if isinstance(body, str) and body.lstrip().startswith("<"):
        body = None
    error = from_payload(body, status=response.status_code, retry_after=retry_after(response.headers))
    said = error.message.rstrip(".")
    if not said.startswith("The endpoint answered"):
        said = f"The endpoint answered {response.status_code}: {said}"
    if response.headers.get("x-should-retry") == "false":
        error.retryable = False
    error.message = f"{said}.{_HINTS.get(response.status_code, '')}"
    error.args = (error.message,)
    return error


_HINTS = {
    401: " Check the API key.",
    404: " Check the model's name, and the base URL, which usually ends in /v1.",
}


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
    # Below 400 stand redirects that lead nowhere: they would again.
    return "endpoint_error", status >= 500


def _status_number(value: Any) -> int | None:
    if isinstance(value, str) and len(value) == 3 and value.isdecimal():
        value = int(value)
    if isinstance(value, int) and 400 <= value <= 599:
        return value
    return None


def safe_text(message: str) -> str:
    """A message as it may be shown once `shortened`: one paragraph, no traceback, nothing like a key or a password."""
    lines = []
    for line in message[:MAX_RAW_MESSAGE_CHARS].strip().splitlines():
        if not line.strip() or line.lstrip().startswith(('File "', "Traceback ")):
            break
        lines.append(line.strip())
    text = _CONTROL.sub(" ", " ".join(lines)).strip().encode("utf-8", "replace").decode()
    return _URL_USERINFO.sub("", _KEY_LIKE.sub("***", text))


def shortened(message: str) -> str:
    """The message, bounded; only once it holds no key any more, of which the bound could leave a half."""
    return message if len(message) <= MAX_MESSAGE_CHARS else message[: MAX_MESSAGE_CHARS - 1] + "…"


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return ""


def _plain_words(status: int | None) -> str:
    if status is None:
        return "The endpoint reported an error without saying which."
    return f"The endpoint answered with status {status}."
