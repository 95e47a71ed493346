"""One answer from its first attempt to its `done`: attempts, clocks and the end, as batches of events."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial

from hub.completion import closing_events
from hub.errors import EndpointError, endpoint_error
from hub.events import EndStatus, LLMEvent
from hub.observe.base import Observers
from hub.result import Failure, TokenUsage
from hub.upstream.attempt import Attempt
from hub.upstream.clocks import Clock, InterruptedByWatchdog, Watchdog
from hub.upstream.endpoint import Sending
from hub.upstream.hedge import race
from hub.upstream.observation import Observation
from hub.upstream.plan import Plan
from hub.upstream.route import Target
from hub.upstream.tries import Tries

__all__ = ("Answer",)

log = logging.getLogger(__name__)

AFTER_FINISH_TIMEOUT = 5.0
"""Seconds to wait for the usage that follows the last finish reason."""

AFTER_DONE_TIMEOUT = 0.05
"""Seconds to wait for the end of a body after `[DONE]`, so that its connection can be used again."""


class Answer:
    """The answer to one request, produced as it is read.

    `batches` gives the events of a read at a time and ends after `done`, whatever the endpoint did. `stop` ends it
    early from anywhere. `ending` tells what is still due where `batches` can't go on, since it was cancelled.

    Args:
        targets: Where to ask, in order; the next one is asked where one fails.
        plan: How to go about it.
        stream_id: Goes into every event.
        identifier: The caller's own name for the request.
        observers: Are told what becomes of it.
        rand: Gives a number between 0 and 1, for the retries' jitter.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        plan: Plan,
        *,
        stream_id: str,
        identifier: str | None = None,
        observers: Observers | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._plan = plan
        self._stream_id = stream_id
        self._identifier = identifier
        self._tries = Tries(targets, plan, stream_id=stream_id, identifier=identifier, rand=rand)
        self._attempt = self._tries.begin()
        self._rival: Attempt | None = None
        self._watchdog: Watchdog | None = None
        self._total: TokenUsage | None = None
        self._is_finished = False
        self._observation = Observation(Observers(()) if observers is None else observers)
        self._headers: Mapping[str, str] = {}
        self._idempotency_key = stream_id
        self._stopped = False
        self._end_status: EndStatus | None = None
        self._ended_by: Failure | None = None

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """Every event from `meta` to `done`, in lists of what came together."""
        watchdog = self._watchdog = Watchdog(self._plan.timeouts)
        if self._stopped:
            watchdog.stop()
        self._headers = self._observation.begin(self._attempt.target, self._stream_id, self._identifier)
        try:
            while True:
                try:
                    if events := await self._open(watchdog):
                        yield self._note(events, watchdog)
                        watchdog.resume()
                    while not self._attempt.at_end:
                        if events := await self._read(watchdog):
                            yield self._note(events, watchdog)
                            watchdog.resume()
                except InterruptedByWatchdog:
                    self._time_out(watchdog, self._attempt)
                if (retry := self._retry(watchdog)) is None:
                    break
                target, delay = retry
                await self._attempt.release()
                try:
                    watchdog.expect_nothing()
                    await watchdog.guard(partial(asyncio.sleep, delay))
                except InterruptedByWatchdog:
                    break
                if voided := self._go_on(target):
                    yield voided
                    watchdog.resume()
            yield self._close()
            watchdog.resume()
            await self._await_body_end(watchdog)
        finally:
            watchdog.close()
            try:
                await self._attempt.release()
            finally:
                self._observe_end()

    @property
    def target(self) -> Target:
        """Where the last try went, whose answer this is."""
        return self._attempt.target

    def stop(self) -> None:
        """End the stream as `cancelled` at once; does nothing after its end."""
        self._stopped = True
        if self._watchdog is not None:
            self._watchdog.stop()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events from the last batch's end through `done`; nothing where `done` has been given already."""
        return [] if self._end_status is not None else self._end(status, failure)

    async def _open(self, watchdog: Watchdog) -> list[LLMEvent]:
        self._is_finished = False
        # What waits for our own rate limit is not the endpoint's time.
        watchdog.expect_nothing()
        try:
            await watchdog.guard(self._attempt.admit)
        finally:
            self._observation.waited(self._attempt.waited)
        if self._attempt.at_end:
            return []
        watchdog.expect_first_token()
        sending = self._sending(self._attempt.target)
        delay = self._plan.hedge_delay
        if delay is None or self._tries.is_last:
            await watchdog.guard(partial(self._attempt.open, sending))
            return []
        try:
            ended = await watchdog.guard(partial(race, self._attempt, self._hedge, self._sending, delay=delay))
            self._attempt, self._rival = ended.winner, ended.loser
        finally:
            self._settle_race(watchdog)
        return self._attempt.untaken()

    def _sending(self, target: Target, *, beside: bool = False) -> Sending:
        key = self._idempotency_key if target.number == 1 else f"{self._idempotency_key}-{target.number}"
        return Sending(
            connect_timeout=self._plan.timeouts.connect_timeout,
            request_id=self._stream_id,
            # Of two tries at once each is meant to be carried out.
            idempotency_key=f"{key}-hedge" if beside else key,
            headers=self._headers,
        )

    async def _hedge(self) -> Attempt | None:
        rival = self._tries.beside(self._attempt)
        await rival.admit_at_once()
        if rival.was_held_back:
            self._tries.take_back(rival, self._attempt)
            return None
        self._rival = rival
        return rival

    def _settle_race(self, watchdog: Watchdog) -> None:
        """Of two tries one goes on, and bears the highest number, whichever began last."""
        rival, self._rival = self._rival, None
        if rival is None:
            return
        if rival.decoder.has_begun and not self._attempt.decoder.has_begun:  # interrupted before it was declared
            self._attempt, rival = rival, self._attempt
        self._time_out(watchdog, rival)
        rival.number = self._tries.count - 1
        self._tries.failed(rival)
        self._tries.give_up(rival)
        self._attempt.renumber(self._tries.count)
        self._observation.asks(self._attempt.target, tries=self._tries.count)

    async def _read(self, watchdog: Watchdog) -> list[LLMEvent]:
        """The events of one read."""
        attempt = self._attempt
        try:
            data = await watchdog.guard(attempt.read)
        except InterruptedByWatchdog:
            raise
        except Exception as exc:
            return attempt.lost(exc)
        return attempt.take(data)

    def _note(self, events: list[LLMEvent], watchdog: Watchdog) -> list[LLMEvent]:
        """Set the clock for what comes next."""
        if self._attempt.decoder.is_finished:
            if not self._is_finished:
                self._is_finished = True
                watchdog.expect_end(AFTER_FINISH_TIMEOUT)
        else:
            self._is_finished = False
            watchdog.expect_content()
        self._observation.take(events)
        return events

    def _time_out(self, watchdog: Watchdog, attempt: Attempt) -> None:
        """Where one of the clocks ran out, the try has failed."""
        clock = watchdog.interruption
        if clock is not None and clock != "cancelled" and not attempt.decoder.is_finished:
            attempt.fail(self._timed_out(clock, attempt))

    def _retry(self, watchdog: Watchdog) -> tuple[Target, float] | None:
        """Where the next attempt goes, after how many seconds; None where this one was the last."""
        attempt, error = self._attempt, self._attempt.failure
        if error is None:
            if watchdog.interruption is None:
                attempt.target.cool_down.succeeded()
            return None
        self._tries.failed(attempt)
        if watchdog.interruption in ("cancelled", "total_timeout"):
            return None
        following = self._tries.following(attempt)
        if following is not None:
            watchdog.go_on()
            self._observation.retry(error, following[1])
        return following

    def _go_on(self, target: Target) -> list[LLMEvent]:
        """Begin the next attempt; gives what is due before its `meta`, where content is void now."""
        decoder = self._attempt.decoder
        self._tries.give_up(self._attempt)
        events = self._attempt.untaken()
        if decoder.has_begun:
            events += self._tries.usages(decoder.next_seq)
            # Another id: an endpoint that heeds it would send the broken answer again.
            self._idempotency_key = f"{self._stream_id}-{self._tries.count + 1}"
        first_seq = events[-1].seq + 1 if events else decoder.next_seq
        self._attempt = self._tries.begin(target=target, first_seq=first_seq)
        self._observation.asks(target, tries=self._tries.count)
        return events

    def _close(self) -> list[LLMEvent]:
        """How the stream ended, as its last events."""
        interruption = self._watchdog.interruption if self._watchdog else None
        attempt = self._attempt
        events = attempt.untaken()
        if interruption is not None and attempt.decoder.is_finished:
            events += attempt.take(b"")  # only usage was missing
        elif interruption == "cancelled":
            return events + self._end("cancelled", None)
        elif interruption == "total_timeout":
            attempt.fail(self._timed_out(interruption, attempt))
        if attempt.failure is None:
            return events + self._end("completed", None)
        error = attempt.failure
        return events + self._end(
            "failed",
            Failure(
                code=error.code,
                message=error.message,
                status=error.status,
                retryable=error.retryable,
                retry_after=error.retry_after,
            ),
        )

    def _end(self, status: EndStatus, failure: Failure | None) -> list[LLMEvent]:
        self._end_status, self._ended_by = status, failure
        decoder = self._attempt.decoder
        events = self._attempt.untaken() + self._attempt.begin()
        if status == "completed":
            self._observation.note_meta(events)
        first_seq = events[-1].seq + 1 if events else decoder.next_seq
        events += self._tries.usages(first_seq)
        usage, spent = self._attempt.usage(), self._tries.spent
        self._total = usage if spent is None else spent + usage
        is_whole = status == "completed"
        return events + closing_events(
            stream_id=self._stream_id,
            first_seq=events[-1].seq + 1 if events else first_seq,
            status=status,
            error=failure,
            usage=usage,
            earlier_usage=spent,
            meta=None,
            step=0,
            attempt=self._attempt.number,
            finish_reason=decoder.finish_reasons.reason(is_whole=is_whole),
            finish_reasons=decoder.finish_reasons.reasons(is_whole=is_whole),
            raw_finish_reason=decoder.finish_reasons.raw(is_whole=is_whole),
        )

    def _observe_end(self) -> None:
        attempt = self._attempt
        self._observation.end(
            status=self._end_status or "cancelled",
            failure=self._ended_by,
            usage=attempt.usage() if self._total is None else self._total,
            finish_reasons=attempt.decoder.finish_reasons,
            request_id=attempt.request_id,
        )

    def _timed_out(self, clock: Clock, attempt: Attempt) -> EndpointError:
        timeouts = self._plan.timeouts
        if attempt.is_waiting:
            sent = "nothing was sent" if attempt.number == 1 else f"try {attempt.number} was not sent"
            message = f"The request still waited for its rate limit after {timeouts.total_timeout} s; {sent}."
            return endpoint_error(message, code=clock, retryable=True)
        sentences = {
            "first_token_timeout": f"No content came within {timeouts.first_token_timeout} s.",
            "stall_timeout": f"The answer stalled: no further content for {timeouts.stall_timeout} s.",
            "total_timeout": f"The answer was not complete after {timeouts.total_timeout} s.",
        }
        return endpoint_error(sentences[clock], code=clock, retryable=True)

    async def _await_body_end(self, watchdog: Watchdog) -> None:
        if watchdog.interruption is not None:
            return
        watchdog.expect_end(AFTER_DONE_TIMEOUT)
        try:
            await watchdog.guard(self._attempt.await_body_end)
        except Exception as exc:
            log.debug("after the answer its connection ended with %s", type(exc).__name__)
