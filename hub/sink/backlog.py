"""What waits for a slow sink: neighbouring deltas merge where there is no more room. Pure."""

from __future__ import annotations

from collections import deque
from itertools import islice

from hub.events import LLMEvent, merge, mergeable
from hub.sink.base import carried_text

__all__ = ("Backlog",)

MAX_LOOSE = 256
"""Events of a run that stand one by one, until they become one: merging at each would copy the run's text each time."""


class Backlog:
    """Events that wait, in order; its length is how many, merged ones counted as one.

    What `put` costs does not depend on how many wait: what was found not to merge is not looked at again.

    Args:
        max_events: How many may wait.
        max_chars: Characters of text among them after which there is no room.
    """

    def __init__(self, max_events: int, max_chars: int) -> None:
        self._max_events = max_events
        self._max_chars = max_chars
        # Runs of neighbours, each of which leaves as one event.
        self._runs: deque[list[LLMEvent]] = deque()
        self._chars = 0
        self._settled = 0  # runs at the front that do not merge with the ones before
        self._loose = 0  # events at the end of the last settled run that stand one by one

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def is_full(self) -> bool:
        """Whether room has to be made before anything is put in."""
        return len(self._runs) >= self._max_events or self._chars > self._max_chars

    def put(self, event: LLMEvent) -> bool:
        """Put an event in, after merging what waits where it is full; False where there is no room all the same."""
        if self.is_full:
            self._settle()
            if self.is_full:
                return False
        self._runs.append([event])
        self._chars += len(carried_text(event))
        return True

    def pop(self) -> LLMEvent:
        """Take the first event out."""
        event = merge(self._runs.popleft())
        self._chars -= len(carried_text(event))
        self._settled = max(self._settled - 1, 0)
        return event

    def clear(self) -> None:
        """Forget what waits."""
        self._runs.clear()
        self._chars = self._settled = 0

    def _settle(self) -> None:
        """Merge what came since the last time with its neighbours."""
        fresh = list(islice(reversed(self._runs), len(self._runs) - self._settled))
        for _ in fresh:
            self._runs.pop()
        for run in reversed(fresh):
            if self._runs and mergeable(self._runs[-1][-1], run[0]):
                self._join(self._runs[-1], run[0])
            else:
                self._runs.append(run)
                self._loose = 1
        self._settled = len(self._runs)

    def _join(self, run: list[LLMEvent], event: LLMEvent) -> None:
        run.append(event)
        self._loose += 1
        if self._loose >= MAX_LOOSE:
            run[-self._loose :] = [merge(run[-self._loose :])]
            self._loose = 0
