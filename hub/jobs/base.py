"""What a queue of jobs promises, and what one says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

__all__ = (
    "PRIORITIES",
    "AsideJob",
    "Depth",
    "Finished",
    "Job",
    "JobQueue",
    "Membership",
    "Outcome",
    "Overdue",
    "Priority",
    "Pulse",
    "Released",
    "SetAside",
    "Survey",
    "WorkerInfo",
    "job_key",
)

Priority = Literal["high", "normal", "low"]

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
"""In the order in which they are served."""


@dataclass(frozen=True, slots=True)
class Job:
    """One generation that a worker is to carry out.

    Attributes:
        stream_id: The stream, whose log is there.
        arguments: What the generator's `stream` takes, and as `sinks` the sinks that the stream goes to.
        priority: Before what it goes.
        lost: How many workers were lost while they had it.
        created_at: When the stream was made, in Unix seconds: tells it from an earlier one of the same id. None where
            no id comes twice.
    """

    stream_id: str
    arguments: Mapping[str, Any]
    priority: Priority = "normal"
    lost: int = 0
    created_at: float | None = None

    @property
    def key(self) -> str:
        """The job's own name: no two jobs have the same, though their streams may."""
        return job_key(self.stream_id, self.created_at)


def job_key(stream_id: str, created_at: float | None) -> str:
    """The name of the job of a stream: its id, and where that may come twice the time at which it was made."""
    if created_at is None and " " not in stream_id:
        return stream_id
    return f"{stream_id} {'' if created_at is None else repr(created_at)}"


@dataclass(frozen=True, slots=True)
class Finished:
    """The log has its end; the job is forgotten."""


@dataclass(frozen=True, slots=True)
class Released:
    """Another worker is to go on; `is_lost` counts this one as lost with it."""

    is_lost: bool


@dataclass(frozen=True, slots=True)
class SetAside:
    """Nobody is to try again; the job is kept for people to look at, with a sentence why."""

    reason: str


Outcome: TypeAlias = Finished | Released | SetAside


@dataclass(frozen=True, slots=True)
class Overdue:
    """A stream that was announced so many seconds ago and never submitted."""

    stream_id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a worker learns from its sign of life.

    Attributes:
        lost: Keys of jobs that are not the worker's any more: it was taken for dead.
        overdue: Announcements that somebody has to see to.
    """

    lost: Sequence[str] = ()
    overdue: Sequence[Overdue] = ()


class Membership(Protocol):
    """A worker's place at the queue: what it claims is its own while it gives signs of life.

    `claim` is called by one task at a time, the others by any. All raise `StoreError` where the queue can't be
    reached; then nothing is known, and the next call goes on from whatever is true.
    """

    async def claim(self, limit: int) -> Sequence[Job]:
        """At most `limit` jobs, the most urgent first, waiting some seconds for the first; maybe none.

        Of jobs with which workers were lost the worker has few at once, as `hub.jobs.suspects` says.
        """
        ...

    async def beat(self) -> Pulse:
        """Give a sign of life, once a second; lets others have the jobs of workers that have given none for long."""
        ...

    async def settle(self, key: str, outcome: Outcome) -> None:
        """Say what became of a job. Where it isn't the worker's any more, nothing happens."""
        ...

    async def leave(self, *, is_gone: bool = True) -> None:
        """Let others have at once what the worker has; with `is_gone` false only what it never learnt that it has."""
        ...


class JobQueue(Protocol):
    """Jobs that wait for workers, in this process or in others. Every method may be called from any task at any time.

    All raise `StoreError` where the queue can't be reached.
    """

    async def announce(self, stream_id: str, arguments: Mapping[str, Any], *, priority: Priority = "normal") -> None:
        """Say that a stream is about to be made. If whoever says so dies before `submit`, a worker sees to it.

        Raises:
            HubBusyError: Too many wait already.
            InvalidRequestError: The arguments can't be written as JSON.
        """
        ...

    async def submit(
        self,
        stream_id: str,
        arguments: Mapping[str, Any],
        *,
        priority: Priority = "normal",
        created_at: float | None = None,
    ) -> None:
        """Have a worker carry out a generation whose log is there. One that is known already is not taken twice.

        Args:
            stream_id: The stream.
            arguments: As `Job` has them.
            priority: Before what it goes.
            created_at: When the stream was made, as its log has it, where its id may have been an earlier stream's.
                A job of that one is another job.

        Raises:
            HubBusyError: Too many wait already; not for what was announced.
            InvalidRequestError: The arguments can't be written as JSON.
        """
        ...

    async def withdraw(self, stream_id: str) -> None:
        """Forget an announcement: its stream was not made."""
        ...

    async def promote(self, stream_id: str, *, created_at: float | None = None) -> None:
        """Submit what was announced and is still announced, unless a job of the stream is known."""
        ...

    async def forget(self, stream_id: str, *, created_at: float | None = None) -> None:
        """Forget a job that no worker has, since its stream has ended. Where a worker has it, nothing happens."""
        ...

    async def join(self, worker: str, *, concurrency: int, max_attempts: int = 3) -> Membership:
        """Become a worker, with so many jobs at once.

        Args:
            worker: What it is called. Others may be called the same, and have their jobs to themselves all the same.
            concurrency: As many jobs it takes at once.
            max_attempts: Workers that may be lost with one job.
        """
        ...

    async def aclose(self) -> None:
        """Release what is held; a second call does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs wait, and for how many seconds the oldest has; None where none waits."""

    waiting: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker, since when it works (Unix seconds), how many jobs it takes at most, and has; None where unknown."""

    name: str
    since: float | None
    concurrency: int | None
    running: int


@dataclass(frozen=True, slots=True)
class AsideJob:
    """A job that was set aside: when (Unix seconds), why, and how many workers were lost with it; one a stream id."""

    stream_id: str
    at: float
    reason: str
    lost: int
    priority: Priority


@dataclass(frozen=True, slots=True)
class Survey:
    """What a queue holds.

    Attributes:
        depths: By priority; `again` has what another worker has begun and gave back, or was lost with.
        announced: Streams that are about to be made.
        workers: Who works.
        aside: The jobs that were set aside, newest first.
    """

    depths: Mapping[str, Depth] = field(default_factory=dict)
    announced: int = 0
    workers: Sequence[WorkerInfo] = ()
    aside: Sequence[AsideJob] = ()
