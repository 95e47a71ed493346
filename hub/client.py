"""The client: asks an OpenAI-compatible endpoint and gives typed events, an `LLMResult`, text, SSE, or feeds a sink."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Self

import httpx2
from openai import AsyncOpenAI

from hub.completion import Completion
from hub.config import Settings
from hub.errors import ClosedError, ConfigurationError, endpoint_error
from hub.events import new_stream_id
from hub.formats import sse
from hub.models.profile import ModelProfile
from hub.result import LLMResult
from hub.sink import Sink, pump
from hub.upstream.address import NO_KEY, find_address
from hub.upstream.answer import ChatAnswer
from hub.upstream.clocks import Timeouts
from hub.upstream.endpoint import Endpoint
from hub.upstream.request import as_profile, chat_request, check_max_tokens, check_temperature, check_type
from hub.upstream.retry import RetryPolicy
from hub.upstream.stream import EventStream
from hub.upstream.transport import AiohttpTransport, check_redirect

__all__ = ("AsyncOpenAIClient", "EventStream", "LLMClient", "OpenAIClient")

LLM_BASE_URL = "http://localhost:8000/v1"
LLM_MODEL = "google/gemma-3-27b-it"
LLM_MAX_TOKENS = 256
LLM_TEMPERATURE = 0.7


class OpenAIClient:
    """Asks any endpoint that speaks OpenAI's Chat Completions.

    What is not given is read from the environment (a `.env` nearby is loaded on import): the base URL from
    `OPENAI_BASE_URL`, else `LLM_BASE_URL`, else OpenAI's own; the key from `OPENAI_API_KEY`, or `LLM_API_KEY`
    where the base URL is `LLM_BASE_URL`; the model from `LLM_MODEL`; `max_tokens` and `temperature` from
    `LLM_MAX_TOKENS` and `LLM_TEMPERATURE`, else they are left to the endpoint. A key of one endpoint is never sent
    to the other. Endpoints on this machine need none.

    An endpoint's failure is an `error` event in `stream`, `stream_sse` and `stream_to_sink`, `status` and `error`
    of `invoke`'s result, and an `EndpointError` raised by `generate` and `generate_streaming`. Misuse raises at
    the call, everywhere.

    Args:
        model: The model's name at the endpoint, or a `ModelProfile`.
        base_url: The endpoint, usually ending in `/v1`.
        api_key: Its key; `EMPTY` for one that asks for none.
        max_tokens: Tokens of an answer, at most; 0 is a value.
        temperature: Sampling temperature; 0 is a value.
        timeouts: The four clocks; by default as `LLM_*_TIMEOUT` say, else 5, 120, 60 and 600 s.
        retry: When to try again; by default `LLM_ATTEMPTS` tries, else 3.
        http_client: An `httpx2.AsyncClient` to send with, which stays its owner's to close; it follows redirects as
            it will. Without one, only those are followed that stay at the endpoint's host.
        default_headers: Sent with each request.

    Raises:
        MissingKeyError: The endpoint needs a key and none is known.
        ConfigurationError: Another setting is missing or makes no sense.

    Attributes:
        model, max_tokens, temperature: What a call uses that doesn't say otherwise.
        client: The `openai.AsyncOpenAI` beneath.
    """

    def __init__(
        self,
        model: str | ModelProfile | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        http_client: httpx2.AsyncClient | None = None,
        default_headers: Mapping[str, str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        check_type("base_url", base_url, str)
        check_type("api_key", api_key, str)
        check_type("timeouts", timeouts, Timeouts)
        check_type("retry", retry, RetryPolicy)
        settings = settings or Settings.load()
        llm = settings.llm
        named = model if model is not None else llm.model
        if named is None:
            raise ConfigurationError("No model: pass one, as in OpenAIClient('gpt-5.1'), or set LLM_MODEL.")
        self.profile = as_profile(named)
        self.model = self.profile.model_name
        self.max_tokens = check_max_tokens(max_tokens if max_tokens is not None else llm.max_tokens)
        self.temperature = check_temperature(temperature if temperature is not None else llm.temperature)
        self._timeouts = timeouts or Timeouts(
            connect_timeout=llm.connect_timeout,
            first_token_timeout=llm.first_token_timeout,
            stall_timeout=llm.stall_timeout,
            total_timeout=llm.total_timeout,
        )
        self._retry = retry or RetryPolicy(attempts=llm.attempts)
        address = find_address(settings, base_url, api_key)
        headers = {**address.headers, **(default_headers or {})}
        self._owns_http_client = http_client is None
        self.client = AsyncOpenAI(
            base_url=address.url,
            api_key=address.api_key,
            max_retries=0,
            http_client=http_client or _http_client(),
            default_headers=headers,
        )
        # Of a header such as "Bearer …", what follows the word is the secret.
        self._endpoint = Endpoint(self.client, secrets=[value.split(" ")[-1] for value in headers.values()])
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, base_url={self.base_url!r})"

    @property
    def base_url(self) -> str:
        """The endpoint's address, without user and password."""
        return self._endpoint.url

    async def list_models(self, *, timeout: float = 5.0) -> list[str]:
        """The names of the models that the endpoint says it has, in its order.

        Args:
            timeout: Seconds to wait.

        Raises:
            EndpointError: It can't be reached, or doesn't say.
        """
        return await self._endpoint.list_models(timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to the endpoint. A second call does nothing."""
        if not self._closed:
            self._closed = True
            if self._owns_http_client:
                await self.client.close()

    async def close(self) -> None:
        """The same as `aclose`, by the SDK's name for it."""
        await self.aclose()

    def stream(
        self,
        *,
        messages: Iterable[Any],
        model: str | ModelProfile | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        stream_id: str | None = None,
        identifier: str | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        **params: Any,
    ) -> EventStream:
        """Ask, and get the answer's events as they come.

        Args:
            messages: The conversation, in Chat Completions' form; at least one.
            model: Another model than the client's.
            max_tokens: Tokens of the answer, at most.
            temperature: Sampling temperature.
            stream_id: The id for the events; a fresh one by default.
            identifier: Your own name for the request, kept in `meta`.
            timeouts: Other clocks than the client's.
            retry: Another retry policy than the client's.
            params: Any other parameter of Chat Completions; what the SDK doesn't know goes into the body as it is.

        Raises:
            InvalidRequestError: The arguments are missing or wrong.
            ClosedError: The client is closed.
        """
        if self._closed:
            raise ClosedError("the client is closed")
        check_type("timeouts", timeouts, Timeouts)
        check_type("retry", retry, RetryPolicy)
        check_type("stream_id", stream_id, str)
        check_type("identifier", identifier, str)
        profile = self.profile if model is None else as_profile(model)
        request = chat_request(
            profile=profile,
            messages=messages,
            max_tokens=self.max_tokens if max_tokens is None else max_tokens,
            temperature=self.temperature if temperature is None else temperature,
            params=params,
        )
        stream_id = stream_id or new_stream_id()
        answer = ChatAnswer(
            self._endpoint,
            request,
            stream_id=stream_id,
            timeouts=timeouts or self._timeouts,
            retry=retry or self._retry,
            allows_missing_finish_reason=profile.allows_missing_finish_reason,
            identifier=identifier,
        )
        return EventStream(answer, stream_id)

    async def invoke(self, *, messages: Iterable[Any], **params: Any) -> LLMResult:
        """Ask, and get the whole answer; arguments as for `stream`.

        A failure of the endpoint is in the result's `status` and `error`; `raise_for_status()` raises it.
        """
        return await _fold(self.stream(messages=messages, **params))

    async def generate(self, messages: Iterable[Any], **params: Any) -> str:
        """Ask, and get the answer's text; the first choice's where there are several.

        Raises:
            EndpointError: The endpoint gave no whole answer.
        """
        result = await _fold(self.stream(messages=messages, **params))
        return result.raise_for_status().text

    def generate_streaming(self, messages: Iterable[Any], **params: Any) -> AsyncIterator[str]:
        """Ask, and get the answer's text in pieces as they come; the first choice's where there are several.

        Raises:
            EndpointError: The endpoint gave no whole answer; raised by the iteration, after the pieces that came.
        """
        return _texts(self.stream(messages=messages, **params))

    def stream_sse(self, *, messages: Iterable[Any], **params: Any) -> AsyncIterator[bytes]:
        """Ask, and get the answer as SSE frames, ready for the body of a `text/event-stream` response."""
        return _frames(self.stream(messages=messages, **params))

    async def stream_to_sink(self, sink: Sink, *, messages: Iterable[Any], **params: Any) -> LLMResult:
        """Ask, send every event to the sink, and get the whole answer. The sink stays open.

        Raises:
            Exception: What the sink raised.
        """
        async with self.stream(messages=messages, **params) as events:
            return await pump(events, sink)


AsyncOpenAIClient = OpenAIClient


class LLMClient(OpenAIClient):
    """A client configured from `LLM_*` alone, for a server of one's own such as vLLM.

    With nothing set: `http://localhost:8000/v1`, key `EMPTY`, `google/gemma-3-27b-it`, 256 tokens, temperature 0.7.
    """

    def __init__(
        self,
        model: str | ModelProfile | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        settings = settings or Settings.load()
        llm = settings.llm
        super().__init__(
            _first(model, llm.model, LLM_MODEL),
            base_url=_first(base_url, llm.base_url, LLM_BASE_URL),
            api_key=_first(api_key, llm.api_key.get_secret_value() if llm.api_key else None, NO_KEY),
            max_tokens=_first(max_tokens, llm.max_tokens, LLM_MAX_TOKENS),
            temperature=_first(temperature, llm.temperature, LLM_TEMPERATURE),
            settings=settings,
            **options,
        )


def _http_client() -> httpx2.AsyncClient:
    hooks = {"request": [check_redirect]}
    return httpx2.AsyncClient(transport=AiohttpTransport(), follow_redirects=True, event_hooks=hooks)


async def _fold(events: EventStream) -> LLMResult:
    completion = Completion()
    async with aclosing(events.batches()) as batches:
        async for batch in batches:
            for event in batch:
                completion.add(event)
    return completion.result()


async def _texts(events: EventStream) -> AsyncGenerator[str, None]:
    async with aclosing(aiter(events)) as iterator:
        async for event in iterator:
            if event.type == "text_delta" and event.choice == 0:
                yield event.text
            elif event.type == "error":
                raise endpoint_error(event.message, code=event.code, status=event.status, retryable=event.retryable)


async def _frames(events: EventStream) -> AsyncGenerator[bytes, None]:
    async with aclosing(aiter(events)) as iterator:
        async for event in iterator:
            yield sse.frame(event)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
