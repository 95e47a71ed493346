"""One round of one fault: streams under way, something that goes wrong, and what has to be true in the end."""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
import msgspec

from hub.completion import fold
from hub.events import LLMEvent, Meta, Snapshot, TextDelta, decode_event
from hub.result import LLMResult
from tests.faults.checks import check_agreement, check_end, check_events
from tests.faults.endpoint import Question
from tests.faults.harness import Station, World
from tests.faults.subscriber import Subscriber

__all__ = ("Fault", "Outcome", "Trial", "run_round")

ROUND_TIMEOUT = 110.0
RETRY_PAUSE = 0.2
STILL_TIMEOUT = 60.0
"""Seconds after the fault is over by which every reader has its `done`."""

Inject = Callable[["Trial"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in a round.

    Attributes:
        name: As the table has it.
        inject: Makes it happen; returns once whatever was broken is whole again, or is for others to take over.
        servers: Which kind of servers it happens to: `one`, `sentinel` or `cluster`.
        streams: How many are under way.
        readers: How many each of them has.
        tokens, rate: Between which bounds an answer's tokens are, and how many a second.
        late: How many streams are asked for while it happens.
        cancelled: How likely it is that somebody stops a stream.
        may_fail: Codes with which streams may end.
        through_door: Readers come through the proxies.
        has_aside: At least one job is set aside.
        may_vanish: A stream may be lost together with everybody who could write it again; it ends all the same.
    """

    name: str
    inject: Inject
    servers: str = "one"
    streams: int = 5
    readers: int = 3
    tokens: tuple[int, int] = (40, 200)
    rate: tuple[float, float] = (50.0, 200.0)
    late: int = 1
    cancelled: float = 0.1
    may_fail: frozenset[str] = frozenset()
    through_door: bool = False
    has_aside: bool = False
    may_vanish: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a round: what was wrong, and the seconds that it took to notice and to take over or go on."""

    wrong: list[str] = field(default_factory=list)
    noticed: list[float] = field(default_factory=list)
    resumed: list[float] = field(default_factory=list)
    refusals: Counter[int] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    vanished: int = 0


@dataclass(slots=True)
class Asked:
    """A stream under way."""

    question: Question
    key: str
    stream_id: str = ""
    is_cancelled: bool = False
    readers: list[Subscriber] = field(default_factory=list)


class Trial:
    """One round.

    Args:
        world: Whole.
        fault: What is to go wrong.
        rand: When and where.
        name: Of the round, unlike all others.
    """

    def __init__(self, world: World, fault: Fault, rand: Random, name: str) -> None:
        self.world = world
        self.rand = rand
        self.outcome = Outcome()
        self.streams: list[Asked] = []
        self._fault = fault
        self._name = name
        self._tasks: asyncio.TaskGroup | None = None
        self._began_at = 0.0
        self._lifted_at = 0.0

    async def run(self) -> None:
        """Run it, and note in `outcome` what came of it."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as self._tasks:
            early = [asyncio.create_task(self._ask(self._stream())) for _ in range(self._fault.streams)]
            await asyncio.wait(early)
            self.outcome.wrong += [wrong for task in early for wrong in task.result()]
            for asked in self.streams:
                if self.rand.random() < self._fault.cancelled:
                    self.start(self._cancel(asked))
            await asyncio.sleep(self.rand.uniform(0.05, 1.2))
            self._began_at = self._lifted_at = loop.time()
            for _ in range(self._fault.late):
                self.start(self._ask_late(self._stream()))
            await self._fault.inject(self)
            self._lifted_at = loop.time()
            self._tasks.create_task(self._hurry())
        self._measure()
        for number, asked in enumerate(self.streams):
            wrong = await self._wrong_with(asked)
            self.outcome.wrong += [f"{number} {asked.stream_id}: {each}" for each in wrong]

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside all else; the round waits for it."""
        assert self._tasks is not None
        self._tasks.create_task(work)

    def some(self, stations: list[Station]) -> Station:
        """One of them."""
        return self.rand.choice(stations)

    def unfinished(self) -> list[Asked]:
        """The streams that some reader reads still."""
        return [asked for asked in self.streams if not all(reader.is_done for reader in asked.readers)]

    async def _hurry(self) -> None:
        """Let nobody wait for ever."""
        until = asyncio.get_running_loop().time() + STILL_TIMEOUT
        while self.unfinished() or not all(asked.stream_id for asked in self.streams):
            await asyncio.sleep(0.1)
            if asyncio.get_running_loop().time() > until:
                stuck = await asyncio.to_thread(lambda: [self._told_of(asked) for asked in self.unfinished()])
                raise TimeoutError(f"{STILL_TIMEOUT:.0f} s later some streams have no end: {'; '.join(stuck)}")

    def _told_of(self, asked: Asked) -> str:
        """Where a stream stands, for its readers and in the servers."""
        with self.world.servers.client() as client:
            state = client.hgetall(f"hub:{{{asked.stream_id}}}:state")
            length = client.xlen(f"hub:{{{asked.stream_id}}}:log")
            job = dict(client.hscan_iter("{hub:jobs}:jobs", match=f"{asked.stream_id}*"))
        positions = [reader.last_seq for reader in asked.readers]
        attempts = [each.port for each in self.world.answering.asked_for(asked.key)]
        return f"{asked.stream_id} at {positions}, asked for at {attempts}, {length} entries, {state}, job {job}"

    def _stream(self) -> Asked:
        label = f"{self._name}-{len(self.streams)}"
        tokens = self.rand.randint(*self._fault.tokens)
        asked = Asked(Question(label, tokens, round(self.rand.uniform(*self._fault.rate), 1)), label)
        self.streams.append(asked)
        return asked

    async def _ask(self, asked: Asked) -> list[str]:
        """Begin a stream, and its readers."""
        web = self.some(self.world.webs)
        async with self._post(web, asked) as response:
            if response.status != 201:
                return [f"{asked.key} was answered by {response.status}: {await response.text()}"]
            asked.stream_id = (await response.json())["stream_id"]
        self._begin_readers(asked)
        return []

    async def _ask_late(self, asked: Asked) -> None:
        """Begin a stream as often as it takes, while things go wrong."""
        await asyncio.sleep(self.rand.uniform(0, 1))
        while True:
            try:
                async with asyncio.timeout(20), self._post(self.some(self.world.webs), asked) as response:
                    if response.status == 201:
                        asked.stream_id = (await response.json())["stream_id"]
                        break
                    if response.status < 500:
                        self.outcome.wrong.append(f"{asked.key}: {response.status}: {await response.text()}")
                    self.outcome.refusals[response.status] += 1
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            await asyncio.sleep(RETRY_PAUSE)
        self._begin_readers(asked)

    async def _cancel(self, asked: Asked) -> None:
        """Stop a stream, at any web process, as often as it takes."""
        asked.is_cancelled = True
        await asyncio.sleep(self.rand.uniform(0, 2))
        while not all(reader.is_done for reader in asked.readers):
            try:
                url = f"{self.some(self.world.webs).url}/v1/streams/{asked.stream_id}"
                async with asyncio.timeout(10), self.world.http.delete(url) as response:
                    if response.status == 202:
                        return
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            await asyncio.sleep(RETRY_PAUSE)

    def _post(self, web: Station, asked: Asked) -> Any:
        content = msgspec.json.encode(asked.question).decode()
        body = {"messages": [{"role": "user", "content": content}]}
        return self.world.http.post(f"{web.url}/v1/streams", json=body, headers={"Idempotency-Key": asked.key})

    def _begin_readers(self, asked: Asked) -> None:
        urls = [web.door_url if self._fault.through_door else web.url for web in self.world.webs]
        for number in range(self._fault.readers):
            first = number % len(urls)
            # Of two that begin at the same web process one comes back to it, and the other goes on elsewhere.
            own = [urls[first]] if number % 4 < 2 and len(urls) > 1 else [*urls[first:], *urls[:first]]
            reader = Subscriber(self.world.http, asked.stream_id, own, Random(self.rand.random()))
            asked.readers.append(reader)
            self.start(reader.run())

    async def _wrong_with(self, asked: Asked) -> list[str]:
        """What is wrong with a stream after all."""
        wrong = [wrong for reader in asked.readers for wrong in reader.wrong or check_events(reader.events)]
        if wrong or not asked.readers:
            return [*wrong[:3], *([f"and {len(wrong) - 3} more"] if len(wrong) > 3 else [])]
        readings = [reader.events for reader in asked.readers if self._counts(reader)]
        if not readings:
            return wrong
        result = fold(readings[0])
        kept = await asyncio.to_thread(self._kept, asked)
        if self._fault.may_vanish and not kept and _is_gone(result):
            self.outcome.vanished += 1
            return []
        self.outcome.attempts[result.attempt] += 1
        if not (asked.is_cancelled and result.status == "cancelled"):
            wrong += check_end(result, asked.question.tokens, self._fault.may_fail)
        served = [await self._get(web, asked) for web in self.world.webs]
        wrong += check_agreement([*readings, kept], served)
        for web in self.world.webs:
            async with self._post(web, asked) as response:
                repeated = (await response.json()).get("stream_id")
                if repeated != asked.stream_id:
                    wrong.append(f"asked again with its key, another answer: {response.status} {repeated}")
        for reader in asked.readers:
            self.outcome.refusals += reader.refusals
        return wrong

    def _counts(self, reader: Subscriber) -> bool:
        """Whether it has what the others have: not where it had its `done` before that was lost, writer and all."""
        return not self._fault.may_vanish or reader.heard_at[-1] > self._lifted_at

    async def _get(self, web: Station, asked: Asked) -> LLMResult:
        async with self.world.http.get(f"{web.url}/v1/streams/{asked.stream_id}") as response:
            body = await response.read()
            if response.status != 200:
                raise AssertionError(f"GET {asked.stream_id} was answered by {response.status}: {body.decode()}")
            return msgspec.json.decode(body, type=LLMResult)

    def _kept(self, asked: Asked) -> list[LLMEvent]:
        """The log as it is in the servers, read without the hub."""
        with self.world.servers.client() as client:
            entries = client.xrange(f"hub:{{{asked.stream_id}}}:log")
        return [decode_event(fields[b"event"]) for _, fields in entries]

    def _measure(self) -> None:
        for asked in self.streams:
            for reader in asked.readers[:2]:
                self._measure_reader(reader)

    def _measure_reader(self, reader: Subscriber) -> None:
        heard = [(at, event) for at, event in zip(reader.heard_at, reader.events, strict=True) if at >= self._began_at]
        noticed = next((at for at, event in heard if _is_taken_over(event)), None)
        if noticed is not None:
            self.outcome.noticed.append(noticed - self._began_at)
            self.outcome.resumed += _first(
                at - self._began_at for at, event in heard if at > noticed and isinstance(event, TextDelta)
            )
        elif reader.heard_at and reader.heard_at[0] < self._began_at:
            self.outcome.resumed += _first(at - self._lifted_at for at, _ in heard if at >= self._lifted_at)


def _is_gone(result: LLMResult) -> bool:
    return result.error is not None and result.error.code == "store_unavailable"


def _first(seconds: Iterator[float]) -> list[float]:
    return [each for each in [next(iter(seconds), None)] if each is not None]


def _is_taken_over(event: LLMEvent) -> bool:
    match event:
        case Snapshot(reason="takeover"):
            return True
        case Meta(attempt=attempt):
            return attempt > 1
        case _:
            return False


async def run_round(world: World, fault: Fault, seed: str) -> Outcome:
    """Run one round in a world that is made whole first.

    Args:
        world: What it happens to.
        fault: What is to happen.
        seed: Of everything that is left to chance, unlike any other of this world.
    """
    trial = Trial(world, fault, Random(seed), seed)
    outcome = trial.outcome
    try:
        await asyncio.to_thread(world.servers.mend)
        async with asyncio.timeout(ROUND_TIMEOUT):
            await trial.run()
    except BaseExceptionGroup as group:
        outcome.wrong += _sentences(group)
    except Exception as exc:
        outcome.wrong += _sentences(exc)
    await world.mend()
    if fault.has_aside and not await world.drop_aside():
        outcome.wrong.append("no job was set aside")
    outcome.wrong += [*await world.leftovers(), *await world.leaks()]
    return outcome


def _sentences(exc: BaseException) -> list[str]:
    if isinstance(exc, BaseExceptionGroup):
        return [each for inner in exc.exceptions for each in _sentences(inner)]
    where = traceback.extract_tb(exc.__traceback__)[-1]
    return [f"{type(exc).__name__}: {exc} ({where.name}, line {where.lineno})"]
