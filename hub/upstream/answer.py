"""One answer from its first attempt to its `done`: attempts, clocks and the end, as batches of events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable

from hub.completion import closing_events
from hub.errors import EndpointError, endpoint_error
from hub.events import EndStatus, LLMEvent
from hub.models.tokens import BYTES_PER_TOKEN, estimate_input_tokens
from hub.result import Failure, TokenUsage
from hub.upstream.chat import ChatDecoder
from hub.upstream.clocks import Clock, InterruptedByWatchdog, Timeouts, Watchdog
from hub.upstream.endpoint import ChatRequest, Endpoint, OpenResponse
from hub.upstream.retry import RetryPolicy

__all__ = ("ChatAnswer",)

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
                except InterruptedByWatchdog:
                    pass
                if (delay := self._delay_before_retry(watchdog)) is None:
                    break
                await self._release()
                watchdog.expect_nothing()
                try:
                    await watchdog.guard(asyncio.sleep(delay))
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
        watchdog.expect_first_token()
        try:
            self._response = await watchdog.guard(self._endpoint.open_chat(self._request))
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
            data = await watchdog.guard(self._response.read())
        except StopAsyncIteration:
            events = decoder.finish()
            decoder.check_whole(allows_missing_finish_reason=self._allows_missing_finish_reason)
            self._at_end = True
        except Exception as exc:
            if isinstance(exc, InterruptedByWatchdog):
                raise
            self._at_end = True
            if not decoder.is_finished:
                self._failure = self._endpoint.translate(exc)
            return decoder.finish() if decoder.is_finished else []
        else:
            events = decoder.feed(data)
            if decoder.ended or decoder.failure is not None:
                self._at_end = True
                if decoder.ended:
                    events += decoder.finish()
        if decoder.failure is not None:
            self._failure = decoder.failure
        if events:
            watchdog.expect_content()
        if decoder.is_finished:
            watchdog.expect_end(AFTER_FINISH_TIMEOUT)
        return events

    def _delay_before_retry(self, watchdog: Watchdog) -> float | None:
        """Seconds before the next attempt; None where this one was the last."""
        if self._failure is None or self._decoder.has_begun or watchdog.interruption is not None:
            return None
        return self._retry.delay(self._failure, self._attempt, self._rand())

    def _close(self) -> list[LLMEvent]:
        """How the stream ended, as its last events."""
        interruption = self._watchdog.interruption if self._watchdog else None
        if interruption is not None and not self._decoder.is_finished:
            if interruption == "cancelled":
                return self._end("cancelled", None)
            self._failure = self._timed_out(interruption)
        if self._failure is None:
            return self._end("completed", None)
        error = self._failure
        return self._end(
            "failed",
            Failure(code=error.code, message=error.message, status=error.status, retryable=error.retryable),
        )

    def _end(self, status: EndStatus, failure: Failure | None) -> list[LLMEvent]:
        self._closed = True
        decoder = self._decoder
        opening = decoder.open()
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
            finish_reason=decoder.finish_reason(),
            finish_reasons=decoder.finish_reasons(),
            raw_finish_reason=decoder.raw_finish_reason(),
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
            await watchdog.guard(self._response.read())
        except (StopAsyncIteration, InterruptedByWatchdog):
            pass
        except Exception as exc:
            self._endpoint.translate(exc)  # the answer is whole; how its connection ends is of no interest

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
        )
