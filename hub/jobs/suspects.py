"""How many jobs a worker has at once with which others were lost; pure.

When a worker is lost, each job that it had may be the one that it was lost with. A worker takes few of these suspects
at once, and of those that are on their last try one. A job is given up only where it is lost on its last try, and no
other job is on its last try there: so one job that takes its worker with it, however often it is tried, never costs
the jobs beside it more than tries. New jobs run beside suspects as ever, so that nothing waits for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Literal, TypeAlias

__all__ = ("Begun", "Room", "begun_queue", "room_for")

Begun: TypeAlias = Literal["again", "suspect", "last"]
"""Where a job waits that a worker has had: before all others, among the suspects, among those on their last try."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many more jobs a worker may take of those that are `suspect`, and of those on their `last` try."""

    suspect: int
    last: int

    def has(self, queue: str) -> bool:
        """Whether it may take one from a queue; of others than these two there is always room here."""
        return {"suspect": self.suspect, "last": self.last}.get(queue, 1) > 0

    @property
    def is_full(self) -> bool:
        """Whether there are jobs that wait for room of their own."""
        return self.suspect <= 0 or self.last <= 0


def begun_queue(lost: int, max_attempts: int) -> Begun:
    """Where a job waits with which so many workers were lost; one that is to be given up is no danger to anybody."""
    if lost == 0 or lost >= max_attempts:
        return "again"
    return "last" if lost == max_attempts - 1 else "suspect"


def room_for(lost: Iterable[int], *, concurrency: int, max_attempts: int) -> Room:
    """The room of a worker.

    Args:
        lost: How many workers were lost with each of the jobs that it has.
        concurrency: As many jobs it takes at once.
        max_attempts: Workers that may be lost with one job.
    """
    queues = [begun_queue(each, max_attempts) for each in lost]
    # The square root: of a hundred suspects ten are tried at once, and of these ten then one.
    return Room(ceil(sqrt(concurrency)) - queues.count("suspect"), 1 - queues.count("last"))
