"""The tries at one answer: where each goes, whether another follows, and what those used that came to nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hub.errors import EndpointError
from hub.events import LLMEvent, Usage
from hub.result import TokenUsage
from hub.upstream.attempt import Attempt
from hub.upstream.plan import Plan
from hub.upstream.route import Route, Target

__all__ = ("Tries",)


class Tries:
    """Counts the tries of one call; all together keep to the plan's budget.

    Args:
        targets: Where to ask, in order.
        plan: How to go about it.
        stream_id: Goes into every event.
        identifier: The caller's own name for the request.
        rand: Gives a number between 0 and 1, for the retries' jitter.

    Attributes:
        count: Tries begun so far.
        spent: What all tries but the last used, as far as it has been told; None for nothing.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        plan: Plan,
        *,
        stream_id: str,
        identifier: str | None,
        rand: Callable[[], float],
    ) -> None:
        self.count = 0
        self.spent: TokenUsage | None = None
        self._route = Route(targets)
        self._plan = plan
        self._stream_id = stream_id
        self._identifier = identifier
        self._rand = rand
        self._untold: list[Attempt] = []

    @property
    def is_last(self) -> bool:
        """The budget is used up: each endpoint has one try at least."""
        return self.count >= max(self._plan.retry.attempts, len(self._route))

    def begin(self, *, target: Target | None = None, first_seq: int = 0) -> Attempt:
        """The next try: at the target, else at the first that hasn't been tried.

        Args:
            target: Where.
            first_seq: The position of its first event.
        """
        target = target or self._route.fresh()
        assert target is not None
        self.count += 1
        return Attempt(
            target,
            number=self.count,
            stream_id=self._stream_id,
            first_seq=first_seq,
            identifier=self._identifier,
        )

    def beside(self, attempt: Attempt) -> Attempt:
        """A try beside one that says nothing: elsewhere, where there is such a place."""
        return self.begin(target=self._route.fresh() or attempt.target)

    def take_back(self, rival: Attempt, attempt: Attempt) -> None:
        """The try beside that one does not take place."""
        self.count -= 1
        if rival.target is not attempt.target:
            self._route.take_back(rival.target)

    def failed(self, attempt: Attempt) -> None:
        """The endpoint is asked after others for a while, if its try has failed."""
        if attempt.was_held_back:
            self._route.held_back(attempt.target)  # the endpoint knows nothing of it
        elif attempt.failure is not None:
            self._route.failed(attempt.target, attempt.failure)

    def following(self, attempt: Attempt) -> tuple[Target, float] | None:
        """Where to try next after one that failed, and after how many seconds; None where it was the last."""
        if self.is_last or (attempt.decoder.has_begun and not self._plan.restart):
            return None
        target = self._route.fresh()
        return (target, 0.0) if target is not None else self._route.again(self._delay)

    def give_up(self, attempt: Attempt) -> None:
        """This try comes to nothing; what it used is still to be told."""
        self._untold.append(attempt)

    def usages(self, first_seq: int) -> list[LLMEvent]:
        """What those used that came to nothing, told once; nothing where the endpoint did nothing.

        Args:
            first_seq: The position of the first event.
        """
        untold, self._untold = self._untold, []
        events: list[LLMEvent] = []
        for attempt in untold:
            usage = attempt.usage()
            if not usage.total_tokens and not attempt.decoder.has_begun:
                continue
            self.spent = usage if self.spent is None else self.spent + usage
            seq = first_seq + len(events)
            events.append(Usage.of(usage, stream_id=self._stream_id, seq=seq, attempt=attempt.number))
        return events

    def _delay(self, error: EndpointError) -> float | None:
        return self._plan.retry.delay(error, self.count, self._rand())
