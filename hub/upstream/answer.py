"""One answer from its first attempt to its `done`: attempts, clocks and the end, as batches of events."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from functools import partial

from hub.completion import closing_events
from hub.errors import EndpointError, endpoint_error
from hub.events import EndStatus, LLMEvent
from hub.models.tokens import BYTES_PER_TOKEN, estimate_input_tokens
from hub.result import Failure, TokenUsage
from hub.upstream.chat import ChatDecoder
from hub.upstream.clocks import Clock, InterruptedByWatchdog, Timeouts, Watchdog
from hub.upstream.endpoint import Endpoint, OpenResponse
from hub.upstream.request import ChatRequest
from hub.upstream.retry import RetryPolicy

__all__ = ("ChatAnswer",)

log = logging.getLogger(__name__)

AFTER_FINISH_TIMEOUT = 5.0
"""Seconds to wait for the usage that follows the last finish reason."""

AFTER_DONE_TIMEOUT = 0.05
"""Seconds to wait for the end of a body after `[DONE]`, so that its connection can be used again."""


class ChatAnswer:
    """The answer to one request, produced as it is read.

    `batches` gives the events of a read at a time and ends after `done`, whatever the endpoint did. `stop` ends it
    early from anywhere. `ending` tells what is still due where `batches` can't go on, since it was cancelled.

    Args:
        endpoint: Where to ask.
        request: What to ask.
        stream_id: Goes into every event.
        timeouts: The four clocks.
        retry: When to try again; only before the first content has gone out.
        allows_missing_finish_reason: A body that just ends is whole.
        identifier: The caller's own name for the request.
        rand: Gives a number between 0 and 1, for the retries' jitter.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        request: ChatRequest,
        *,
        stream_id: str,
        timeouts: Timeouts,
        retry: RetryPolicy,
        allows_missing_finish_reason: bool = False,
        identifier: str | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = endpoint
        self._request = request
        self._stream_id = stream_id
        self._timeouts = timeouts
        self._retry = retry
        self._allows_missing_finish_reason = allows_missing_finish_reason
        self._identifier = identifier
        self._rand = rand
        self._watchdog: Watchdog | None = None
        self._response: OpenResponse | None = None
        self._attempt = 1
        self._decoder = self._new_decoder()
        self._was_answered = False
        self._at_end = False
        self._is_finished = False
        self._failure: EndpointError | None = None
        self._stopped = False
        self._closed = False

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """Every event from `meta` to `done`, in lists of what came together."""
        watchdog = self._watchdog = Watchdog(self._timeouts)
        if self._stopped:
            watchdog.stop()
        try:
            while True:
                try:
                    await self._open(watchdog)
                    while not self._at_end:
                        if events := await self._read(watchdog):
                            yield events
                    if (delay := self._delay_before_retry()) is None:
                        break
                    await self._release()
                    watchdog.expect_nothing()
                    await watchdog.guard(partial(asyncio.sleep, delay))
                except InterruptedByWatchdog:
                    break
                self._attempt += 1
            yield self._close()
            await self._await_body_end(watchdog)
        finally:
            watchdog.close()
            await self._release()

    def stop(self) -> None:
        """End the stream as `cancelled` at once; does nothing after its end."""
        self._stopped = True
        if self._watchdog is not None:
            self._watchdog.stop()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events from the last batch's end through `done`; nothing where `done` has been given already."""
        return [] if self._closed else self._end(status, failure)

    async def _open(self, watchdog: Watchdog) -> None:
        self._decoder = self._new_decoder()
        self._failure = None
        self._at_end = False
        self._is_finished = False
        watchdog.expect_first_token()
        connect_timeout = self._timeouts.connect_timeout
        try:
            self._response = await watchdog.guard(
                partial(self._endpoint.open_chat, self._request, connect_timeout=connect_timeout)
            )
        except EndpointError as exc:
            self._failure = exc
            self._at_end = True
        else:
            self._was_answered = True

    async def _read(self, watchdog: Watchdog) -> list[LLMEvent]:
        """The events of one read; sets `_at_end` after the last, and `_failure` where the answer is broken."""
        assert self._response is not None
        decoder = self._decoder
        try:
            data = await watchdog.guard(self._response.read)
        except InterruptedByWatchdog:
            raise
        except Exception as exc:
            if not decoder.is_finished:
                self._failure = self._endpoint.translate(exc)
                self._at_end = True
                return []
            data = b""  # the answer is whole; how its connection ends is of no interest
        events = decoder.feed(data) if data else decoder.finish()
        if decoder.ended and data:
            events += decoder.finish()
        if not data or decoder.ended or decoder.failure is not None:
            self._at_end = True
            self._failure = decoder.failure
        if decoder.is_finished:
            if not self._is_finished:
                self._is_finished = True
                watchdog.expect_end(AFTER_FINISH_TIMEOUT)
        elif events:
            self._is_finished = False
            watchdog.expect_content()
        return events

    def _delay_before_retry(self) -> float | None:
        """Seconds before the next attempt; None where this one was the last."""
        if self._failure is None or self._decoder.has_begun:
            return None
        delay = self._retry.delay(self._failure, self._attempt, self._rand())
        if delay is not None:
            log.info(
                "attempt %d of stream %s failed (%s), the next one comes in %.2f s",
                self._attempt,
                self._stream_id,
                self._failure.code,
                delay,
            )
        return delay

    def _close(self) -> list[LLMEvent]:
        """How the stream ended, as its last events."""
        interruption = self._watchdog.interruption if self._watchdog else None
        events: list[LLMEvent] = []
        if interruption is not None and self._decoder.is_finished:
            events = self._decoder.finish()  # only usage was missing
        elif interruption == "cancelled":
            return self._end("cancelled", None)
        elif interruption is not None:
            self._failure = self._timed_out(interruption)
        if self._failure is None:
            return events + self._end("completed", None)
        error = self._failure
        message = self._endpoint.redact(error.message)
        return events + self._end(
            "failed", Failure(code=error.code, message=message, status=error.status, retryable=error.retryable)
        )

    def _end(self, status: EndStatus, failure: Failure | None) -> list[LLMEvent]:
        self._closed = True
        decoder = self._decoder
        opening = decoder.open()
        is_whole = status == "completed"
        return opening + closing_events(
            stream_id=self._stream_id,
            first_seq=decoder.next_seq,
            status=status,
            error=failure,
            usage=self._usage(),
            earlier_usage=None,
            meta=None,
            step=0,
            attempt=self._attempt,
            finish_reason=decoder.finish_reasons.reason(is_whole=is_whole),
            finish_reasons=decoder.finish_reasons.reasons(is_whole=is_whole),
            raw_finish_reason=decoder.finish_reasons.raw(is_whole=is_whole),
        )

    def _usage(self) -> TokenUsage:
        """What the endpoint reported, else an estimate of what it did; zeros where it gave no answer at all."""
        decoder = self._decoder
        if decoder.usage is not None:
            return decoder.usage
        refused = self._failure is not None and not decoder.output_chars and self._failure.code != "stall_timeout"
        if not self._was_answered or refused:
            return TokenUsage()
        params = self._request.params
        prompt = estimate_input_tokens(params.get("messages") or (), params.get("tools"))
        # An event is at least a token, in nearly every server; long events are counted by their length.
        completion = max(decoder.output_deltas, -(-decoder.output_chars // BYTES_PER_TOKEN))
        return TokenUsage(
            input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion, estimated=True
        )

    def _timed_out(self, clock: Clock) -> EndpointError:
        timeouts = self._timeouts
        sentences = {
            "first_token_timeout": f"No content came within {timeouts.first_token_timeout} s.",
            "stall_timeout": f"The answer stalled: no further content for {timeouts.stall_timeout} s.",
            "total_timeout": f"The answer was not complete after {timeouts.total_timeout} s.",
        }
        return endpoint_error(sentences[clock], code=clock, retryable=True)

    async def _await_body_end(self, watchdog: Watchdog) -> None:
        if self._response is None or not self._decoder.ended or watchdog.interruption is not None:
            return
        watchdog.expect_end(AFTER_DONE_TIMEOUT)
        try:
            await watchdog.guard(self._response.read)
        except Exception as exc:
            log.debug("after the answer its connection ended with %s", type(exc).__name__)

    async def _release(self) -> None:
        if self._response is not None:
            response, self._response = self._response, None
            await response.aclose()

    def _new_decoder(self) -> ChatDecoder:
        params = self._request.params
        choices = params.get("n")
        return ChatDecoder(
            stream_id=self._stream_id,
            model=self._request.model,
            attempt=self._attempt,
            identifier=self._identifier,
            expected_choices=choices if isinstance(choices, int) else 1,
            allows_missing_finish_reason=self._allows_missing_finish_reason,
        )
