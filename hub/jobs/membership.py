"""A worker's place at the queue on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from hub.errors import StoreError
from hub.jobs.base import Finished, Job, Outcome, Overdue, Pulse, Released, SetAside
from hub.jobs.payload import decode_job, read_key, said
from hub.jobs.server import QUEUES, JobServer, Place, Waiting
from hub.jobs.silence import Silence
from hub.jobs.suspects import Room, begun_queue, room_for

__all__ = ("RedisMembership",)

MAX_GAP = 2.0
"""Seconds between two signs of life, a second apart by right, beyond which the server or this process was away."""

RESTORED = len(QUEUES) + 1
"""The number of the stream whose entries nobody waits for."""

CHECK_EVERY = 10
"""Signs of life after which everything is compared, even where the numbers are right."""

_MINE, _GONE, _ANOTHERS, _WAITS = range(4)
"""What a place may be, as the script's `check` has it."""


@dataclass(slots=True)
class _Held:
    place: Place
    value: bytes
    lost: int
    is_settling: bool = False


class RedisMembership:
    """What one worker has of the queue; a `Membership`.

    The server's word is the truth. What is noted here may lag behind it: a reply was lost, the server has lost its
    memory or its last moments, or others took the worker for dead. Each sign of life compares the two.

    Args:
        server: Where the queue is.
        worker: Its name on the server, which no other has or has had.
        since: When it began, in Unix seconds.
        concurrency: As many jobs it takes at once.
        max_attempts: Workers that may be lost with one job.
        lease, claim_wait, announced_for, max_aside: As `RedisJobQueue` has them.
    """

    def __init__(
        self,
        server: JobServer,
        worker: str,
        *,
        since: float,
        concurrency: int,
        max_attempts: int,
        lease: float,
        claim_wait: float,
        announced_for: float,
        max_aside: int,
    ) -> None:
        self._server = server
        self._worker = worker
        self._since = since
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._announced_for = announced_for
        self._max_aside = max_aside
        self._waiting = Waiting(server, worker, wait=claim_wait)
        self._silence = Silence(lease, MAX_GAP)
        self._held: dict[str, _Held] = {}
        self._birth: bytes | None = None
        self._beats = 0
        self._has_unknown = False

    async def claim(self, limit: int) -> Sequence[Job]:
        """At most `limit` jobs, the most urgent first."""
        has_unknown, self._has_unknown = self._has_unknown, False
        try:
            return await self._claim(limit, has_unknown=has_unknown)
        except BaseException:
            self._has_unknown = True  # jobs may have been given all the same
            raise

    async def beat(self) -> Pulse:
        """Give a sign of life, and see to the jobs of workers that give none."""
        self._beats += 1
        word = said(self._beats, self._since, self._concurrency)
        birth, is_known, count, words, silent, overdue = await self._server.run(
            "beat", self._worker, word, self._announced_for
        )
        if birth is None:
            birth = await self._server.found()
        is_new = birth != self._birth
        self._birth = birth
        lost: Sequence[str] = ()
        if is_new or not is_known or count != len(self._held) or self._beats % CHECK_EVERY == 0:
            # What is gone although nobody took this worker for dead, the server has forgotten.
            lost = await self._compare(has_forgotten=bool(is_known) or is_new)
        if count > len(self._held):
            self._has_unknown = True
        await self._bury(words, silent)
        return Pulse(lost, [Overdue(stream_id.decode(), seconds) for stream_id, seconds in overdue])

    async def settle(self, key: str, outcome: Outcome) -> None:
        """Say what became of a job."""
        while (held := self._held.get(key)) is not None:
            place = held.place
            held.is_settling = True  # what is gone from now on was not forgotten
            try:
                await self._let_go(key, held, outcome)
            finally:
                held.is_settling = False
            # It may have been restored meanwhile, or have come back: then it is at another place, and settled there.
            if self._held.get(key) is held and held.place == place:
                del self._held[key]

    async def aclose(self) -> None:
        """Hang up, and say nothing."""
        await self._waiting.aclose()

    async def leave(self, *, is_gone: bool = True) -> None:
        """Let others have what the worker has, or what it never learnt that it has."""
        await self.aclose()
        kept: list[Place] = [] if is_gone else [each.place for each in self._held.values()]
        await self._server.run("leave", self._worker, kept, int(is_gone), self._max_attempts)
        if is_gone:
            self._held.clear()

    async def _claim(self, limit: int, *, has_unknown: bool) -> Sequence[Job]:
        if has_unknown:
            places = self._unknown(await self._server.run("places", self._worker))
        else:
            room = self._room()
            given = await self._server.run("take", self._worker, limit, max(0, room.suspect), max(0, room.last))
            if given:
                return await self._taken(given, limit)
            places = self._unknown(await self._next(room))
        return await self._taken(await self._server.run("fetch", self._worker, places), limit) if places else ()

    def _room(self) -> Room:
        lost = [each.lost for each in self._held.values() if each.lost > 0]
        return room_for(lost, concurrency=self._concurrency, max_attempts=self._max_attempts)

    async def _let_go(self, key: str, held: _Held, outcome: Outcome) -> None:
        where = (self._worker, *held.place, key)
        match outcome:
            case Finished():
                await self._server.run("finish", *where)
            case Released(is_lost=is_lost):
                await self._server.run("release", *where, held.lost + is_lost, self._max_attempts)
            case SetAside(reason=reason):
                await self._set_aside(held.place, key, held.lost, reason)
            case _:
                assert_never(outcome)

    async def _set_aside(self, place: Place, key: str, lost: int, reason: str) -> None:
        where = (self._worker, *place, key, read_key(key)[0])
        await self._server.run("set_aside", *where, lost, reason, self._max_aside)

    async def _next(self, room: Room) -> list[Place]:
        """The places of what comes next."""
        try:
            return await self._waiting.next(room)
        except StoreError:
            await self._server.run("places", self._worker)  # founds the groups anew, where that was it
            raise

    def _unknown(self, places: Sequence[Any]) -> list[Place]:
        known = {each.place for each in self._held.values()}
        found = [(number, _text(entry)) for number, entry in places]
        return [place for place in found if place not in known]

    async def _taken(self, given: Sequence[Any], limit: int) -> Sequence[Job]:
        """Note what was given; what is more than there is room for goes back, and what is here already stays once."""
        jobs: list[Job] = []
        for number, entry, name, lost, value in given:
            key, place = name.decode(), (number, entry.decode())
            try:
                job = decode_job(key, value, int(lost))
            except StoreError as exc:
                await self._set_aside(place, key, int(lost), str(exc))
                continue
            has_room = len(jobs) < limit and (
                job.lost == 0 or self._room().has(begun_queue(job.lost, self._max_attempts))
            )
            before = self._held.get(key)
            self._held[key] = _Held(place, value, job.lost)
            if before is not None:
                await self._server.run("discard", self._worker, *before.place)
            elif has_room:
                jobs.append(job)
            else:
                await self.settle(key, Released(is_lost=False))
        return jobs

    async def _compare(self, *, has_forgotten: bool) -> Sequence[str]:
        """Compare what is noted here with what the server knows; returns the keys of jobs that are another's now."""
        held = list(self._held.items())
        states = await self._server.run("check", self._worker, [each.place for _, each in held])
        lost = []
        for (key, each), state in zip(held, states, strict=True):
            if each.is_settling or self._held.get(key) is not each:
                continue  # it was settled, before the server looked or after
            if state == _WAITS or (state == _GONE and has_forgotten):
                await self._restore(key, each)
            elif state != _MINE:
                del self._held[key]
                lost.append(key)
        return lost

    async def _restore(self, key: str, held: _Held) -> None:
        """Have a job again that this worker runs and the server has forgotten."""
        reply = await self._server.run("restore", self._worker, key, held.lost, *held.place, value=held.value)
        if reply is not None:
            held.place = (RESTORED, reply.decode())

    async def _bury(self, words: Sequence[bytes], silent: Sequence[bytes]) -> None:
        """Let others have the jobs of workers that have been silent for the lease."""
        heard = {name.decode(): word.decode() for name, word in zip(words[::2], words[1::2], strict=True)}
        heard |= {name.decode(): "" for name in silent}
        heard.pop(self._worker, None)
        for worker, word in self._silence.look(asyncio.get_running_loop().time(), heard):
            await self._server.run("bury", worker, word, self._max_attempts)


def _text(entry: bytes | str) -> str:
    return entry if isinstance(entry, str) else entry.decode()
