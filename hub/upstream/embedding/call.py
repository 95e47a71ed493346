"""One call for embeddings, as a client makes it: with the cost, and the observers told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from openai import AsyncOpenAI

from hub.embeddings import Embeddings
from hub.errors import EndpointError, InvalidRequestError
from hub.events import EndStatus, new_stream_id
from hub.models.profile import ModelProfile
from hub.observe import Call, Observers, Outcome
from hub.result import Failure
from hub.upstream.clocks import Timeouts
from hub.upstream.embedding.embedder import Embedder
from hub.upstream.endpoint import Endpoint
from hub.upstream.quota import Quota
from hub.upstream.request import check_type
from hub.upstream.retry import RetryPolicy

__all__ = ("EmbeddingCall",)


_FOR_ANSWERS = frozenset(
    ("api", "hedge_delay", "max_reasks", "max_tokens", "messages", "response_model", "restart", "temperature", "tools")
)


class EmbeddingCall:
    """Embeds at one endpoint.

    Args:
        endpoint: Where to ask.
        sdk: The SDK's client of that endpoint.
        observers: Are told of each call.
    """

    def __init__(self, endpoint: Endpoint, sdk: AsyncOpenAI, observers: Observers) -> None:
        self._endpoint = endpoint
        self._embedder = Embedder(sdk, url=endpoint.url, redact=endpoint.redact)
        self._observers = observers

    async def __call__(
        self,
        inputs: Any,
        *,
        profile: ModelProfile,
        quota: Quota | None,
        dimensions: int | None,
        concurrency: int,
        identifier: str | None,
        stream_id: str | None,
        timeouts: Timeouts,
        retry: RetryPolicy,
        params: Mapping[str, Any],
    ) -> Embeddings:
        """The vectors, with what they cost.

        Raises:
            InvalidRequestError: An argument is wrong; nothing has been sent.
            EndpointError: The endpoint did not give all of them.
        """
        check_type("extra_headers", params.get("extra_headers"), Mapping)
        check_type("stream_id", stream_id, str)
        for name in _FOR_ANSWERS & params.keys():
            raise InvalidRequestError(f"{name} is for answers, not for embeddings.")
        profile.warn_if_deprecated()
        call = Call(
            operation="embeddings",
            api="embeddings",
            model=profile.model_name,
            base_url=self._endpoint.url,
            stream_id=stream_id or new_stream_id(),
            identifier=identifier,
            params={"input": inputs, "dimensions": dimensions, **params},
            started_at=time.perf_counter(),
        )
        self._endpoint.prepare_prices()
        status: EndStatus = "cancelled"
        failure: Failure | None = None
        embeddings: Embeddings | None = None
        self._observers.on_start(call)
        headers = {
            "X-Client-Request-Id": call.stream_id,
            **self._observers.request_headers(call),
            **(params.get("extra_headers") or {}),
        }
        try:
            found = await self._embedder.embed(
                inputs,
                model=profile.model_name,
                dimensions=dimensions,
                concurrency=concurrency,
                timeouts=timeouts,
                retry=retry,
                count_tokens=profile.count_tokens,
                params={**params, "extra_headers": headers},
                on_retry=partial(self._tell_of_retry, call),
                quota=quota,
            )
            embeddings = replace(found, usage=profile.price(found.usage, base_url=self._endpoint.url))
            status = "completed"
        except EndpointError as exc:
            status = "failed"
            failure = Failure(code=exc.code, message=exc.message, status=exc.status, retryable=exc.retryable)
            raise
        except InvalidRequestError as exc:
            status, failure = "failed", Failure(code="invalid_request", message=str(exc))
            raise
        finally:
            self._observers.on_end(
                call,
                Outcome(
                    status=status,
                    model=embeddings.model if embeddings else None,
                    response_id=None,
                    finish_reasons=(),
                    usage=embeddings.usage if embeddings else None,
                    failure=failure,
                    seconds=time.perf_counter() - call.started_at,
                    text=None,
                    request_id=None,
                ),
            )
        return embeddings

    def _tell_of_retry(self, call: Call, error: EndpointError, delay: float) -> None:
        self._observers.on_retry(call, self._endpoint.redact(error), delay)
        call.attempts += 1
