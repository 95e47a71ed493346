"""The error table: what statuses, error bodies and foreign exceptions become."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import aiohttp
import httpx2
import openai
import pytest

from hub.errors import ERROR_CODES, EndpointError, MissingKeyError
from hub.upstream import failures

URL = "http://models.example/v1"
REQUEST = httpx2.Request("POST", URL)

CONNECT, FIRST, LOST = "connect_timeout", "first_token_timeout", "connection_failed"
INVALID, REDIRECTS, MALFORMED, STATUS = "invalid_request", "endpoint_error", "malformed", "status"

EXPECTED: dict[type[BaseException], str] = {
    # The SDK's. What it raises only for calls that are not made here counts as a wrong request.
    openai.OpenAIError: INVALID,
    openai.APIError: INVALID,
    openai.APIConnectionError: LOST,
    openai.APITimeoutError: FIRST,
    openai.APIResponseValidationError: MALFORMED,
    openai.LengthFinishReasonError: INVALID,
    openai.ContentFilterFinishReasonError: INVALID,
    openai.InvalidWebhookSignatureError: INVALID,
    openai.WebSocketConnectionClosedError: INVALID,
    openai.WebSocketQueueFullError: INVALID,
    **dict.fromkeys(
        (
            openai.APIStatusError,
            openai.AuthenticationError,
            openai.BadRequestError,
            openai.ConflictError,
            openai.InternalServerError,
            openai.NotFoundError,
            openai.OAuthError,
            openai.PermissionDeniedError,
            openai.RateLimitError,
            openai.UnprocessableEntityError,
        ),
        STATUS,
    ),
    # httpx2's
    httpx2.HTTPError: LOST,
    httpx2.HTTPStatusError: LOST,
    httpx2.RequestError: LOST,
    httpx2.TransportError: LOST,
    httpx2.TimeoutException: FIRST,
    httpx2.ConnectTimeout: CONNECT,
    httpx2.PoolTimeout: CONNECT,
    httpx2.ReadTimeout: FIRST,
    httpx2.WriteTimeout: FIRST,
    httpx2.NetworkError: LOST,
    httpx2.ConnectError: LOST,
    httpx2.ReadError: LOST,
    httpx2.WriteError: LOST,
    httpx2.CloseError: LOST,
    httpx2.ProxyError: LOST,
    httpx2.ProtocolError: LOST,
    httpx2.LocalProtocolError: INVALID,
    httpx2.RemoteProtocolError: LOST,
    httpx2.UnsupportedProtocol: INVALID,
    httpx2.InvalidURL: INVALID,
    httpx2.DecodingError: MALFORMED,
    httpx2.TooManyRedirects: REDIRECTS,
    httpx2.CookieConflict: LOST,
    httpx2.StreamError: LOST,
    httpx2.StreamConsumed: LOST,
    httpx2.StreamClosed: LOST,
    httpx2.ResponseNotRead: LOST,
    httpx2.RequestNotRead: LOST,
    httpx2.SSEError: LOST,
    # aiohttp's
    aiohttp.ConnectionTimeoutError: CONNECT,
    aiohttp.ServerTimeoutError: FIRST,
    aiohttp.SocketTimeoutError: FIRST,
    aiohttp.InvalidURL: INVALID,
    aiohttp.InvalidUrlClientError: INVALID,
    aiohttp.InvalidUrlRedirectClientError: INVALID,
    aiohttp.NonHttpUrlClientError: INVALID,
    aiohttp.NonHttpUrlRedirectClientError: INVALID,
    aiohttp.TooManyRedirects: REDIRECTS,
    aiohttp.WSMessageTypeError: INVALID,
    **dict.fromkeys(
        (
            aiohttp.ClientConnectionError,
            aiohttp.ClientConnectionResetError,
            aiohttp.ClientConnectorCertificateError,
            aiohttp.ClientConnectorDNSError,
            aiohttp.ClientConnectorError,
            aiohttp.ClientConnectorSSLError,
            aiohttp.ClientError,
            aiohttp.ClientHttpProxyError,
            aiohttp.ClientOSError,
            aiohttp.ClientPayloadError,
            aiohttp.ClientProxyConnectionError,
            aiohttp.ClientResponseError,
            aiohttp.ClientSSLError,
            aiohttp.ContentTypeError,
            aiohttp.RedirectClientError,
            aiohttp.ServerConnectionError,
            aiohttp.ServerDisconnectedError,
            aiohttp.ServerFingerprintMismatch,
            aiohttp.UploadAbortedError,
            aiohttp.WSServerHandshakeError,
        ),
        LOST,
    ),
    aiohttp.EofStream: LOST,
    aiohttp.WebSocketError: LOST,
}


def exceptions_of(module: ModuleType) -> set[type[BaseException]]:
    public = (getattr(module, name) for name in module.__all__)
    return {
        each
        for each in public
        if inspect.isclass(each) and issubclass(each, Exception) and not issubclass(each, Warning)
    }


@pytest.mark.parametrize("module", [openai, httpx2, aiohttp], ids=lambda module: module.__name__)
def test_every_exception_of_the_library_is_known_to_the_table(module: ModuleType) -> None:
    assert exceptions_of(module) <= EXPECTED.keys()


@pytest.mark.parametrize("kind", EXPECTED, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_an_exception_becomes_the_code_of_its_kind(kind: type[Exception]) -> None:
    exc: Any = kind.__new__(kind)
    if issubclass(kind, openai.APIStatusError):
        exc.response, exc.body = httpx2.Response(503, request=REQUEST), None
    elif issubclass(kind, aiohttp.InvalidURL | httpx2.RequestError):
        kind.__init__(exc, URL)
    error = failures.from_exception(exc, url=URL)
    assert error.code == ("endpoint_error" if EXPECTED[kind] == STATUS else EXPECTED[kind])
    assert error.message


@pytest.mark.parametrize(
    ("exc", "code", "retryable"),
    [
        (ConnectionResetError(), "connection_failed", True),
        (OSError("no route"), "connection_failed", True),
        (EOFError(), "connection_failed", True),
        (TypeError("not JSON serializable"), "invalid_request", False),
        (UnicodeEncodeError("ascii", "\u20ac", 0, 1, "no"), "invalid_request", False),
        (RuntimeError("the client has been closed"), "connection_failed", False),
        (KeyError("surprise"), "connection_failed", True),
    ],
    ids=repr,
)
def test_other_exceptions_are_translated_too(exc: Exception, code: str, retryable: bool) -> None:
    error = failures.from_exception(exc, url=URL)
    assert (error.code, error.retryable) == (code, retryable)


def test_a_lost_connection_that_an_adapter_calls_a_timeout_is_no_timeout() -> None:
    adapted = httpx2.ConnectTimeout("Server disconnected")
    adapted.__cause__ = aiohttp.ServerDisconnectedError()
    outer = openai.APITimeoutError(REQUEST)
    outer.__cause__ = adapted
    assert failures.from_exception(outer, url=URL).code == "connection_failed"


@pytest.mark.parametrize(
    "handled",
    [
        aiohttp.ConnectionTimeoutError(),
        httpx2.HTTPStatusError("429", request=REQUEST, response=httpx2.Response(429, request=REQUEST)),
    ],
    ids=repr,
)
def test_what_the_caller_was_handling_is_no_cause(handled: Exception) -> None:
    exc = httpx2.ConnectError("refused", request=httpx2.Request("POST", URL))
    exc.__context__ = handled
    assert failures.from_exception(exc, url=URL).code == "connection_failed"


def test_an_error_answer_whose_body_breaks_off_keeps_its_status() -> None:
    status = httpx2.HTTPStatusError("401", request=REQUEST, response=httpx2.Response(401, request=REQUEST))
    exc = httpx2.ReadError("reset", request=REQUEST)
    exc.__context__ = status
    error = failures.from_exception(exc, url=URL)
    assert (error.code, error.status) == ("unauthorized", 401)


def test_our_own_errors_pass_unchanged() -> None:
    own = failures.truncated("x")
    assert failures.from_exception(own, url=URL) is own


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (301, "endpoint_error", False),
        (304, "endpoint_error", False),
        (400, "invalid_request", False),
        (401, "unauthorized", False),
        (402, "budget_exceeded", False),
        (403, "unauthorized", False),
        (404, "not_found", False),
        (408, "endpoint_error", True),
        (409, "endpoint_error", True),
        (413, "invalid_request", False),
        (418, "invalid_request", False),
        (422, "invalid_request", False),
        (425, "endpoint_error", True),
        (429, "rate_limited", True),
        (500, "endpoint_error", True),
        (503, "endpoint_error", True),
        (529, "endpoint_error", True),
        (599, "endpoint_error", True),
    ],
)
def test_a_status_decides_the_code_and_whether_to_try_again(status: int, code: str, retryable: bool) -> None:
    error = failures.from_payload(None, status=status)
    assert (error.code, error.status, error.retryable) == (code, status, retryable)
    assert str(status) in error.message


@pytest.mark.parametrize(
    ("payload", "code", "status", "message"),
    [
        ({"error": {"message": "m", "type": "invalid_request_error", "code": None}}, "invalid_request", 400, "m"),
        ({"error": {"message": "m", "type": "BadRequestError", "code": 400}}, "invalid_request", 400, "m"),
        ({"error": {"message": "m", "code": "429"}}, "rate_limited", 429, "m"),
        ({"error": {"message": "m", "code": "invalid_api_key"}}, "unauthorized", 401, "m"),
        ({"error": {"message": "m", "code": "insufficient_quota", "type": "x"}}, "budget_exceeded", None, "m"),
        ({"error": {"message": "m", "code": "content_filter"}}, "content_filter", None, "m"),
        ({"error": {"message": "m", "type": "overloaded_error"}}, "endpoint_error", 529, "m"),
        ({"error": {"message": {"deep": 1}}}, "endpoint_error", None, '{"deep":1}'),
        ({"error": "plain"}, "endpoint_error", None, "plain"),
        ({"error": ["a", "b"]}, "endpoint_error", None, '["a","b"]'),
        ([{"error": {"code": 503, "message": "m"}}], "endpoint_error", 503, "m"),
        ({"object": "error", "message": "m", "code": 400, "error": None}, "invalid_request", 400, "m"),
        ({"message": "m", "type": "model_not_found"}, "not_found", 404, "m"),
        ({"detail": "m"}, "endpoint_error", None, "m"),
        ({"detail": [{"loc": ["body", "n"], "msg": "m"}]}, "endpoint_error", None, '[{"loc":["body","n"],"msg":"m"}]'),
        ("plain text", "endpoint_error", None, "plain text"),
        ({"error": {"code": "\u00b2", "message": "m"}}, "endpoint_error", None, "m"),
        ({"error": {"code": "9" * 5_000, "message": "m"}}, "endpoint_error", None, "m"),
        ({"error": {"code": True, "message": "m"}}, "endpoint_error", None, "m"),
        ({"error": {"code": 7, "message": "m"}}, "endpoint_error", None, "m"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_error_bodies_of_every_shape_are_read(payload: Any, code: str, status: int | None, message: str) -> None:
    error = failures.from_payload(payload)
    assert (error.code, error.status, error.message) == (code, status, message)
    assert error.code in ERROR_CODES


@pytest.mark.parametrize(
    "payload", [None, {}, [], "", 7, {"error": {}}, {"error": None}, {"error": {"message": ""}}, "\x01"]
)
def test_an_error_that_says_nothing_still_has_a_message(payload: Any) -> None:
    assert failures.from_payload(payload).message.strip()


def test_an_error_nested_beyond_reason_is_read() -> None:
    nested: Any = "x"
    for _ in range(5_000):
        nested = [nested]
    assert failures.from_payload({"error": {"message": nested}}).message


def test_the_status_of_the_answer_goes_before_one_in_its_body() -> None:
    assert failures.from_payload({"error": {"message": "m", "code": 400}}, status=503).status == 503


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Incorrect API key provided: sk-proj-abcdefghijkl.", "Incorrect API key provided: ***."),
        ("header Authorization: Bearer abc.def.ghi rejected", "header Authorization: Bearer *** rejected"),
        ("see http://user:pass@host/v1", "see http://host/v1"),
        ('boom\n\n  File "x.py", line 3\n    code', "boom"),
        ("boom\nTraceback (most recent call last):\n  secret", "boom"),
        ("a\n  b\tc\x1b[31m\x00", "a b c [31m"),
        ("\x01\x02\x1b", ""),
        ("\x00so\x00", "so"),
        ("half \ud83d of it", "half ? of it"),
        ("x" * 10_000, "x" * 399 + "…"),
    ],
    ids=lambda value: value[:30].encode("unicode_escape").decode(),
)
def test_a_message_is_fit_to_be_shown(raw: str, shown: str) -> None:
    assert failures.shortened(failures.safe_text(raw)) == shown


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "\u00b2"}, None),
        ({"retry-after": "Sat, 99 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "x"}, None),
        ({"retry-after-ms": "-3"}, 0.0),
    ],
    ids=str,
)
def test_retry_after_is_read_as_seconds_date_or_milliseconds(headers: dict[str, str], seconds: float | None) -> None:
    ten_o_clock = 1_795_255_200.0
    assert failures.retry_after(headers, now=ten_o_clock) == seconds


@pytest.mark.parametrize(
    ("exc", "dropped"),
    [
        (aiohttp.ServerDisconnectedError(), True),
        (httpx2.RemoteProtocolError("closed"), True),
        (httpx2.ReadError("reset"), True),
        (httpx2.ConnectError("refused"), False),
        (httpx2.ConnectTimeout("late"), False),
    ],
    ids=repr,
)
def test_a_dropped_connection_is_told_from_one_that_never_stood(exc: Exception, dropped: bool) -> None:
    error = failures.from_exception(exc, url=URL)
    error.__cause__ = exc
    assert failures.was_dropped(error) is dropped


def test_a_missing_key_says_which_variable_to_set() -> None:
    assert "OPENAI_API_KEY" in str(MissingKeyError("https://api.openai.com", "OPENAI_API_KEY"))


def test_every_error_here_is_an_endpoint_error() -> None:
    assert isinstance(failures.malformed("x"), EndpointError)
    assert isinstance(failures.not_a_stream("x"), EndpointError)
