"""The client: asks an OpenAI-compatible endpoint and gives typed events, an `LLMResult`, text, SSE, or feeds a sink."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Self, TypeVar, Unpack, overload

import httpx2

from hub.asker import Asker, Defaults, listed
from hub.cache.base import Cache
from hub.cache.core import CacheCore
from hub.cache.opening import CacheBackend, CacheOptions, open_cache
from hub.caching import Caching
from hub.config import Settings
from hub.embeddings import Embeddings
from hub.errors import (
    ClosedError,
    ConfigurationError,
    EndpointError,
    InvalidRequestError,
)
from hub.events import new_stream_id
from hub.flights.opening import open_flights
from hub.limits import RateLimiter
from hub.models.profile import ModelProfile, as_profile
from hub.object_stream import ObjectStream
from hub.observe import Observer, Observers, default_observers
from hub.response import as_response, embeddings_response, failed_response
from hub.result import LLMResult
from hub.sink import Sink, pump
from hub.upstream.clocks import Timeouts
from hub.upstream.connections import Connections, Fallback
from hub.upstream.embedding.call import EmbeddingCall
from hub.upstream.plan import Plan
from hub.upstream.quotas import LimiterBackend, Quotas
from hub.upstream.request import (
    Api,
    check_api,
    check_max_tokens,
    check_seconds,
    check_temperature,
    check_type,
)
from hub.upstream.retry import RetryPolicy
from hub.upstream.stream import EventStream

__all__ = ("AsyncOpenAIClient", "EventStream", "Fallback", "OpenAIClient")

T = TypeVar("T")
Model = str | ModelProfile | type[ModelProfile]


class OpenAIClient:
    """Asks any endpoint that speaks OpenAI's Chat Completions or its Responses API.

    What is not given is read from the environment (a `.env` nearby is loaded on import): the base URL from
    `OPENAI_BASE_URL`, else `LLM_BASE_URL`, else OpenAI's own; the key from `OPENAI_API_KEY`, or `LLM_API_KEY`
    where the base URL is `LLM_BASE_URL`; the model from `LLM_MODEL`; `max_tokens` and `temperature` from
    `LLM_MAX_TOKENS` and `LLM_TEMPERATURE`, else they are left to the endpoint. `LLM_API_KEY` goes to `LLM_BASE_URL`
    alone, and a fallback at another address gets no key but its own. Endpoints on this machine need none.

    An endpoint's failure is an `error` event in `stream`, `stream_sse` and `stream_to_sink`, `status` and `error`
    of `invoke`'s result and of `get_response`'s dictionary, and an `EndpointError` raised by `generate`,
    `generate_streaming`, `embedding`, and by `invoke` with a `response_model`. Misuse raises at the call, everywhere.

    Args:
        model: The model: its name at the endpoint, the key of a profile, or a `ModelProfile`, class or object.
        base_url: The endpoint, usually ending in `/v1`.
        api_key: Its key; `EMPTY` for one that asks for none.
        max_tokens: Tokens of an answer, at most; 0 is a value.
        temperature: Sampling temperature; 0 is a value. Not sent to models that take none.
        api: `chat` or `responses`; by default `LLM_API`, else what the model's profile says, which is `chat` for
            unknown models.
        timeouts: The four clocks; by default as `LLM_*_TIMEOUT` say, else 5, 120, 60 and 600 s.
        retry: When to try again; by default `LLM_ATTEMPTS` tries, else 3.
        fallbacks: Where to go, in order, when the endpoint fails: models' names or profiles, asked at the same
            endpoint, and `Fallback(…)` for other endpoints. By default the models of `LLM_FALLBACK_MODELS`.
        cool_down: Seconds for which one that failed is asked after the others; by default `LLM_COOL_DOWN_DELAY`,
            else 30.
        restart: Try again, here or elsewhere, also after content has gone out: as a new `attempt`, which voids it.
            By default as `LLM_RESTART` says, else not.
        hedge_delay: Seconds without content after which a second try is begun beside the first, at the next
            fallback or the same endpoint; the first to say something goes on. Both may be billed. By default
            `LLM_HEDGE_DELAY`, else there is none.
        observers: Are told of every call; by default the log and, where it is installed, OpenTelemetry.
        http_client: An `httpx2.AsyncClient` to send with, which stays its owner's to close; it follows redirects as
            it will. Without one, only those are followed that stay at the endpoint's host.
        default_headers: Sent with each request to the first endpoint.
        limiter: Holds calls back so that they keep to the endpoint's rate limits: `memory` in this process, `redis`
            together with all processes that have the same `REDIS_URL`, `none`, or a `RateLimiter` of your own for
            the first endpoint, which stays yours to close. By default `LLM_LIMITER`, else `redis` where `REDIS_URL`
            is set, else `memory`.
        cache_backend: Where answers are kept that are to be: `memory`, `fs`, `pg_redis`, `qdrant`, or a `Cache` of
            your own; by default `CACHE_BACKEND`, else `none`. The client closes it.
        cache_options: What the cache needs: `hub.cache.opening.CacheOptions`.

    Raises:
        MissingKeyError: An endpoint needs a key and none is known.
        ConfigurationError: Another setting is missing or makes no sense.

    Attributes:
        profile: What is known of the model.
        model, max_tokens, temperature: What a call uses that doesn't say otherwise.
        client: The `openai.AsyncOpenAI` beneath.
    """

    def __init__(
        self,
        model: Model | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        api: Api | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        fallbacks: Iterable[Model | Fallback] | None = None,
        cool_down: float | None = None,
        restart: bool | None = None,
        hedge_delay: float | None = None,
        observers: Iterable[Observer] | None = None,
        http_client: httpx2.AsyncClient | None = None,
        default_headers: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        limiter: RateLimiter | LimiterBackend | None = None,
        cache_backend: CacheBackend | Cache | None = None,
        **cache_options: Unpack[CacheOptions],
    ) -> None:
        check_type("base_url", base_url, str)
        check_type("api_key", api_key, str)
        settings = settings or Settings.load()
        llm = settings.llm
        named = model if model is not None else llm.model
        if named is None:
            raise ConfigurationError("No model: pass one, as in OpenAIClient('gpt-5.1'), or set LLM_MODEL.")
        self.profile = as_profile(named)
        self.profile.warn_if_deprecated()
        self.model = self.profile.model_name
        self.max_tokens = check_max_tokens(max_tokens if max_tokens is not None else llm.max_tokens)
        self.temperature = check_temperature(temperature if temperature is not None else llm.temperature)
        self._api = check_api(api) or llm.api
        self._plan = Plan.of(llm).changed(timeouts=timeouts, retry=retry, restart=restart, hedge_delay=hedge_delay)
        self._connections = Connections(
            settings,
            base_url=base_url,
            api_key=api_key,
            default_headers=default_headers,
            fallbacks=llm.fallback_list() if fallbacks is None else fallbacks,
            cool_down=check_seconds("cool_down", cool_down, llm.cool_down_delay),
            http_client=http_client,
            quotas=Quotas(limiter, settings),
        )
        self.client = self._connections.sdk
        observing = Observers(default_observers() if observers is None else observers)
        self._cache = open_cache(cache_backend, cache_options, settings.cache, open_flights=open_flights)
        self._asker = Asker(self._connections, observing, self._cache)
        self._embeddings = EmbeddingCall(self._connections.endpoint, self.client, observing)
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, base_url={self.base_url!r})"

    @property
    def base_url(self) -> str:
        """The endpoint's address, without user and password."""
        return self._connections.endpoint.url

    @property
    def cache(self) -> CacheCore | None:
        """What stands between the calls and their cache: its `counts` say what it did. None where there is no cache."""
        return self._cache

    async def list_models(self, *, timeout: float = 5.0) -> list[str]:
        """The names of the models that the endpoint says it has, in its order.

        Args:
            timeout: Seconds to wait.

        Raises:
            EndpointError: It can't be reached, or doesn't say.
        """
        return await self._connections.endpoint.list_models(timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to the endpoints. A second call does nothing."""
        if not self._closed:
            self._closed = True
            if self._cache is not None:
                await self._cache.aclose()
            await self._connections.aclose()

    async def warm_cache(self) -> None:
        """Have the cache do now what the first call would have to wait for; without one nothing.

        Raises:
            CacheError: It can't be used.
        """
        if self._cache is not None:
            await self._cache.warm()

    async def close(self) -> None:
        """The same as `aclose`, by the SDK's name for it."""
        await self.aclose()

    # The overloads spell the arguments out, so that type checkers check them.
    @overload
    def stream(
        self,
        *,
        response_model: type[T],
        messages: Iterable[Any] | None = None,
        input: str | Iterable[Any] | None = None,
        model: Model | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        api: Api | None = None,
        stream_id: str | None = None,
        identifier: str | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        restart: bool | None = None,
        hedge_delay: float | None = None,
        **params: Any,
    ) -> ObjectStream[T]: ...

    @overload
    def stream(
        self,
        *,
        response_model: None = None,
        messages: Iterable[Any] | None = None,
        input: str | Iterable[Any] | None = None,
        model: Model | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        api: Api | None = None,
        stream_id: str | None = None,
        identifier: str | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        restart: bool | None = None,
        hedge_delay: float | None = None,
        **params: Any,
    ) -> EventStream: ...

    @overload  # types that are no class, such as `int | None`
    def stream(self, *, response_model: Any, **params: Any) -> ObjectStream[Any]: ...

    def stream(
        self,
        *,
        messages: Iterable[Any] | None = None,
        input: str | Iterable[Any] | None = None,  # noqa: A002 - the Responses API's name
        response_model: Any = None,
        model: Model | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        api: Api | None = None,
        stream_id: str | None = None,
        identifier: str | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        restart: bool | None = None,
        hedge_delay: float | None = None,
        cache_response: bool = False,
        rewrite_cache: bool = False,
        regen_cache: bool = False,
        hash_as_identifier: bool = False,
        **params: Any,
    ) -> EventStream:
        """Ask, and get the answer's events as they come.

        Args:
            messages: The conversation, in Chat Completions' form; at least one.
            input: The same in the Responses API's form, instead: a text, or a list of items. Either goes to either.
            response_model: What the answer is to be: a pydantic model, or another type that has a JSON Schema. The
                stream then is an `ObjectStream`.
            model: Another model than the client's.
            max_tokens: Tokens of the answer, at most.
            temperature: Sampling temperature.
            api: Another API than the client's.
            stream_id: The id for the events; a fresh one by default. Sent as `X-Client-Request-Id` and, the same for
                each try at one endpoint, in `Idempotency-Key`.
            identifier: Your own name for the request, kept in `meta`.
            timeouts: Other clocks than the client's.
            retry: Another retry policy than the client's.
            restart: Another choice than the client's.
            hedge_delay: Another delay than the client's, in seconds.
            cache_response: Keep the answer in the client's cache, if it runs to its end. Without effect while the
                client has none, like the next three; else a name is needed, `identifier` or `hash_as_identifier`. The
                answer to that name is read from there in any case. With a `response_model` only a valid object is kept.
            rewrite_cache: Ask anew, and keep the answer beside the older ones.
            regen_cache: Ask anew, whatever the cache holds.
            hash_as_identifier: Name the request by a digest of what it says.
            params: Any other parameter of either API; what the SDK doesn't know goes into the body as it is.

        Raises:
            InvalidRequestError: The arguments are missing or wrong.
            ClosedError: The client is closed.
        """
        self._check_open()
        return self._asker.stream(
            self._defaults(),
            response_model=response_model,
            model=model,
            api=api,
            max_tokens=max_tokens,
            temperature=temperature,
            stream_id=stream_id,
            caching=Caching(
                identifier=identifier,
                cache_response=cache_response,
                rewrite_cache=rewrite_cache,
                regen_cache=regen_cache,
                hash_as_identifier=hash_as_identifier,
            ),
            plan={"timeouts": timeouts, "retry": retry, "restart": restart, "hedge_delay": hedge_delay},
            params={**params, "messages": messages, "input": input},
        )

    @overload
    async def invoke(
        self,
        *,
        response_model: type[T],
        max_reasks: int = 0,
        messages: Iterable[Any] | None = None,
        input: str | Iterable[Any] | None = None,
        model: Model | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        api: Api | None = None,
        stream_id: str | None = None,
        identifier: str | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        restart: bool | None = None,
        hedge_delay: float | None = None,
        **params: Any,
    ) -> T: ...

    @overload
    async def invoke(
        self,
        *,
        response_model: None = None,
        messages: Iterable[Any] | None = None,
        input: str | Iterable[Any] | None = None,
        model: Model | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        api: Api | None = None,
        stream_id: str | None = None,
        identifier: str | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        restart: bool | None = None,
        hedge_delay: float | None = None,
        **params: Any,
    ) -> LLMResult: ...

    @overload
    async def invoke(self, *, response_model: Any, max_reasks: int = 0, **params: Any) -> Any: ...

    async def invoke(self, *, response_model: Any = None, max_reasks: int = 0, **params: Any) -> Any:
        """Ask, and get the whole answer; arguments as for `stream`.

        A failure of the endpoint is in the result's `status` and `error`; `raise_for_status()` raises it. With a
        `response_model` the answer is an object of that type, and what is not one raises.

        Args:
            response_model: What the answer is to be.
            max_reasks: How often the model is told what is wrong with its answer and asked again, at most.
            params: As for `stream`.

        Raises:
            EndpointError: With a `response_model`: the endpoint gave no whole answer.
            StructuredOutputError: With a `response_model`: the answer is no such object; its subclass says why.
        """
        if response_model is None:
            if max_reasks:
                raise InvalidRequestError("max_reasks is for calls with a response_model.")
            return await self.stream(**params).result()
        return await self._asker.validated(self.stream, response_model, max_reasks, params)

    async def generate(self, messages: Iterable[Any], **params: Any) -> str:
        """Ask, and get the answer's text; the first choice's where there are several.

        Raises:
            EndpointError: The endpoint gave no whole answer.
        """
        result: LLMResult = await self.stream(messages=messages, **params).result()
        return result.raise_for_status().text

    def generate_streaming(self, messages: Iterable[Any], **params: Any) -> AsyncIterator[str]:
        """Ask, and get the answer's text in pieces as they come; the first choice's where there are several.

        Raises:
            EndpointError: The endpoint gave no whole answer; raised by the iteration, after the pieces that came.
        """
        if params.get("restart"):
            raise InvalidRequestError("restart is not for text in pieces: what has gone out can't be taken back.")
        events: EventStream = self.stream(messages=messages, **{**params, "restart": False})
        return events.texts()

    def stream_sse(self, **params: Any) -> AsyncIterator[bytes]:
        """Ask, and get the answer as SSE frames, ready for the body of a `text/event-stream` response.

        Arguments as for `stream`.
        """
        events: EventStream = self.stream(**params)
        return events.frames()

    async def stream_to_sink(self, sink: Sink, **params: Any) -> LLMResult:
        """Ask, send every event to the sink, and get the whole answer. The sink stays open.

        Arguments as for `stream`.

        Raises:
            Exception: What the sink raised.
        """
        async with self.stream(**params) as events:
            return await pump(events, sink)

    async def get_response(
        self,
        *,
        messages: Iterable[Any] | None = None,
        input: Any = None,  # noqa: A002 - the Responses API's name
        model: Model | None = None,
        identifier: str | None = None,
        cache_response: bool = False,
        rewrite_cache: bool = False,
        regen_cache: bool = False,
        hash_as_identifier: bool = False,
        attempts: int | None = None,
        backoff: float | None = None,
        timeout: float | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Ask, and get the answer as a dictionary, which JSON can hold.

        Its members: `params` (what was asked), `output` (the text; for a model of embeddings the vectors),
        `tool_calls`, `reasoning`, `refusal`, `finish_reason`, `usage`, `status` (`completed`, `failed`, `cancelled`),
        `error` (`"OK"`, else the message), `error_code` (None where all is well), `model`, `cached`, `stream_id` and
        `identifier`.

        Args:
            messages: The conversation, in Chat Completions' form.
            input: The same in the Responses API's form, or what to embed.
            model: Another model than the client's.
            identifier: Your own name for the request; by default the stream's id.
            cache_response: As for `stream`, like the next three; embeddings aren't kept.
            rewrite_cache: As for `stream`.
            regen_cache: As for `stream`.
            hash_as_identifier: As for `stream`.
            attempts: Tries in all, instead of the retry policy's.
            backoff: Seconds before the second try, instead of the retry policy's.
            timeout: Seconds for the whole call, instead of the `total_timeout`.
            params: As for `stream`.

        Raises:
            InvalidRequestError: The arguments are missing or wrong.
            ClosedError: The client is closed.
        """
        messages, input = listed(messages), listed(input)  # noqa: A001
        profile = self._defaults().profile if model is None else as_profile(model)
        plan = self._plan.changed(timeouts=params.pop("timeouts", None), retry=params.pop("retry", None)).limited(
            attempts=attempts, backoff=backoff, total_timeout=timeout
        )
        limits: dict[str, Any] = {"timeouts": plan.timeouts, "retry": plan.retry}
        stream_id = params.pop("stream_id", None) or new_stream_id()
        defaults = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        asked: dict[str, Any] = {"model": profile.model_name}
        if profile.category == "completions":
            asked |= {name: value for name, value in defaults.items() if value is not None}
        asked |= params
        asked |= {name: value for name, value in (("messages", messages), ("input", input)) if value is not None}
        named: dict[str, Any] = {"stream_id": stream_id, "identifier": identifier or stream_id}
        if profile.category == "embeddings":
            try:
                embeddings = await self.embedding(
                    input, model=profile, stream_id=stream_id, identifier=identifier, **limits, **params
                )
            except EndpointError as exc:
                return failed_response(exc, params=asked, **named)
            return embeddings_response(embeddings, params=asked, **named)
        call = {**params, **limits, "messages": messages, "input": input, "model": profile, "stream_id": stream_id}
        result = await self.stream(
            **call,
            identifier=identifier,
            cache_response=cache_response,
            rewrite_cache=rewrite_cache,
            regen_cache=regen_cache,
            hash_as_identifier=hash_as_identifier,
        ).result()
        return as_response(result, params=asked, identifier=result.identifier or named["identifier"])

    async def embedding(
        self,
        input: Any,  # noqa: A002 - the API's name
        *,
        model: Model | None = None,
        dimensions: int | None = None,
        concurrency: int = 4,
        stream_id: str | None = None,
        identifier: str | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        **params: Any,
    ) -> Embeddings:
        """Embed one text or many; large lists go in several requests, and the vectors come in the inputs' order.

        Args:
            input: A text, texts, token ids or lists of token ids.
            model: Another model than the client's.
            dimensions: The length of the vectors; None leaves it to the model.
            concurrency: Requests under way at once, at most.
            stream_id: The call's id; a fresh one by default. Sent as `X-Client-Request-Id`.
            identifier: Your own name for the call, for observers.
            timeouts: Other clocks than the client's.
            retry: Another retry policy than the client's, for each request.
            params: Any other parameter of the embeddings API.

        Raises:
            InvalidRequestError: The arguments are missing or wrong.
            EndpointError: The endpoint did not give all vectors. Fallbacks are not asked: another model's vectors
                would be no answer.
            ClosedError: The client is closed.
        """
        self._check_open()
        check_type("identifier", identifier, str)
        plan = self._plan.changed(timeouts=timeouts, retry=retry)
        profile = self._defaults().profile if model is None else as_profile(model)
        return await self._embeddings(
            input,
            profile=profile,
            quota=self._connections.quota(profile),
            dimensions=dimensions,
            concurrency=concurrency,
            identifier=identifier,
            stream_id=stream_id,
            timeouts=plan.timeouts,
            retry=plan.retry,
            params=params,
        )

    def _defaults(self) -> Defaults:
        # Read at each call: `model`, `max_tokens` and `temperature` are attributes that may be set.
        profile = self.profile if self.model == self.profile.model_name else as_profile(self.model)
        return Defaults(profile, self._api, self.max_tokens, self.temperature, self._plan)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("The client is closed: make a new one.")


AsyncOpenAIClient = OpenAIClient
