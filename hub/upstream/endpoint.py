"""The one place that calls the SDK: opens a chat stream's response and hands its bytes out."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import openai
from openai import AsyncOpenAI

from hub.errors import EndpointError
from hub.upstream import failures

__all__ = ("ChatRequest", "Endpoint", "OpenResponse")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat request: `params` are those of Chat Completions, and any other that the endpoint understands."""

    params: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model asked for."""
        return cast("str", self.params["model"])


class OpenResponse:
    """A response whose status was fine, to be read and closed."""

    def __init__(self, response: openai.AsyncAPIResponse[Any]) -> None:
        self._response = response
        http = response.http_response
        # The SDK's and the HTTP library's generators round the body cost more than the read itself; they are needed
        # only where there is something to decompress.
        plain = http.headers.get("content-encoding", "identity") == "identity"
        stream = http.stream
        body: AsyncIterable[bytes] = stream if plain and isinstance(stream, AsyncIterable) else response.iter_bytes()
        self._chunks: AsyncIterator[bytes] = aiter(body)
        self.read = self._chunks.__anext__
        """Awaits the next bytes; raises StopAsyncIteration at the end of the body."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The response's headers, looked up in any case."""
        return self._response.headers

    async def aclose(self) -> None:
        """Give the connection back, or close it where the body wasn't read to its end."""
        try:
            await self._response.close()
        except Exception as exc:
            log.debug("closing a response failed: %s", type(exc).__name__)


class Endpoint:
    """An OpenAI-compatible endpoint over the SDK's client.

    It learns what the endpoint rejects: options that only some servers know are left out from the second try on,
    for this request and for later ones.
    """

    def __init__(self, sdk: AsyncOpenAI, *, connect_timeout: float | None) -> None:
        self._sdk = sdk
        self._timeout = openai.Timeout(None, connect=connect_timeout, pool=connect_timeout)
        self.url = _without_userinfo(str(sdk.base_url))
        self._has_answered = False
        self._usage_option = True
        # Padding against traffic analysis doubles the bytes of a token; only OpenAI's own endpoint adds it.
        self._obfuscation_option = (urlsplit(self.url).hostname or "").endswith("openai.com")
        self._renamed: dict[str, str] = {}

    async def open_chat(self, request: ChatRequest) -> OpenResponse:
        """Send a chat request and wait for the response's headers.

        Raises:
            EndpointError: The endpoint can't be reached or answered with an error status.
        """
        fresh = not self._has_answered
        while True:
            try:
                response = await self._open(request)
            except EndpointError as exc:
                if exc.code == "connection_failed" and not fresh and failures.was_dropped(exc):
                    # A kept connection that the server had closed meanwhile (llama.cpp closes after each stream).
                    fresh = True
                    continue
                if not self._adapt(request, exc):
                    raise
                log.info("%s rejected an option, sending the request again without it: %s", self.url, exc)
            else:
                self._has_answered = True
                return response

    def translate(self, exc: Exception) -> EndpointError:
        """Our error for what a read raised."""
        return failures.from_exception(exc, url=self.url)

    async def _open(self, request: ChatRequest) -> OpenResponse:
        params = self._arguments(request)
        try:
            manager = self._sdk.chat.completions.with_streaming_response.create(**params)
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
            sent_as = self._renamed.get(name, name)
            (arguments if sent_as in known else extra)[sent_as] = value
        options = dict(arguments.get("stream_options") or {})
        if self._usage_option:
            options.setdefault("include_usage", True)
        if self._obfuscation_option:
            options.setdefault("include_obfuscation", False)
        if options:
            arguments["stream_options"] = options
        if extra:
            arguments["extra_body"] = {**extra, **(arguments.get("extra_body") or {})}
        # Compressed, a stream is often held back by whoever compresses it.
        arguments["extra_headers"] = {"Accept-Encoding": "identity", **(arguments.get("extra_headers") or {})}
        return {**arguments, "stream": True, "timeout": self._timeout}

    def _adapt(self, request: ChatRequest, error: EndpointError) -> bool:
        """Whether the request goes again in another form, since the endpoint names an option of ours it rejects."""
        if error.code != "invalid_request" or error.status not in (400, 422):
            return False
        message = error.message.lower()
        if "include_obfuscation" in message and self._obfuscation_option:
            self._obfuscation_option = False
            return True
        if ("stream_options" in message or "include_usage" in message) and self._usage_option:
            self._usage_option = self._obfuscation_option = False
            return "stream_options" not in request.params
        if "max_completion_tokens" in message and "max_tokens" in request.params and not self._renamed:
            # OpenAI's reasoning models take the limit under its newer name only.
            self._renamed["max_tokens"] = "max_completion_tokens"
            return True
        return False


@cache
def _known_parameters() -> frozenset[str]:
    from openai.resources.chat.completions import AsyncCompletions

    return frozenset(inspect.signature(AsyncCompletions.create).parameters) - {"self", "timeout"}


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
