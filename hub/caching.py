"""What one call wants of the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hub.cache.core import CacheCore
from hub.cache.keys import request_digest
from hub.errors import InvalidRequestError
from hub.upstream.plan import Plan
from hub.upstream.request import check_type
from hub.upstream.route import Target
from hub.upstream.stream import AnswerSource

__all__ = ("Caching",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """The arguments of a call that are for the cache; see `OpenAIClient.stream`.

    Raises:
        InvalidRequestError: One is of a wrong type.
    """

    identifier: str | None = None
    cache_response: bool = False
    rewrite_cache: bool = False
    regen_cache: bool = False
    hash_as_identifier: bool = False

    def __post_init__(self) -> None:
        check_type("identifier", self.identifier, str)
        for name in ("cache_response", "rewrite_cache", "regen_cache", "hash_as_identifier"):
            check_type(name, getattr(self, name), bool)

    def name(self, target: Target) -> str | None:
        """What the call is known by: the caller's name, or a digest of what the first endpoint is asked."""
        if self.identifier is None and self.hash_as_identifier:
            return request_digest(target.request.params, api=target.request.api)
        return self.identifier

    def source(
        self,
        cache: CacheCore | None,
        target: Target,
        ask: Callable[[], AnswerSource],
        *,
        stream_id: str,
        identifier: str | None,
        plan: Plan,
    ) -> AnswerSource:
        """The answer by way of the cache; asked for as ever where there is none, or the call has no name.

        Args:
            cache: Where answers are kept.
            target: The first endpoint, and the request as it takes it.
            ask: Asks the endpoints.
            stream_id: Goes into every event.
            identifier: The call's `name`.
            plan: How it is gone about.

        Raises:
            InvalidRequestError: The answer is to be stored, and the call has no name.
        """
        if cache is None:
            return ask()
        if identifier is None:
            if self.cache_response or self.rewrite_cache:
                raise InvalidRequestError("To store an answer pass identifier=…, or hash_as_identifier=True.")
            return ask()
        return cache.answer(
            cache.key(identifier, endpoint=target.endpoint.url),
            ask,
            stream_id=stream_id,
            identifier=identifier,
            model=target.request.model,
            # Text that has gone out in pieces can't be taken back, as a leader that restarts would.
            group=f"restart={plan.restart}",
            cache_response=self.cache_response,
            rewrite_cache=self.rewrite_cache,
            regen_cache=self.regen_cache,
        )
