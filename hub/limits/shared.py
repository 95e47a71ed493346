"""Budgets that several processes share through Redis, and what becomes of them while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import uuid4

from hub.errors import BackendError, RequestTooLargeError
from hub.limits.base import Claim, Correction
from hub.limits.clock import Clock
from hub.limits.departures import Departures
from hub.limits.ledger import Ledger
from hub.limits.outage import Outage
from hub.limits.script import GRANTED, TOO_LARGE, BudgetScript, Reply
from hub.redis_io import UNREACHABLE

__all__ = ("SharedBudgets",)

LEASE = 2.0
"""Seconds for which a claim keeps its place without asking again: a process that died holds up the others so long."""

RENEW = 0.5
"""Seconds after which a claim asks again at the latest; others may have given back what they took."""

REMEMBERED = 1_800.0
"""Seconds for which the state is surely kept; Redis may drop it after an hour in which nobody asked."""

_FAULTS: tuple[type[Exception], ...] = (*UNREACHABLE, BackendError, RuntimeError)
"""The last is that of connections whose event loop is closed."""


class SharedBudgets:
    """The budgets behind a `RedisLimiter`. One event loop uses them at a time: connections to Redis belong to one.

    Args:
        script: What asks Redis.
        outage: What holds while it is away.
        interval: Seconds of a budget.
        clock: The time of this process; the budgets go by the server's.
    """

    def __init__(self, script: BudgetScript, outage: Outage, *, interval: float, clock: Clock) -> None:
        self._script = script
        self._outage = outage
        self._clock = clock
        self._interval = interval
        self._taken = Ledger(interval, clock.time)
        self._taken_alone = Ledger(interval, clock.time)
        self._epoch = ""
        self._is_lost = False
        self._answered_at = float("-inf")
        self._paused_until = float("-inf")
        self._last: Reply | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._departures = Departures()

    async def take(self, claim: Claim) -> float:
        """As `Budgets` says. While Redis is away the claim is this process's own affair.

        Raises:
            RuntimeError: Another event loop, which runs now, has used these budgets.
        """
        await self._enter_loop()
        if self._outage.retry_delay > 0.0:
            return await self._take_alone(claim)
        if not claim.id:
            claim.id = uuid4().hex
        claim.is_placed = True  # before it is known: whoever is cancelled in between has to leave
        reply = await self._ask(lambda known, new: self._script.take(claim, LEASE, known=known, proposed=new))
        if reply is None:
            return await self._take_alone(claim)
        if reply.status == TOO_LARGE:
            claim.is_placed = False
            is_tokens = 0 <= reply.max_tokens < claim.tokens
            name, wanted, limit = (
                ("tokens", claim.tokens, reply.max_tokens)
                if is_tokens
                else ("requests", claim.requests, reply.max_requests)
            )
            raise RequestTooLargeError(name, wanted, limit)
        if reply.status != GRANTED:
            claim.wait = reply.delay / 1e6
            return min(max(claim.wait, 1e-4), RENEW)
        claim.is_placed = claim.is_local = False
        claim.slot = reply.slot
        self._taken.add(claim.tokens, claim.requests)
        return 0.0

    async def leave(self, claim: Claim) -> None:
        """As `Budgets` says. A place that can't be given up, since Redis is away, is lost after `LEASE` seconds."""
        is_placed, claim.is_placed = claim.is_placed, False
        # A waiter whose event loop is gone is ended by the garbage collector, where no loop runs.
        if is_placed and self._outage.retry_delay == 0.0 and self._is_at_home() and not self._departures.is_full:
            await self._departures.tell(self._leave(claim))

    async def _leave(self, claim: Claim) -> None:
        await self._ask(lambda known, new: self._script.leave(claim, known=known, proposed=new))

    async def adjust(self, claim: Claim, tokens: float, requests: float) -> None:
        """As `Budgets` says. Where Redis is away, what was used beyond the estimate is told when it is back."""
        self._taken.add(tokens, requests)
        if claim.is_local and self._outage.budgets is not None:
            self._taken_alone.add(tokens, requests)
            await self._outage.budgets.adjust(claim, tokens, requests)
            return
        reply = None
        if self._outage.retry_delay == 0.0:
            slot = -1 if claim.is_local else claim.slot
            reply = await self._ask(
                lambda known, new: self._script.adjust(slot, tokens, requests, known=known, proposed=new)
            )
        if reply is None:
            self._taken_alone.add(max(0.0, tokens), max(0.0, requests))

    async def correct(self, correction: Correction) -> None:
        """As `Budgets` says. What says nothing new is not sent.

        Raises:
            RuntimeError: Another event loop, which runs now, has used these budgets.
        """
        await self._enter_loop()
        if correction.pause is not None:
            self._paused_until = max(self._paused_until, self._clock.time() + correction.pause)
        if self._outage.budgets is not None:
            await self._outage.budgets.correct(replace(correction, limit_tokens=None, limit_requests=None))
        if self._outage.retry_delay == 0.0 and self._is_news(correction):
            await self._ask(lambda known, new: self._script.correct(correction, known=known, proposed=new))

    async def aclose(self) -> None:
        """Whoever has left has given up its place, as far as Redis can be reached."""
        if self._is_at_home():
            await self._departures.aclose()

    async def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise RuntimeError(
                "A RedisLimiter serves one event loop at a time, and another one that runs has used this one; give "
                "each thread a limiter of its own with the same key: they share the budgets through Redis."
            )
        self._loop, self._departures = loop, Departures()
        await self._departures.open()

    def _is_at_home(self) -> bool:
        """The event loop that runs is the one that uses these budgets."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _is_news(self, correction: Correction) -> bool:
        last = self._last
        if last is None or correction.pause is not None:
            return True
        share = self._interval / 60.0
        return any(
            (limit is not None and int(limit * share) != max_level) or (remaining is not None and remaining < level)
            for limit, remaining, level, max_level in (
                (correction.limit_tokens, correction.remaining_tokens, last.tokens, last.max_tokens),
                (correction.limit_requests, correction.remaining_requests, last.requests, last.max_requests),
            )
        )

    async def _take_alone(self, claim: Claim) -> float:
        budgets = self._outage.budgets
        assert budgets is not None
        claim.is_placed = False  # it asks when it is its turn here; its place in Redis, if any, runs out
        delay = await budgets.take(claim)
        if delay == 0.0:
            self._taken.add(claim.tokens, claim.requests)
            self._taken_alone.add(claim.tokens, claim.requests)
            return 0.0
        return min(delay, max(self._outage.retry_delay, 0.01))

    async def _ask(self, operation: Callable[[str, str], Awaitable[Reply]]) -> Reply | None:
        """What the script answers; None where it doesn't, and then the outage has begun or goes on."""
        # After a long quiet time the state may rightly be gone.
        is_recent = self._outage.is_on or self._clock.time() - self._answered_at < REMEMBERED
        known = self._epoch if is_recent else ""
        new = uuid4().hex
        try:
            if self._outage.is_on or self._taken_alone.taken():
                self._remember(await self._script.restore((), known=known, proposed=new), known)
                await self._tell(known, new)
                known = self._epoch
            reply = await operation(known, new)
            self._remember(reply, known)
            if self._is_lost:
                await self._tell(known, new)
        except _FAULTS as exc:
            self._begin_outage(exc)
            return None
        return reply

    async def _tell(self, known: str, new: str) -> None:
        """Tell Redis what it doesn't know: what was taken without it, and all of it where it has lost its memory."""
        was_lost, self._is_lost = self._is_lost, False
        alone = self._taken_alone.taken()
        self._taken_alone.clear()  # before anything is awaited: others may be telling, too
        try:
            if was_lost:
                await self._script.remind(self._taken.taken(), known=known, proposed=new)
            elif alone:
                await self._script.restore(alone, known=known, proposed=new)
        except BaseException:
            self._is_lost = was_lost
            for _, tokens, requests in alone:
                self._taken_alone.add(tokens, requests)
            raise

    def _remember(self, reply: Reply, known: str) -> None:
        self._outage.end()
        self._outage.share = 1.0 / max(1, reply.processes)
        epoch = reply.epoch.decode()
        if known and epoch != known and self._epoch == known:  # else another one has seen it first
            self._is_lost = True
        self._epoch = epoch
        self._answered_at = self._clock.time()
        self._last = reply

    def _begin_outage(self, exc: Exception) -> None:
        was_on = self._outage.is_on
        budgets = self._outage.begin(exc, self._taken)
        pause = self._paused_until - self._clock.time()
        if not was_on and pause > 0:
            budgets.pause(pause)
