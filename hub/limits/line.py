"""The line of those who wait for their turn: first come, first served, with priorities, bounds and cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from heapq import heapify, heappop, heappush
from threading import RLock
from types import TracebackType

from hub.errors import LimiterBusyError, LimitTimeoutError
from hub.limits.base import Budgets, Claim, Permit
from hub.limits.clock import Clock, Timer

__all__ = ("Entry", "Line")

DEAD = 64
"""So many that have left may lie in the heap, or as many as still wait, before it is made anew."""


class _Waiter:
    """One place in the line."""

    __slots__ = ("claim", "future", "has_left", "is_called", "is_late", "rank")

    def __init__(self, claim: Claim, turn: int) -> None:
        self.claim = claim
        self.rank = (-claim.priority, turn)
        self.future: asyncio.Future[None] | None = None
        self.has_left = False
        self.is_called = False
        self.is_late = False

    def __lt__(self, other: _Waiter) -> bool:
        return self.rank < other.rank

    @property
    def is_deserted(self) -> bool:
        """Its event loop was closed while it slept: nothing will wake it."""
        return self.future is not None and self.future.get_loop().is_closed()

    def wake(self) -> None:
        """Let it look again whether it is its turn; if it doesn't sleep yet, before it does.

        Raises:
            RuntimeError: Its event loop is closed.
        """
        self.is_called = True
        future = self.future
        if future is None:
            return
        loop = future.get_loop()
        if _is_running_here(loop):
            _finish(future)
        else:
            loop.call_soon_threadsafe(_finish, future)

    def expire(self) -> None:
        """It has waited as long as it may."""
        self.is_late = True
        self.wake()


class Line:
    """Lets one after the other ask the budgets.

    Only the first in line has a timer for its turn; those behind it sleep until they are first. To join and to leave
    costs O(log n). Event loops in several threads may share it, if the budgets allow that.

    Args:
        budgets: Whom the first in line asks.
        clock: The time.
        max_waiting: As many may wait at once.
        max_wait: Seconds that one waits, unless it says otherwise; None for as long as it takes.
    """

    def __init__(self, budgets: Budgets, *, clock: Clock, max_waiting: int, max_wait: float | None) -> None:
        self.budgets = budgets
        self._clock = clock
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._heap: list[_Waiter] = []
        self._waiting = 0
        self._turn = 0
        self._next_at = float("-inf")
        # Reentrant: the garbage collector may end a deserted waiter, which leaves the line, at any allocation.
        self._lock = RLock()

    @property
    def waiting(self) -> int:
        """As many wait now."""
        return self._waiting

    async def join(self, claim: Claim, timeout: float | None) -> float:
        """Return when the claim is granted; the value is the seconds it took.

        Raises:
            RequestTooLargeError, LimiterBusyError, LimitTimeoutError: As `RateLimiter.limit` says.
        """
        began_at = self._clock.time()
        waiter = self._push(claim)
        allowed = self._max_wait if timeout is None else timeout
        deadline: Timer | None = None
        is_granted = False
        try:
            while True:
                delay = await self._ask(waiter)
                if delay == 0.0:
                    is_granted = True
                    return self._clock.time() - began_at
                if waiter.is_late or (allowed is not None and allowed <= 0):
                    raise LimitTimeoutError(self._clock.time() - began_at, self._retry_after())
                if deadline is None and allowed is not None:
                    deadline = self._clock.call_later(allowed, waiter.expire)
                await self._sleep(waiter, delay)
        finally:
            if deadline is not None:
                deadline.cancel()
            self._remove(waiter)
            if not is_granted:
                await self.budgets.leave(claim)

    def wake(self) -> None:
        """Something has changed: the first in line looks again."""
        with self._lock:
            while (first := self._first()) is not None:
                try:
                    first.wake()
                except RuntimeError:  # its event loop was closed in this moment: now it counts as deserted
                    continue
                return

    async def _ask(self, waiter: _Waiter) -> float | None:
        """0.0 where the claim is granted, seconds until it makes sense to ask again, None where others come first."""
        with self._lock:
            waiter.is_called = False
            # One that has a place in a queue of several processes keeps asking, or it would hold them up there.
            if self._first() is not waiter and not waiter.claim.is_placed:
                return None
        delay = await self.budgets.take(waiter.claim)
        if delay > 0.0:
            self._next_at = self._clock.time() + waiter.claim.wait
        return delay

    async def _sleep(self, waiter: _Waiter, delay: float | None) -> None:
        with self._lock:
            # Since it asked, room may have been made, and the call to look again has found it awake.
            if waiter.is_called:
                return
            future = waiter.future = asyncio.get_running_loop().create_future()
        timer = None if delay is None else self._clock.call_later(delay, waiter.wake)
        try:
            await future
        finally:
            waiter.future = None
            if timer is not None:
                timer.cancel()

    def _push(self, claim: Claim) -> _Waiter:
        with self._lock:
            if self._waiting >= self._max_waiting:
                raise LimiterBusyError(self._waiting, self._retry_after())
            self._turn += 1
            waiter = _Waiter(claim, self._turn)
            heappush(self._heap, waiter)
            self._waiting += 1
            return waiter

    def _remove(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter.has_left:
                return
            waiter.has_left = True
            self._waiting -= 1
            if self._heap[0] is waiter:
                heappop(self._heap)
                self.wake()
            elif len(self._heap) - self._waiting > max(DEAD, self._waiting):
                self._heap = [each for each in self._heap if not each.has_left]
                heapify(self._heap)

    def _first(self) -> _Waiter | None:
        """The one whose turn it is; its callers hold the lock."""
        has_passed = False
        while self._heap:
            first = self._heap[0]
            if not first.has_left and not first.is_deserted:
                if has_passed:
                    with suppress(RuntimeError):  # closed in this moment
                        first.wake()
                return first
            heappop(self._heap)
            if not first.has_left:
                first.has_left = has_passed = True  # nobody else will call the next one
                self._waiting -= 1
        return None

    def _retry_after(self) -> float:
        """Seconds until the first in line expects its turn, at least one."""
        return max(1.0, self._next_at - self._clock.time())


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class Entry:
    """The block that `limit` gives."""

    __slots__ = ("_claim", "_line", "_permit", "_timeout")

    def __init__(self, line: Line, claim: Claim, timeout: float | None) -> None:
        self._line = line
        self._claim = claim
        self._timeout = timeout
        self._permit: Permit | None = None

    async def __aenter__(self) -> Permit:
        if self._permit is not None:
            raise RuntimeError("A limit is entered once; ask the limiter for another one.")
        self._permit = Permit(self._claim.tokens, self._claim.requests)
        self._permit.waited = await self._line.join(self._claim, self._timeout)
        return self._permit

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        permit = self._permit
        assert permit is not None
        tokens, requests = permit.owed_tokens, permit.owed_requests
        if tokens or requests:
            await self._line.budgets.adjust(self._claim, tokens, requests)
            if tokens < 0 or requests < 0:
                self._line.wake()
