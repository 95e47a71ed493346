"""The one place that calls the SDK: opens a chat stream's response and hands its bytes out."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import openai
from openai import AsyncOpenAI

from hub.errors import EndpointError
from hub.upstream import failures
from hub.upstream.request import ChatRequest
from hub.upstream.transport import READ_EXTENSION, Read

__all__ = ("Endpoint", "OpenResponse", "safe_url")

log = logging.getLogger(__name__)

_BULKY = ("messages", "tools", "stop", "logit_bias")
"""Parameters without a bound on their size, and plain JSON as they come."""

MIN_SECRET_CHARS = 8
"""What is shorter is a word such as `EMPTY`, and may stand in any message."""


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
    """

    def __init__(self, sdk: AsyncOpenAI, *, secrets: Iterable[str] = ()) -> None:
        self._sdk = sdk
        self.url = safe_url(str(sdk.base_url)).rstrip("/")
        self._secrets = tuple(secret for secret in (sdk.api_key, *secrets) if len(secret) >= MIN_SECRET_CHARS)
        self._may_hold_stale_connections = False
        self._usage_option = True
        # Padding against traffic analysis doubles the bytes of a token; only OpenAI's own endpoint adds it.
        self._obfuscation_option = (urlsplit(self.url).hostname or "").endswith("openai.com")
        self._models_with_newer_limit: set[str] = set()

    async def open_chat(self, request: ChatRequest, *, connect_timeout: float | None) -> OpenResponse:
        """Send a chat request and wait for the response's headers.

        Raises:
            EndpointError: The endpoint can't be reached or answered with an error status.
        """
        may_be_stale = self._may_hold_stale_connections
        while True:
            arguments = self._arguments(request)
            try:
                response = await self._open(arguments, connect_timeout)
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
            error = failures.from_exception(exc, url=self.url)
            error.message = self.redact(error.message)
            error.args = (error.message,)
            raise error from None  # the SDK's own words may quote the key
        return [model.id for model in page.data or ()]

    def translate(self, exc: Exception) -> EndpointError:
        """Our error for what a read raised."""
        return failures.from_exception(exc, url=self.url)

    def redact(self, message: str) -> str:
        """The message without the keys that are used here; endpoints quote them."""
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return message

    async def _open(self, arguments: Mapping[str, Any], connect_timeout: float | None) -> OpenResponse:
        timeout = openai.Timeout(None, connect=connect_timeout, pool=connect_timeout)
        try:
            manager = self._sdk.chat.completions.with_streaming_response.create(
                **arguments, stream=True, timeout=timeout
            )
            response = await manager.__aenter__()
        except Exception as exc:
            raise failures.from_exception(exc, url=self.url) from exc
        return OpenResponse(response)

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        """The SDK's arguments: parameters it doesn't know go into the body as they are."""
        known = _known_parameters()
        arguments: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, value in request.params.items():
            (arguments if name in known else extra)[name] = value
        if request.model in self._models_with_newer_limit and "max_tokens" in arguments:
            arguments["max_completion_tokens"] = arguments.pop("max_tokens")
        options = dict(arguments.get("stream_options") or {})
        if self._usage_option:
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
        arguments.setdefault("messages", ())  # the SDK insists on some
        if extra:
            arguments["extra_body"] = {**extra, **(arguments.get("extra_body") or {})}
        # Compressed, a stream is often held back by whoever compresses it.
        arguments["extra_headers"] = {"Accept-Encoding": "identity", **(arguments.get("extra_headers") or {})}
        return arguments

    def _adapt(self, sent: Mapping[str, Any], request: ChatRequest, error: EndpointError) -> bool:
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
def _known_parameters() -> frozenset[str]:
    from openai.resources.chat.completions import AsyncCompletions

    return frozenset(inspect.signature(AsyncCompletions.create).parameters) - {"self", "timeout"}


def safe_url(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
