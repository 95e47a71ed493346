"""Embeds texts at an OpenAI-compatible endpoint: a large list in several requests, each retried by itself."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from openai import AsyncOpenAI

from hub.embeddings import Embeddings
from hub.errors import EndpointError, InvalidRequestError, LimitError, endpoint_error
from hub.upstream import failures
from hub.upstream.clocks import Timeouts
from hub.upstream.embedding.batch import Ask, Batch, OnRetry
from hub.upstream.embedding.body import EmbeddingBody, decode_embeddings
from hub.upstream.embedding.inputs import EmbeddingInputs, embedding_inputs
from hub.upstream.embedding.limits import MAX_INPUTS, MAX_REQUEST_TOKENS, LearntLimits, RequestLimits
from hub.upstream.embedding.request import OnHeaders, fetch_embeddings
from hub.upstream.quota import Quota, held_back
from hub.upstream.retry import RetryPolicy

__all__ = ("Embedder",)

log = logging.getLogger(__name__)

_FORMATS = ("base64", "float", None)
"""`encoding_format` as it is tried: some servers know only numbers, and some not even the parameter."""

_NOT_PARAMETERS = {
    "input": "it is the first argument",
    "timeout": "pass timeouts=Timeouts(…)",
    "stream": "embeddings come whole",
}
_NOT_IN_THE_BODY = ("extra_headers", "extra_query", "extra_body")
_NO_PARAMS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Request:
    """What all requests of a call have in common."""

    model: str
    dimensions: int | None
    timeouts: Timeouts
    params: Mapping[str, Any]

    def body(self, wire_input: Any, encoding_format: str | None) -> dict[str, Any]:
        """The JSON of one request."""
        body: dict[str, Any] = {"model": self.model, "input": wire_input}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        if encoding_format is not None:
            body["encoding_format"] = encoding_format
        own = {name: value for name, value in self.params.items() if name not in _NOT_IN_THE_BODY}
        return {**body, **own, **(self.params.get("extra_body") or {})}


class Embedder:
    """Embeds texts at one endpoint, and remembers what it rejects: base64, and for a while how much a request may hold.

    Args:
        sdk: The SDK's client; its own retries must be off.
        url: The endpoint's address as messages may show it.
        redact: Takes the keys out of an error's message.
        rand: Gives a number between 0 and 1, for the retries' jitter.
        clock: Seconds that only grow, after some minutes of which a limit is forgotten.
    """

    def __init__(
        self,
        sdk: AsyncOpenAI,
        *,
        url: str,
        redact: Callable[[EndpointError], EndpointError],
        rand: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sdk = sdk
        self._url = url
        self._redact = redact
        self._rand = rand
        self._format = 0
        self._limits = LearntLimits(clock)
        self._may_hold_stale_connections = False

    async def embed(
        self,
        inputs: Any,
        *,
        model: str,
        timeouts: Timeouts,
        retry: RetryPolicy,
        count_tokens: Callable[[str], int],
        dimensions: int | None = None,
        max_inputs: int = MAX_INPUTS,
        max_request_tokens: int = MAX_REQUEST_TOKENS,
        concurrency: int = 4,
        params: Mapping[str, Any] = _NO_PARAMS,
        on_retry: OnRetry | None = None,
        quota: Quota | None = None,
    ) -> Embeddings:
        """The vectors of these inputs, in their order.

        Args:
            inputs: A text, texts, token ids or lists of token ids.
            model: The name the endpoint knows the model by.
            timeouts: `first_token_timeout` runs from a request's start to the first bytes of its response's body,
                `stall_timeout` between two reads of it, `total_timeout` over the whole call.
            retry: When to send one of the requests again.
            count_tokens: The tokens of a text: cuts large lists, and stands in where the endpoint reports none.
            dimensions: The length of the vectors; None leaves it to the model.
            max_inputs: Inputs of one request, at most.
            max_request_tokens: Tokens of one request, at most.
            concurrency: Requests under way at once, at most.
            params: Any other parameter of the request.
            on_retry: Is told why a request failed that is sent again, and after how many seconds.
            quota: What the requests keep to.

        Raises:
            InvalidRequestError: An argument is wrong; nothing has been sent.
            EndpointError: One of the requests failed for good, or had no leave to be sent; the others were given up.
        """
        sizes = {"max_inputs": max_inputs, "max_request_tokens": max_request_tokens, "concurrency": concurrency}
        _check(params, dimensions=dimensions, **sizes)
        batch = Batch(
            embedding_inputs(inputs),
            self._asking(_Request(model, dimensions, timeouts, params), quota),
            limits=RequestLimits(max_inputs, max_request_tokens).lowered_to(self.limits(model)),
            count_tokens=count_tokens,
            retry=retry,
            rand=self._rand,
            on_retry=on_retry,
        )
        embeddings = await self._run(batch, model, concurrency, timeouts.total_timeout)
        self._limits.lower(model, batch.learnt)
        if dimensions not in (None, embeddings.dimensions):
            detail = f"vectors of {embeddings.dimensions} dimensions where {dimensions} were asked for"
            raise failures.malformed(detail)
        return embeddings

    def limits(self, model: str) -> RequestLimits:
        """What one request to the model may hold, as far as the endpoint's refusals have shown of late."""
        return self._limits.of(model)

    async def _run(self, batch: Batch, model: str, concurrency: int, total_timeout: float | None) -> Embeddings:
        try:
            async with asyncio.timeout(total_timeout) as clock:
                return await batch.run(model, concurrency=concurrency)
        except TimeoutError:
            if not clock.expired():
                raise
            message = f"The embeddings were not complete after {total_timeout} s."
            raise endpoint_error(message, code="total_timeout", retryable=True) from None
        except EndpointError as exc:
            raise self._redact(exc) from None  # the SDK's own words may quote the key
        except LimitError as exc:
            raise held_back(exc) from exc

    def _asking(self, request: _Request, quota: Quota | None) -> Ask:
        async def ask(items: EmbeddingInputs, number: int) -> EmbeddingBody:
            if quota is None:
                return await self._ask(request, items.on_the_wire(), len(items.items))
            admission = await quota.admit(items.estimate_tokens(), priority=int(number > 1))
            used: int | None = None
            failure: EndpointError | None = None
            try:
                body = await self._ask(request, items.on_the_wire(), len(items.items), admission.heed)
                used = body.usage.total_tokens if body.usage else None
            except EndpointError as exc:
                failure = exc
                raise
            finally:
                await admission.settle(used, failure)
            return body

        return ask

    async def _ask(
        self, request: _Request, wire_input: Any, count: int, on_headers: OnHeaders | None = None
    ) -> EmbeddingBody:
        """The vectors of one request, sent again in another form where the endpoint rejects its encoding format."""
        may_be_stale = self._may_hold_stale_connections
        while True:
            # What was sent decides, not what is known by the time it is rejected: others are under way.
            sent = self._format
            try:
                body = await self._fetch(request, request.body(wire_input, _FORMATS[sent]), on_headers)
            except EndpointError as exc:
                if may_be_stale and failures.was_dropped(exc):
                    # A kept connection that the server had closed meanwhile.
                    may_be_stale = self._may_hold_stale_connections = False
                elif sent + 1 < len(_FORMATS) and _rejects_format(exc, request.params):
                    self._format = max(self._format, sent + 1)
                    log.info("%s rejected an encoding format; the request goes again with another", self._url)
                else:
                    raise
            else:
                self._may_hold_stale_connections = True
                return decode_embeddings(body, count)

    async def _fetch(self, request: _Request, body: Mapping[str, Any], on_headers: OnHeaders | None) -> bytearray:
        return await fetch_embeddings(
            self._sdk,
            body,
            headers=request.params.get("extra_headers") or {},
            query=request.params.get("extra_query") or {},
            timeouts=request.timeouts,
            url=self._url,
            on_headers=on_headers,
        )


def _rejects_format(error: EndpointError, params: Mapping[str, Any]) -> bool:
    if error.status not in (400, 422) or "encoding_format" in {**params, **(params.get("extra_body") or {})}:
        return False
    message = error.message.lower()
    return "encoding_format" in message or "base64" in message


def _check(params: Mapping[str, Any], **numbers: Any) -> None:
    """Pass over arguments that make sense.

    Raises:
        InvalidRequestError: One doesn't.
    """
    for name, value in numbers.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            shown = repr(value) if isinstance(value, int | float) else type(value).__name__
            raise InvalidRequestError(f"{name} must be a whole number of at least 1, not {shown}.")
    for name in _NOT_PARAMETERS.keys() & params.keys():
        raise InvalidRequestError(f"{name} is not an argument: {_NOT_PARAMETERS[name]}.")
    for name in _NOT_IN_THE_BODY:
        if params.get(name) is not None and not isinstance(params[name], Mapping):
            raise InvalidRequestError(f"{name} must be a Mapping, not {type(params[name]).__name__}.")
