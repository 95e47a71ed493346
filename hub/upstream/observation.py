"""What the observers of a client are told of one answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

from hub.errors import EndpointError
from hub.events import EndStatus, LLMEvent, Meta, TextDelta
from hub.observe.base import Call, Observers, Outcome
from hub.result import Failure, TokenUsage
from hub.upstream.route import Target
from hub.upstream.wire.finish import FinishReasons

__all__ = ("Observation",)


class Observation:
    """Tells of one answer: its beginning, its first content, its retries and its end, once each but the retries."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._call: Call | None = None
        self._meta: Meta | None = None
        self._text: list[str] | None = [] if observers.wants_content else None

    def begin(self, target: Target, stream_id: str, identifier: str | None) -> Mapping[str, str]:
        """The call begins, at this target; gives the headers that observers want sent with it."""
        request = target.request
        self._call = Call(
            operation="chat",
            api=request.api,
            model=request.model,
            base_url=target.endpoint.url,
            stream_id=stream_id,
            identifier=identifier,
            params=MappingProxyType(dict(request.params)),  # an observer's slip must not change what is sent
            started_at=time.perf_counter(),
            rate_limit_seconds=0.0,
        )
        self._observers.on_start(self._call)
        return self._observers.request_headers(self._call)

    def take(self, events: list[LLMEvent]) -> None:
        """These events go out."""
        self.note_meta(events)
        call = self._call
        if call is not None and call.first_content_at is None:
            call.first_content_at = time.perf_counter()
            self._observers.on_first_content(call)
        if self._text is not None:
            self._text += [event.text for event in events if isinstance(event, TextDelta) and event.choice == 0]

    def note_meta(self, events: list[LLMEvent]) -> None:
        """These events begin an attempt, or an answer without content, if `meta` is their first."""
        if events and isinstance(events[0], Meta):
            self._meta = events[0]
            if self._text is not None:
                self._text.clear()

    def retry(self, error: EndpointError, delay: float) -> None:
        """Another attempt follows after `delay` seconds."""
        if self._call is not None:
            self._observers.on_retry(self._call, error, delay)

    def waited(self, seconds: float) -> None:
        """A try waited so long for its rate limit, whether it got leave or not."""
        if self._call is not None:
            self._call.rate_limit_seconds = (self._call.rate_limit_seconds or 0.0) + seconds

    def asks(self, target: Target, *, tries: int) -> None:
        """Who is asked now, by try number `tries`; or of two that were asked, who goes on."""
        if self._call is not None:
            self._call.attempts = tries
            self._call.base_url = target.endpoint.url
            self._call.model = target.request.model

    def end(
        self,
        *,
        status: EndStatus,
        failure: Failure | None,
        usage: TokenUsage,
        finish_reasons: FinishReasons,
        request_id: str | None,
    ) -> None:
        """The call is over."""
        call, self._call = self._call, None
        if call is None:
            return
        is_whole = status == "completed"
        reasons = finish_reasons.reasons(is_whole=is_whole) or (finish_reasons.reason(is_whole=is_whole),)
        outcome = Outcome(
            status=status,
            model=self._meta.model if self._meta else None,
            response_id=self._meta.response_id if self._meta else None,
            finish_reasons=tuple(reason for reason in reasons if reason is not None),
            usage=usage,
            failure=failure,
            seconds=time.perf_counter() - call.started_at,
            text=None if self._text is None else "".join(self._text),
            request_id=request_id,
        )
        self._observers.on_end(call, outcome)
