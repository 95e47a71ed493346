"""The one script by which processes share budgets, and its answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from redis.exceptions import ConnectionError, NoScriptError  # noqa: A004 - redis-py's name

from hub.errors import BackendError
from hub.limits.base import Claim, Correction
from hub.models.profile import RateLimits
from hub.redis_io import RedisClient, keeping_cancellation

__all__ = ("BudgetScript", "Reply")

_SOURCE = Path(__file__).with_name("budgets.lua").read_text(encoding="utf-8")
_SHA = hashlib.sha1(_SOURCE.encode(), usedforsecurity=False).hexdigest()

_KEYS = ("state", "window", "queue", "needs", "members")

STALE_CONNECTIONS = 3

Taken: TypeAlias = Iterable[tuple[float, float, float]]

WAIT, GRANTED, TOO_LARGE, LEFT = range(4)


class Reply(NamedTuple):
    """What the script says.

    Attributes:
        status: 0 wait, 1 granted, 2 too large, 3 left before.
        delay: Microseconds to wait.
        slot: Where a grant is counted.
        processes: As many have asked within the last interval.
        epoch: Which state it is; another one after Redis has lost it.
        tokens, max_tokens, requests, max_requests: What is left and what there is at most; -1 where not limited.
    """

    status: int
    delay: int
    slot: int
    processes: int
    epoch: bytes
    tokens: int
    max_tokens: int
    requests: int
    max_requests: int


class BudgetScript:
    """Runs the script's operations, each one round trip, atomic, by the server's clock.

    Args:
        client: Of redis-py, for one server or a cluster.
        key: What the budgets are of; processes with the same key share them.
        limits: The budgets an interval.
        interval: Seconds.
        process: This process's name among the others.
        timeout: Seconds that an operation may take.
        now: Unix seconds in the place of the server's, for tests.
    """

    def __init__(
        self,
        client: RedisClient,
        key: str,
        limits: RateLimits,
        *,
        interval: float,
        process: str,
        timeout: float,
        now: Any = None,
    ) -> None:
        self._client = client
        # The braces put all of it on one node of a cluster.
        self._prefix = f"hub:limits:{{{key.replace('{', '(').replace('}', ')')}}}:"
        self._keys = tuple(self._prefix + name for name in _KEYS)
        share = interval / 60.0
        self._budgets = tuple("" if each is None else each * share for each in (limits.tkn_per_min, limits.req_per_min))
        self._interval = interval
        self._process = process
        self._timeout = timeout
        self._now = now

    async def take(self, claim: Claim, lease: float, *, known: str, proposed: str) -> Reply:
        """Ask for what the claim wants; its place in the queue is kept for `lease` seconds. Asking again is safe."""
        wanted = (claim.id, claim.tokens, claim.requests, claim.priority, lease)
        return await self._run("take", *wanted, claim=claim.id, known=known, proposed=proposed)

    async def leave(self, claim: Claim, *, known: str, proposed: str) -> Reply:
        """Give up the claim's place, and what was granted to it."""
        wanted = (claim.id, claim.tokens, claim.requests)
        return await self._run("leave", *wanted, claim=claim.id, known=known, proposed=proposed)

    async def adjust(self, slot: int, tokens: float, requests: float, *, known: str, proposed: str) -> Reply:
        """Take so much more, or give back so much of what was taken in the slot."""
        return await self._run("adjust", slot, tokens, requests, known=known, proposed=proposed)

    async def correct(self, correction: Correction, *, known: str, proposed: str) -> Reply:
        """Believe the endpoint."""
        share = self._interval / 60.0
        values = (
            None if correction.limit_tokens is None else correction.limit_tokens * share,
            correction.remaining_tokens,
            None if correction.limit_requests is None else correction.limit_requests * share,
            correction.remaining_requests,
            correction.pause,
        )
        arguments = ("" if value is None else value for value in values)
        return await self._run("correct", *arguments, known=known, proposed=proposed)

    async def restore(self, taken: Taken, *, known: str, proposed: str) -> Reply:
        """Count what was taken without the server's knowledge: age in seconds, tokens, requests."""
        return await self._run("restore", *chain.from_iterable(taken), known=known, proposed=proposed)

    async def remind(self, taken: Taken, *, known: str, proposed: str) -> Reply:
        """Count what the server has forgotten."""
        return await self._run("remind", *chain.from_iterable(taken), known=known, proposed=proposed)

    async def _run(self, operation: str, *arguments: Any, known: str, proposed: str, claim: str = "") -> Reply:
        keys = (*self._keys, f"{self._prefix}grant:{claim}") if claim else self._keys
        now = "" if self._now is None else repr(self._now())
        head = (operation, now, *self._budgets, self._interval, self._process, known, proposed)
        with keeping_cancellation():
            async with asyncio.timeout(self._timeout):
                reply = await self._call_again(keys, (*head, *arguments))
        try:
            return Reply(*reply)
        except TypeError as exc:
            raise BackendError("Redis answered the limiter's script with something else.") from exc

    async def _call_again(self, keys: tuple[str, ...], arguments: tuple[Any, ...]) -> Any:
        """Call, and once more for each connection of the pool that the server has closed meanwhile, up to a few."""
        for _ in range(STALE_CONNECTIONS):
            try:
                return await self._call(keys, arguments)
            except ConnectionError:
                continue
        return await self._call(keys, arguments)

    async def _call(self, keys: tuple[str, ...], arguments: tuple[Any, ...]) -> Any:
        values = tuple(repr(value) if isinstance(value, float) else str(value) for value in arguments)
        try:
            return await self._client.evalsha(_SHA, len(keys), *keys, *values)
        except NoScriptError:  # a server that has not seen it, or has forgotten it
            return await self._client.eval(_SOURCE, len(keys), *keys, *values)
