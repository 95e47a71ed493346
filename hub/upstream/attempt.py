"""One try at an answer: a request sent to one endpoint, its response read and decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from hub.errors import EndpointError, LimitError, endpoint_error
from hub.events import LLMEvent, Meta
from hub.models.tokens import BYTES_PER_TOKEN
from hub.result import TokenUsage
from hub.upstream.endpoint import OpenResponse, Sending
from hub.upstream.quota import Admission, held_back
from hub.upstream.route import Target
from hub.upstream.wire.chat import ChatDecoder
from hub.upstream.wire.finish import FinishReasons
from hub.upstream.wire.responses import ResponsesDecoder

__all__ = ("Attempt", "Decoder")


MAX_OUTPUT_CHARS = 64_000_000
"""Far above any answer: an endpoint that never ends one must not fill the memory."""

_WAITED_FOR = ("first_token_timeout", "stall_timeout", "total_timeout")


class Decoder(Protocol):
    """Decodes one response: what both APIs' decoders are."""

    usage: TokenUsage | None
    usage_report: Mapping[str, Any] | None
    service_tier: str | None
    failure: EndpointError | None
    ended: bool
    finish_reasons: FinishReasons

    @property
    def next_seq(self) -> int:
        """The position of the next event."""
        ...

    @property
    def has_begun(self) -> bool:
        """`meta` has gone out, and with it content."""
        ...

    @property
    def output_chars(self) -> int:
        """Characters of content so far."""
        ...

    @property
    def output_deltas(self) -> int:
        """Pieces of content so far."""
        ...

    @property
    def is_finished(self) -> bool:
        """The answer is whole; a lost connection takes nothing away any more."""
        ...

    def feed(self, data: bytes) -> list[LLMEvent]:
        """The events of the next bytes."""
        ...

    def finish(self) -> list[LLMEvent]:
        """The events that the end of the body completes."""
        ...

    def open(self) -> list[LLMEvent]:
        """`meta`, where it hasn't gone out yet."""
        ...


class Attempt:
    """One try.

    Args:
        target: Where to ask, and what.
        number: From 1; `meta` tells it.
        stream_id: Goes into every event.
        first_seq: The first event's position.
        identifier: The caller's own name for the request.

    Attributes:
        decoder: Decodes the response.
        failure: Why this try gave no whole answer.
        at_end: Nothing is left to read.
        was_held_back: Our own rate limit gave it no leave; the endpoint knows nothing of it.
        is_waiting: It waits for our own rate limit, or was given up while it did; nothing of it has been sent.
        waited: Seconds that it waited for it.
        was_answered: The endpoint sent a response, of a good status.
        request_id: The endpoint's own name for the request, from its headers.
    """

    def __init__(self, target: Target, *, number: int, stream_id: str, first_seq: int, identifier: str | None) -> None:
        self.target = target
        self.number = number
        self.decoder = _decoder(target, number, stream_id, first_seq, identifier)
        self.failure: EndpointError | None = None
        self.at_end = False
        self.was_answered = False
        self.was_held_back = False
        self.is_waiting = False
        self.waited = 0.0
        self.request_id: str | None = None
        self._response: OpenResponse | None = None
        self._admission: Admission | None = None
        self._was_sent = False
        self._is_renumbered = False
        self._untaken: list[LLMEvent] = []

    async def admit(self) -> None:
        """Wait for leave to send the request; where there is none, the failure is kept, not raised."""
        # Who is sent back by the endpoint has stood in line before.
        await self._admit(priority=int(self.number > 1), timeout=None)

    async def admit_at_once(self) -> None:
        """The same without waiting, and behind all who wait: for a try that is worth nothing once it has waited."""
        await self._admit(priority=-1, timeout=0.0)

    async def _admit(self, *, priority: int, timeout: float | None) -> None:
        quota = self.target.quota
        if quota is None:
            return
        tokens = self.target.request.estimate_input_tokens()
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        self.is_waiting = True
        try:
            self._admission = await quota.admit(tokens, priority=priority, timeout=timeout)
            self.is_waiting = False
        except LimitError as exc:
            self.is_waiting = False
            self.was_held_back = True
            self.fail(held_back(exc))
        finally:
            self.waited = loop.time() - began_at

    async def open(self, sending: Sending) -> None:
        """Send the request and wait for the response's headers; a failure is kept, not raised."""
        self._was_sent = True
        try:
            self._response = await self.target.endpoint.open(self.target.request, sending)
        except EndpointError as exc:
            self.fail(exc)
        else:
            self.was_answered = True
            self.request_id = self._response.headers.get("x-request-id")
            if self._admission is not None:
                await self._admission.heed(self._response.headers)

    async def open_to_content(self, sending: Sending) -> None:
        """The same, and read on until there are events, for `untaken`, or the try has ended."""
        await self.open(sending)
        while not (self._untaken or self.at_end):
            try:
                data = await self.read()
            except Exception as exc:
                self._untaken = self.lost(exc)
            else:
                self._untaken = self.take(data)

    def untaken(self) -> list[LLMEvent]:
        """The events that `open_to_content` found, once."""
        events, self._untaken = self._untaken, []
        return self._numbered(events)

    async def read(self) -> bytes:
        """The next bytes; b"" at the end."""
        assert self._response is not None
        return await self._response.read()

    def renumber(self, number: int) -> None:
        """Make it try `number`, also in its events."""
        self._is_renumbered = number != self.number
        self.number = number

    def begin(self) -> list[LLMEvent]:
        """`meta`, where it hasn't gone out yet."""
        return self._numbered(self.decoder.open())

    def take(self, data: bytes) -> list[LLMEvent]:
        """The events of the bytes that a read gave; sets `at_end` after the last, and `failure` where it is broken."""
        decoder = self.decoder
        events = decoder.feed(data) if data else decoder.finish()
        if decoder.ended and data:
            events += decoder.finish()
        if decoder.output_chars > MAX_OUTPUT_CHARS:
            self.fail(endpoint_error("The answer grew beyond what an answer may hold.", code="budget_exceeded"))
        if not data or decoder.ended or decoder.failure is not None:
            self.at_end = True
            if decoder.failure is not None and self.failure is None:
                self.fail(decoder.failure)
        return self._numbered(events) if self._is_renumbered else events

    def lost(self, exc: Exception) -> list[LLMEvent]:
        """The events still to come where a read raised."""
        if self.decoder.is_finished:
            return self.take(b"")  # the answer is whole; how its connection ends is of no interest
        self.fail(self.target.endpoint.translate(exc))
        return []

    def fail(self, error: EndpointError) -> None:
        """This try has failed."""
        self.failure = self.target.endpoint.redact(error, self.target.request.secrets())
        self.at_end = True

    def usage(self) -> TokenUsage:
        """What the endpoint reported, else an estimate of what it did, with the cost; zeros where it gave no answer."""
        profile, url = self.target.request.profile, self.target.endpoint.url
        decoder = self.decoder
        if decoder.usage is not None:
            reported = profile.parse_usage(decoder.usage_report, base_url=url, service_tier=decoder.service_tier)
            return reported or decoder.usage
        return profile.price(self._estimated_usage(), base_url=url, service_tier=decoder.service_tier)

    def _estimated_usage(self) -> TokenUsage:
        decoder = self.decoder
        failure = self.failure
        # One that was cut off while it worked was paid for; one that refused did nothing.
        refused = failure is not None and not decoder.output_chars and failure.code not in _WAITED_FOR
        if not self.was_answered or refused:
            return TokenUsage()
        prompt = self.target.request.estimate_input_tokens()
        # An event is at least a token, in nearly every server; long events are counted by their length.
        completion = max(decoder.output_deltas, -(-decoder.output_chars // BYTES_PER_TOKEN))
        return TokenUsage(
            input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion, estimated=True
        )

    def _numbered(self, events: list[LLMEvent]) -> list[LLMEvent]:
        """The decoder knows the number that the try began with."""
        if not self._is_renumbered:
            return events
        return [
            msgspec.structs.replace(event, attempt=self.number) if isinstance(event, Meta) else event
            for event in events
        ]

    async def release(self) -> None:
        """Give the connection back, or close it where the body wasn't read to its end."""
        try:
            if self._response is not None:
                response, self._response = self._response, None
                await response.aclose()
        finally:
            await self._settle()

    async def _settle(self) -> None:
        if self._admission is None:
            return
        admission, self._admission = self._admission, None
        if self._was_sent:
            await admission.settle(self._used_tokens(), self.failure)
        else:
            await admission.give_back()

    def _used_tokens(self) -> int | None:
        """What it used of the endpoint's budget; None where that isn't known."""
        if self.decoder.usage is not None:
            return self.decoder.usage.total_tokens
        return self._estimated_usage().total_tokens if self.was_answered else None

    async def await_body_end(self) -> None:
        """Read what follows the answer, so that its connection can be used again."""
        if self._response is not None and self.decoder.ended:
            await self._response.read()


def _decoder(target: Target, number: int, stream_id: str, first_seq: int, identifier: str | None) -> Decoder:
    request = target.request
    choices = request.params.get("n")
    kind: type[ChatDecoder | ResponsesDecoder] = ChatDecoder if request.api == "chat" else ResponsesDecoder
    return kind(
        stream_id=stream_id,
        first_seq=first_seq,
        model=request.model,
        attempt=number,
        identifier=identifier,
        expected_choices=choices if isinstance(choices, int) else 1,
        allows_missing_finish_reason=request.profile.allows_missing_finish_reason,
    )
