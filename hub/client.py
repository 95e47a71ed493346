"""The client: asks an OpenAI-compatible endpoint and gives typed events, an `LLMResult`, text, SSE, or feeds a sink."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient
from pydantic import BaseModel

from hub.completion import Completion
from hub.config import Settings
from hub.errors import ClosedError, ConfigurationError, InvalidRequestError, MissingKeyError, endpoint_error
from hub.events import EndStatus, LLMEvent, new_stream_id
from hub.formats import sse
from hub.models.profile import ModelProfile
from hub.result import Failure, LLMResult
from hub.sink import Sink, pump
from hub.upstream.answer import ChatAnswer
from hub.upstream.clocks import Timeouts
from hub.upstream.endpoint import ChatRequest, Endpoint
from hub.upstream.retry import RetryPolicy

__all__ = ("AsyncOpenAIClient", "EventStream", "LLMClient", "OpenAIClient")

DEFAULT_BASE_URL = "https://api.openai.com/v1"
NO_KEY = "EMPTY"

LLM_BASE_URL = "http://localhost:8000/v1"
LLM_MODEL = "google/gemma-3-27b-it"
LLM_MAX_TOKENS = 256
LLM_TEMPERATURE = 0.7


class EventStream:
    """The events of one answer, to be read once: by `async for`, or as an async context manager and by `async for`.

    Left early, the connection to the endpoint closes: at the end of the `async with` block, at `aclose()`, or when
    the iteration is dropped (`async for event in client.stream(…): break`). `stop()` instead ends the stream in
    order: what is being awaited is given up, and `usage` and `done` with status `cancelled` come out.

    Attributes:
        stream_id: The id that every event bears.
    """

    def __init__(self, answer: ChatAnswer, stream_id: str) -> None:
        self.stream_id = stream_id
        self._answer = answer
        self._unread = _Unread()
        # The generator must not refer to this object: a cycle would keep a dropped stream's connection open.
        self._events = _events(answer, self._unread)

    def __aiter__(self) -> AsyncGenerator[LLMEvent, None]:
        """The events, from where an earlier iteration left off."""
        return self._events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection to the endpoint; no further event comes. A second call does nothing."""
        await self._events.aclose()

    def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """The events in lists of what arrived together, for a reader that stores or sends them together."""
        return self._answer.batches()

    def stop(self) -> None:
        """End the stream as `cancelled`, from anywhere in the event loop; does nothing after its end."""
        self._answer.stop()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events not yet handed out, through `done`, for a reader that was cancelled and tells others the end."""
        return [*self._unread.take(), *self._answer.ending(status, failure)]


class _Unread:
    """The events of a batch that its reader has not taken yet."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events: Iterator[LLMEvent] = iter(())

    def take(self) -> list[LLMEvent]:
        return list(self.events)


async def _events(answer: ChatAnswer, unread: _Unread) -> AsyncGenerator[LLMEvent, None]:
    async with aclosing(answer.batches()) as batches:
        async for batch in batches:
            unread.events = events = iter(batch)
            for event in events:
                yield event


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
        http_client: An `httpx2.AsyncClient` to send with, which stays its owner's to close.
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
        settings = settings or Settings.load()
        llm = settings.llm
        name = model if model is not None else llm.model
        if not name:
            raise ConfigurationError("No model: pass one, as in OpenAIClient('gpt-5.1'), or set LLM_MODEL.")
        self.profile = name if isinstance(name, ModelProfile) else ModelProfile(model_name=name)
        self.model = self.profile.model_name
        self.max_tokens = max_tokens if max_tokens is not None else llm.max_tokens
        self.temperature = temperature if temperature is not None else llm.temperature
        url, key = _address(settings, base_url, api_key)
        self._timeouts = timeouts or Timeouts(
            connect_timeout=llm.connect_timeout,
            first_token_timeout=llm.first_token_timeout,
            stall_timeout=llm.stall_timeout,
            total_timeout=llm.total_timeout,
        )
        self._retry = retry or RetryPolicy(attempts=llm.attempts)
        self._owns_http_client = http_client is None
        # Unlimited: how many streams run at once is decided where it can be seen, not in a pool's hidden queue.
        http_client = http_client or DefaultAioHttpClient(limits=httpx2.Limits(max_connections=0, keepalive_expiry=30))
        self.client = AsyncOpenAI(
            base_url=url,
            api_key=key,
            max_retries=0,
            http_client=http_client,
            default_headers=default_headers,
        )
        self._endpoint = Endpoint(self.client, connect_timeout=self._timeouts.connect_timeout)
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, base_url={self.base_url!r})"

    @property
    def base_url(self) -> str:
        """The endpoint's address, without user and password."""
        return self._endpoint.url

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
        profile = self.profile if model is None else _profile(model)
        max_tokens = self.max_tokens if max_tokens is None else max_tokens
        temperature = self.temperature if temperature is None else temperature
        if "stream" in params:
            raise InvalidRequestError("stream is not an argument: every call streams; `invoke` gives a whole result.")
        request: dict[str, Any] = {"model": profile.model_name, "messages": _messages(messages), **params}
        # OpenAI's newer name for the same limit, where the caller uses it, stands in the place of the older one.
        if max_tokens is not None and "max_completion_tokens" not in params:
            request["max_tokens"] = max_tokens
        if temperature is not None:
            request["temperature"] = temperature
        stream_id = stream_id or new_stream_id()
        answer = ChatAnswer(
            self._endpoint,
            ChatRequest(request),
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
        """Ask, and get the answer's text.

        Raises:
            EndpointError: The endpoint gave no whole answer.
        """
        result = await _fold(self.stream(messages=messages, **params))
        return result.raise_for_status().text

    def generate_streaming(self, messages: Iterable[Any], **params: Any) -> AsyncIterator[str]:
        """Ask, and get the answer's text in pieces as they come.

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
            if event.type == "text_delta":
                yield event.text
            elif event.type == "error":
                raise endpoint_error(event.message, code=event.code, status=event.status, retryable=event.retryable)


async def _frames(events: EventStream) -> AsyncGenerator[bytes, None]:
    async with aclosing(aiter(events)) as iterator:
        async for event in iterator:
            yield sse.frame(event)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _profile(model: Any) -> ModelProfile:
    if isinstance(model, ModelProfile):
        return model
    if not isinstance(model, str) or not model:
        raise InvalidRequestError(f"model must be a name or a ModelProfile, not {model!r}.")
    return ModelProfile(model_name=model)


def _messages(messages: Any) -> list[Any]:
    """The messages as a list of mappings, checked as far as every endpoint needs it."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InvalidRequestError(
            f"messages must be a list such as [{{'role': 'user', 'content': 'Hello'}}], not {type(messages).__name__}."
        )
    # The SDK's own message objects, as an earlier answer had them, are pydantic models.
    listed = [each.model_dump(exclude_none=True) if isinstance(each, BaseModel) else each for each in messages]
    if not listed:
        raise InvalidRequestError("messages is empty: at least one message is needed.")
    for number, message in enumerate(listed):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidRequestError(f"messages[{number}] must be a mapping with a 'role'.")
    return listed


def _address(settings: Settings, base_url: str | None, api_key: str | None) -> tuple[str, str]:
    """The endpoint's URL and key. A key found in the environment goes only to the endpoint it belongs to."""
    openai_key = settings.openai.api_key
    llm_key = settings.llm.api_key
    if base_url is None and settings.openai.base_url is None and settings.llm.base_url is not None:
        url, found, variable = settings.llm.base_url, llm_key, "LLM_API_KEY"
    else:
        url = _first(base_url, settings.openai.base_url, DEFAULT_BASE_URL)
        found, variable = openai_key, "OPENAI_API_KEY"
        if base_url is not None and base_url == settings.llm.base_url and llm_key is not None:
            found, variable = llm_key, "LLM_API_KEY"
    host = _host(url)
    if api_key is not None:
        if not api_key:
            raise ConfigurationError("api_key is empty; pass 'EMPTY' for a server that asks for none.")
        return url, api_key
    if found is not None:
        return url, found.get_secret_value()
    if _is_this_machine(host):
        return url, NO_KEY
    raise MissingKeyError(f"{urlsplit(url).scheme}://{host}", variable)


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises where it is no number
    except ValueError as exc:
        raise ConfigurationError(f"The base URL {url!r} is no URL: {exc}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(f"The base URL {url!r} is not of the form https://host/v1.")
    return host


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
