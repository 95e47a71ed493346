"""Answers under way that several calls read: asked once, each reader from the start.

The first reader leads: its source is asked, in a task of the flight's own, so nobody's pace is another's. A leader
whose source fails before it has said anything gets that failure, and hands over: the reader who came next leads with a
source of its own. A failure after content, or after `MAX_HANDOVERS`, is everyone's. Where a leader leaves, the flight
goes on for the others; it ends when the last one leaves. So the time that a call may take in all is no matter of its
source: each reader has its own clock, and leaves when it runs out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from hub.cache.entry import event_weight
from hub.cache.replay import Batch
from hub.cache.shared import SharedSource
from hub.events import Delta, Error, LLMEvent, Snapshot, ToolResult, Usage
from hub.result import LLMResult
from hub.upstream.clocks import Watchdog
from hub.upstream.stream import AnswerSource

__all__ = ("MAX_HANDOVERS", "Flight", "Leg", "Reader")

MAX_HANDOVERS = 3
"""How often another reader's source is asked after a failure, so that a thousand readers are no thousand calls."""


@dataclass(slots=True, eq=False)
class Reader:
    """One call that reads a flight.

    Attributes:
        make: Gives the source that is asked where this reader leads.
        keeps: Whether the whole answer of that source is one to be stored; None where each is.
        leg: What it reads; None before it has been given anything.
        position: How many batches of it were given.
        knows_usage: Was given a `usage`, its own or free.
        is_dropped: It fell so far behind that what comes next for it is gone.
    """

    make: Callable[[], AnswerSource]
    keeps: Callable[[LLMResult], bool] | None
    leg: Leg | None = None
    position: int = 0
    knows_usage: bool = False
    is_dropped: bool = False


@dataclass(slots=True, eq=False)
class Leg:
    """One leader's answer, as far as it has come.

    Attributes:
        leader: Whose source is asked.
        payer: Who is told the costs as its own: the leader, or who came after it where it left.
        source: The source; None before it is made.
        shared: The source where it is one that processes share.
        batches: What came, from `first` on, with the instants.
        first: How many batches were dropped since everyone had read them.
        weight: About how many bytes `batches` take.
        is_settled: Others than the leader may read it: it has said something, or nobody else will.
        is_failed: It has an `error`.
        is_ended: Nothing more comes.
        exception: What the source raised instead.
    """

    leader: Reader
    payer: Reader | None
    source: AnswerSource | None = None
    shared: SharedSource | None = None
    batches: list[Batch] = field(default_factory=list)
    first: int = 0
    weight: int = 0
    is_settled: bool = False
    is_failed: bool = False
    is_ended: bool = False
    exception: Exception | None = None

    @property
    def end(self) -> int:
        """How many batches have come."""
        return self.first + len(self.batches)

    def append(self, at: float, events: Sequence[LLMEvent]) -> None:
        """A batch came."""
        self.batches.append((at, events))
        self.weight += sum(map(event_weight, events))
        self.is_settled = self.is_settled or any(isinstance(event, Delta | ToolResult | Snapshot) for event in events)
        self.is_failed = self.is_failed or any(isinstance(event, Error) for event in events)

    def trim(self, position: int) -> None:
        """Drop the batches before a position."""
        gone = self.batches[: position - self.first]
        del self.batches[: position - self.first]
        self.first += len(gone)
        self.weight -= sum(event_weight(event) for _, events in gone for event in events)

    def unread(self, position: int) -> list[LLMEvent]:
        """The events from a position on."""
        return [event for _, events in self.batches[position - self.first :] for event in events]


class Flight:
    """One answer under way, its readers, and the task that fetches it.

    Args:
        max_bytes: What is held, at most. Beyond it the flight takes no further readers, and is not landed. What all
            have read is dropped; a reader that is so far behind is dropped where there are others, and waited for
            where there is none.
        land: Is awaited with an answer that came whole.
        close: Is called once when no further reader may join.
        clock: Seconds, for the instants of the batches.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        land: Callable[[Leg], Awaitable[None]],
        close: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self.leg: Leg | None = None
        self.is_over = False
        self._max_bytes = max_bytes
        self._land = land
        self._close = close
        self._clock = clock
        self._is_closed = False
        self._readers: dict[Reader, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    def join(self, make: Callable[[], AnswerSource], keeps: Callable[[LLMResult], bool] | None) -> Reader:
        """A further reader, which has to leave in the end; the first one starts the flight."""
        reader = Reader(make, keeps)
        self._readers[reader] = None
        if self._task is None:
            # Owned by the readers together: the last one to leave ends it and waits for its end.
            self._task = asyncio.create_task(self._run())
        return reader

    async def leave(self, reader: Reader) -> None:
        """The reader reads no more. The last one ends the flight, or waits while a whole answer is being landed."""
        self._forget(reader)
        if self._readers or self._task is None or self._task.done():
            return
        if self.leg is None or not self.leg.is_ended:
            self._shut()
            self._task.cancel()
        try:
            await asyncio.wait([self._task])
        except BaseException:
            self._shut()
            self._task.cancel()
            raise

    async def aclose(self) -> None:
        """End the flight, whoever reads it."""
        self._shut()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def stop(self, reader: Reader) -> bool:
        """Stop the source where this is the only reader; whether it was."""
        leg = self.leg
        if len(self._readers) > 1 or leg is None or leg.source is None or reader.leg not in (None, leg):
            return False
        self._shut()
        leg.source.stop()
        return True

    def is_alone(self, reader: Reader) -> bool:
        """Whether nobody else reads."""
        return self._readers.keys() <= {reader}

    async def read(self, reader: Reader, watchdog: Watchdog) -> AsyncGenerator[Sequence[LLMEvent], None]:
        """The batches of the leg that is the reader's, `reader.leg`, once it has been settled which one that is.

        Ends where the leg does and has been landed, where the reader was dropped, and where the flight was closed.

        Raises:
            InterruptedByWatchdog: The reader was stopped, or its time has run out.
            Exception: What the source raised.
        """
        while not reader.is_dropped:
            leg = reader.leg
            if leg is None and self.leg is not None and (self.leg.is_settled or self.leg.leader is reader):
                leg = reader.leg = self.leg
            if leg is not None and reader.position < leg.end:
                _, events = leg.batches[reader.position - leg.first]
                reader.position += 1
                reader.knows_usage = reader.knows_usage or any(isinstance(event, Usage) for event in events)
                self._taken.set()
                yield events
            elif leg is not None and leg.exception is not None:
                raise leg.exception
            elif self.is_over or (leg is not None and leg.is_ended and leg is not self.leg):
                return
            else:
                await watchdog.guard(self._changed.wait)

    async def _run(self) -> None:
        try:
            for handovers in range(MAX_HANDOVERS + 1):
                leader = next((reader for reader in self._readers if reader.leg is None), None)
                if leader is None:
                    break
                leader.leg = leg = self.leg = Leg(leader, payer=leader)
                await self._fly(leg, is_last=handovers == MAX_HANDOVERS)
                if leg.is_settled:
                    if leg.exception is None and not self._is_closed:
                        await self._land(leg)
                    break
        finally:
            self._shut()
            self.is_over = True
            self._notify()

    async def _fly(self, leg: Leg, *, is_last: bool) -> None:
        """Fetch the leader's answer; afterwards the leg is settled, or its failure is the leader's alone."""
        try:
            leg.source = source = leg.leader.make()
            # Once for each source: the check is too slow for each event.
            leg.shared = source if isinstance(source, SharedSource) else None
            async with aclosing(source.batches()) as batches:
                async for events in batches:
                    leg.append(self._clock(), events)
                    self._settle(leg, is_last=is_last)
                    self._notify()
                    await self._make_room(leg)
        except Exception as exc:
            # Whatever a source raises is its readers' to see, not this task's.
            leg.exception = exc
            leg.is_failed = True
        leg.is_ended = True
        self._settle(leg, is_last=is_last)
        self._notify()

    def _settle(self, leg: Leg, *, is_last: bool) -> None:
        """Let all read the leg where nobody else's source will be asked."""
        heirs = any(reader.leg is None for reader in self._readers)
        is_last = is_last or (leg.shared is not None and leg.shared.is_final)
        if (leg.is_failed and (is_last or not heirs)) or (leg.is_ended and not leg.is_failed):
            leg.is_settled = True

    async def _make_room(self, leg: Leg) -> None:
        while leg.weight > self._max_bytes:
            self._shut()
            # A reader that has been given nothing yet stands at 0.
            slowest = min(self._readers, key=lambda reader: reader.position)
            leg.trim(slowest.position)
            if leg.weight <= self._max_bytes:
                return
            if len(self._readers) > 1:
                slowest.is_dropped = True
                self._forget(slowest)
                self._notify()
            else:
                self._taken.clear()
                await self._taken.wait()

    def _forget(self, reader: Reader) -> None:
        self._readers.pop(reader, None)
        leg = self.leg
        if leg is not None and leg.payer is reader:
            heirs = () if reader.knows_usage else self._readers
            leg.payer = next((heir for heir in heirs if heir.leg in (None, leg) and not heir.knows_usage), None)

    def _shut(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._close()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
