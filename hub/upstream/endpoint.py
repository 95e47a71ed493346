"""The one place that calls the SDK: opens an answer's response and hands its bytes out."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import openai
from openai import AsyncOpenAI

from hub.errors import EndpointError
from hub.models.pricing import may_have_list_prices, prepare
from hub.upstream import failures
from hub.upstream.request import MIN_SECRET_CHARS, Api, Request
from hub.upstream.transport import READ_EXTENSION, Read

__all__ = ("Endpoint", "OpenResponse", "Sending", "safe_url")

log = logging.getLogger(__name__)

_BULKY = ("messages", "input", "tools", "stop", "logit_bias")
"""Parameters without a bound on their size, and plain JSON as they come."""

_INSISTED_ON: dict[Api, str] = {"chat": "messages", "responses": "input"}
"""What the SDK wants as an argument."""

_HEADER_SAFE = re.compile(r"[A-Za-z0-9._~:/+=-]{1,200}")


@dataclass(frozen=True, slots=True)
class Sending:
    """How to send a request.

    Attributes:
        connect_timeout: Seconds; None waits for ever.
        request_id: The call's own.
        idempotency_key: The same for each try at one thing, so that an endpoint that heeds it doesn't do it twice.
        headers: Sent with it; those that hold keys are not theirs to set.
    """

    connect_timeout: float | None
    request_id: str
    idempotency_key: str
    headers: Mapping[str, str] = field(default_factory=dict)


class OpenResponse:
    """A response whose status was fine, to be read and closed.

    Attributes:
        read: Awaits the next bytes; b"" is the end of the body.
    """

    def __init__(self, response: openai.AsyncAPIResponse[Any]) -> None:
        self._response = response
        http = response.http_response
        self._pieces: AsyncIterator[bytes] | None = None
        self.read: Read = self._read_piece
        # The generators that the SDK and httpx2 put round a body cost more than the read itself; they are needed
        # where there is something to decompress, or another transport beneath.
        if http.headers.get("content-encoding", "identity") == "identity":
            self.read = http.extensions.get(READ_EXTENSION, self._read_piece)

    @property
    def headers(self) -> Mapping[str, str]:
        """The response's headers, looked up in any case."""
        return self._response.headers

    async def aclose(self) -> None:
        """Give the connection back, or close it where the body wasn't read to its end."""
        try:
            if isinstance(self._pieces, AsyncGenerator):
                await self._pieces.aclose()
            await self._response.close()
        except Exception as exc:
            log.debug("closing a response failed: %s", type(exc).__name__)

    async def _read_piece(self) -> bytes:
        if self._pieces is None:
            self._pieces = aiter(self._response.iter_bytes())
        async for piece in self._pieces:
            if piece:
                return piece
        return b""


class Endpoint:
    """An OpenAI-compatible endpoint over the SDK's client.

    It learns what the endpoint rejects: options that only some servers know are left out from the second try on,
    for this request and for later ones.

    Args:
        sdk: The SDK's client; its own retries must be off.
        secrets: What no message may show, beside the SDK's key.

    Attributes:
        url: Its address, as it may be shown.
        account: A name for the address and the key together, from which neither can be told.
    """

    def __init__(self, sdk: AsyncOpenAI, *, secrets: Iterable[str] = ()) -> None:
        self._sdk = sdk
        self.url = safe_url(str(sdk.base_url)).rstrip("/")
        self.account = blake2b(f"{self.url}\n{sdk.api_key}".encode(), digest_size=12).hexdigest()
        self._secrets = tuple(secret for secret in (sdk.api_key, *secrets) if len(secret) >= MIN_SECRET_CHARS)
        self._may_hold_stale_connections = False
        self._usage_option = True
        # Padding against traffic analysis doubles the bytes of a token; only OpenAI's own endpoint adds it.
        self._obfuscation_option = self.is_openai
        self._models_with_newer_limit: set[str] = set()
        self._prices: asyncio.Future[None] | None = None

    @property
    def is_openai(self) -> bool:
        """It is OpenAI's own."""
        host = urlsplit(self.url).hostname or ""
        return host == "openai.com" or host.endswith(".openai.com")

    async def open(self, request: Request, sending: Sending) -> OpenResponse:
        """Send a request and wait for the response's headers.

        Raises:
            EndpointError: The endpoint can't be reached or answered with an error status.
        """
        self.prepare_prices()
        may_be_stale = self._may_hold_stale_connections
        while True:
            try:
                arguments = self._arguments(request, sending)
            except (TypeError, ValueError, AttributeError) as exc:
                raise failures.from_exception(exc, url=self.url) from exc
            try:
                response = await self._open(request.api, arguments, sending.connect_timeout)
            except EndpointError as exc:
                if may_be_stale and failures.was_dropped(exc):
                    # A kept connection that the server had closed meanwhile (llama.cpp closes after each stream).
                    may_be_stale = self._may_hold_stale_connections = False
                elif self._adapt(arguments, request, exc):
                    log.info("%s rejected an option; the request goes again without it", self.url)
                else:
                    raise
            else:
                self._may_hold_stale_connections = True
                return response

    async def list_models(self, *, timeout: float) -> list[str]:
        """The names under the endpoint's `/models`, in its order.

        Raises:
            EndpointError: It can't be reached, or doesn't say.
        """
        try:
            page = await self._sdk.models.list(timeout=openai.Timeout(timeout))
        except Exception as exc:
            error = self.redact(failures.from_exception(exc, url=self.url))
            raise error from None  # the SDK's own words may quote the key
        return [model.id for model in page.data or ()]

    def translate(self, exc: Exception) -> EndpointError:
        """Our error for what a read raised."""
        return failures.from_exception(exc, url=self.url)

    def redact(self, error: EndpointError, also: Iterable[str] = ()) -> EndpointError:
        """The error, its message without the keys that are used here: endpoints quote them. And bounded.

        Args:
            error: Is changed.
            also: Further secrets, those of one call.
        """
        message = error.message
        for secret in (*self._secrets, *also):
            message = message.replace(secret, "***")
        error.message = failures.shortened(message)
        error.args = (error.message,)
        return error

    async def _open(self, api: Api, arguments: dict[str, Any], connect_timeout: float | None) -> OpenResponse:
        timeout = openai.Timeout(None, connect=connect_timeout, pool=connect_timeout)
        create: Any = (
            self._sdk.chat.completions.with_streaming_response.create
            if api == "chat"
            else self._sdk.responses.with_streaming_response.create
        )
        try:
            manager = create(**arguments, stream=True, timeout=timeout)
            response = await manager.__aenter__()
        except Exception as exc:
            raise failures.from_exception(exc, url=self.url) from exc
        return OpenResponse(response)

    def prepare_prices(self) -> None:
        """Load what an answer's cost needs, in a thread, while the first is awaited: it takes long to load."""
        if self._prices is None and may_have_list_prices(self.url):
            self._prices = asyncio.get_running_loop().run_in_executor(None, prepare)

    def _arguments(self, request: Request, sending: Sending) -> dict[str, Any]:
        """The SDK's arguments: parameters it doesn't know go into the body as they are."""
        known = _known_parameters(request.api)
        arguments: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, value in request.params.items():
            (arguments if name in known else extra)[name] = value
        if request.model in self._models_with_newer_limit and "max_tokens" in arguments:
            arguments["max_completion_tokens"] = arguments.pop("max_tokens")
        options = dict(arguments.get("stream_options") or {})
        if self._usage_option and request.api == "chat":  # the Responses API tells it unasked
            options.setdefault("include_usage", True)
        if self._obfuscation_option:
            options.setdefault("include_obfuscation", False)
        if options:
            arguments["stream_options"] = options
        # What the SDK takes as an argument it walks through, item by item, while the event loop waits: 16 s for
        # 100,000 messages. `extra_body` it takes as it is, and in the place of the argument of the same name.
        for name in _BULKY:
            if isinstance(arguments.get(name), list | tuple | dict):
                extra[name] = arguments.pop(name)
        arguments.setdefault(_INSISTED_ON[request.api], ())
        if extra:
            arguments["extra_body"] = {**extra, **(arguments.get("extra_body") or {})}
        # Compressed, a stream is often held back by whoever compresses it.
        headers = {**sending.headers, "Accept-Encoding": "identity"}
        if _HEADER_SAFE.fullmatch(sending.request_id):
            headers |= {"X-Client-Request-Id": sending.request_id, "Idempotency-Key": sending.idempotency_key}
        arguments["extra_headers"] = {**headers, **(arguments.get("extra_headers") or {})}
        return arguments

    def _adapt(self, sent: Mapping[str, Any], request: Request, error: EndpointError) -> bool:
        """Whether the request goes again in another form, since the endpoint names an option of ours it rejects.

        What was sent decides, not what is known by now: another request may have learnt it meanwhile.
        """
        if error.code != "invalid_request" or error.status not in (400, 422):
            return False
        message = error.message.lower()
        options = sent.get("stream_options") or {}
        own_options = request.params.get("stream_options") or {}
        if "include_obfuscation" in message and "include_obfuscation" in options.keys() - own_options.keys():
            self._obfuscation_option = False
            return True
        if ("stream_options" in message or "include_usage" in message) and options and not own_options:
            self._usage_option = self._obfuscation_option = False
            return True
        if "max_completion_tokens" in message and "max_tokens" in sent:
            # OpenAI's reasoning models take the limit under its newer name only.
            self._models_with_newer_limit.add(request.model)
            return True
        return False


@cache
def _known_parameters(api: Api) -> frozenset[str]:
    # Imported here, since the SDK itself loads the modules of its resources on first use.
    create: Any
    if api == "chat":
        from openai.resources.chat.completions import AsyncCompletions

        create = AsyncCompletions.create
    else:
        from openai.resources.responses import AsyncResponses

        create = AsyncResponses.create
    return frozenset(inspect.signature(create).parameters) - {"self", "timeout"}


def safe_url(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
