"""What one call wants of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hub.cache.core import CacheCore
from hub.cache.keys import KeyKind, request_digest
from hub.errors import InvalidRequestError, StructuredOutputError
from hub.observe import Observers
from hub.result import LLMResult
from hub.structured import ResponseModel
from hub.upstream.answer import Answer
from hub.upstream.plan import Plan
from hub.upstream.request import check_type
from hub.upstream.route import Target
from hub.upstream.stream import AnswerSource

__all__ = ("Asking", "Caching")


@dataclass(slots=True, kw_only=True)
class Asking:
    """One call's way to the endpoints.

    Attributes:
        targets: Where to ask, in order.
        plan: How to go about it.
        stream_id: Goes into every event.
        name: What the call is known by; see `Caching.name`.
        observers: Are told what becomes of it.
        shape: What the answer is to be; None for a text.
        can_restart: The caller can take content back.
    """

    targets: Sequence[Target]
    plan: Plan
    stream_id: str
    name: str | None
    observers: Observers
    shape: ResponseModel[Any] | None
    can_restart: bool = True
    _answer: Answer | None = field(default=None, init=False)
    _follows_first_target: bool = field(default=False, init=False)

    def ask(self) -> AnswerSource:
        """What asks the endpoints."""
        return self.ask_within(self.plan.timeouts.total_timeout)

    def ask_within(self, total_timeout: float | None) -> AnswerSource:
        """What asks the endpoints, in so many seconds in all."""
        plan = replace(self.plan, timeouts=replace(self.plan.timeouts, total_timeout=total_timeout))
        self._answer = Answer(
            self.targets, plan, stream_id=self.stream_id, identifier=self.name, observers=self.observers
        )
        return self._answer

    @property
    def is_of_first_target(self) -> bool:
        """Whether the endpoint and the model that were asked first gave the answer, and no fallback."""
        if self._answer is None:
            return self._follows_first_target
        return self._answer.target is self.targets[0]

    def follow(self, *, is_of_first_target: bool) -> None:
        """The answer is one that another process asked for."""
        self._follows_first_target = is_of_first_target

    def is_valid(self, result: LLMResult) -> bool:
        """Whether the answer is what it was to be."""
        try:
            if self.shape is not None:
                self.shape.parse(result)
        except StructuredOutputError:
            return False
        return True


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

    def source(self, cache: CacheCore | None, asking: Asking) -> AnswerSource:
        """The answer by way of the cache; asked for as ever where there is none, or the call has no name.

        Args:
            cache: Where answers are kept.
            asking: The way to the endpoints.

        Raises:
            InvalidRequestError: The answer is to be stored, and the call has no name.
        """
        if cache is None:
            return asking.ask()
        if asking.name is None:
            if self.cache_response or self.rewrite_cache:
                raise InvalidRequestError("To store an answer pass identifier=…, or hash_as_identifier=True.")
            return asking.ask()
        kind: KeyKind = "digest" if self.identifier is None else "identifier"
        return cache.answer(
            cache.key(asking.name, endpoint=asking.targets[0].endpoint.url, kind=kind),
            asking.ask_within,
            keeps=lambda result: self._keeps(asking, result),
            stream_id=asking.stream_id,
            total_timeout=asking.plan.timeouts.total_timeout,
            identifier=asking.name,
            model=asking.targets[0].request.model,
            # Text that has gone out in pieces can't be taken back, as a leader that restarts would.
            group=f"restart={asking.plan.restart}",
            cache_response=self.cache_response,
            rewrite_cache=self.rewrite_cache,
            regen_cache=self.regen_cache,
            can_restart=asking.can_restart,
            provenance=asking,
        )

    def _keeps(self, asking: Asking, result: LLMResult) -> bool:
        # A digest says which model was asked: another one's answer under it would be told to who never asked that one.
        return (self.identifier is not None or asking.is_of_first_target) and asking.is_valid(result)
