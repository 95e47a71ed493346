"""The worker when it is told to stop, and when store or queue are away: no job is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import ClosedError, InvalidRequestError, StoreError
from hub.jobs.base import Job, Outcome
from hub.jobs.memory import MemoryJobQueue, MemoryMembership
from hub.streams.memory import MemoryStreamStore
from hub.testing import check_grammar
from hub.worker import Worker, worker_name

from ..contracts.generations import WORDS, Scripts, Store
from ..contracts.samples import in_standing_time, now, turns
from .office import Office


@pytest.fixture
def quiet() -> Iterator[None]:
    """What a test breaks on purpose is logged with its traceback; here that is noise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# Stopping


@in_standing_time
async def test_draining_claims_nothing_more_and_lets_what_runs_end() -> None:
    office = Office([WORDS[:2], 3.0, WORDS[2:]])
    async with office.worker() as worker:
        await office.submit("str_1")
        await turns(30)
        draining = asyncio.create_task(worker.drain(10.0))
        await turns()
        await office.submit("str_2")
        began = now()
        await draining
        assert now() - began <= 3.0
        assert await office.events() == WORDS
        assert await office.waiting() == 1


@pytest.mark.parametrize("way", ["drain", "leave"])
@in_standing_time
async def test_what_can_not_end_in_time_is_handed_over_unfinished_and_at_once(way: str) -> None:
    office = Office([WORDS[:2], asyncio.Event()])
    async with office.worker(max_attempts=1) as worker:
        await office.submit("str_1")
        await turns(30)
        if way == "drain":
            began = now()
            await worker.drain(5.0)
            assert now() - began == 5.0
            assert await office.waiting() == 1
    stream = await office.store.open("str_1")
    assert stream.events == WORDS[:2]
    assert office.generator.generations[0].closed
    async with office.worker(max_attempts=1):
        events = await office.events()
    check_grammar(events)
    assert fold(events).status == "completed"


@in_standing_time
async def test_a_worker_is_entered_once_and_closed_as_often_as_one_likes() -> None:
    worker = Office().worker()
    await worker.drain(1.0)
    async with worker:
        with pytest.raises(ClosedError):
            await worker.__aenter__()
    await worker.aclose()
    await worker.drain(1.0)


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"max_attempts": 0}])
def test_numbers_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InvalidRequestError):
        Worker(Scripts(), MemoryStreamStore(), MemoryJobQueue(), **options)


def test_workers_have_names_of_their_own() -> None:
    assert worker_name() != worker_name()


# Outages


@in_standing_time
async def test_a_store_that_fails_in_mid_stream_loses_no_job(quiet: None) -> None:
    store = Store()
    gate = asyncio.Event()
    office = Office([WORDS[:2], gate, WORDS[2:]], store=store)
    async with office.worker() as worker:
        await office.submit("str_1")
        await turns(30)
        store.fails["append"] = StoreError("away")
        gate.set()
        await turns(30)
        stream = await office.store.open("str_1")
        assert stream.events == WORDS[:2]
        await worker._stop_claiming()
    del store.fails["append"]
    async with office.worker():
        events = await office.events()
    check_grammar(events)
    assert fold(events).status == "completed"


@in_standing_time
async def test_a_store_that_is_away_for_a_while_is_waited_for(quiet: None) -> None:
    store = Store()
    office = Office(store=store)
    await office.submit("str_1")
    store.fails["open"] = StoreError("away")
    async with office.worker():
        await asyncio.sleep(10)
        del store.fails["open"]
        assert fold(await office.events()).status == "completed"
    assert await office.waiting() == 0


class Shaky(MemoryJobQueue):
    """A queue whose members fail where a test wants."""

    def __init__(self, *fails: str) -> None:
        super().__init__(clock=now)
        self.fails = set(fails)

    async def join(self, worker: str, *, concurrency: int, max_attempts: int = 3) -> MemoryMembership:
        queue = self

        class Member(MemoryMembership):
            async def claim(self, limit: int) -> Sequence[Job]:
                queue.check("claim")
                return await super().claim(limit)

            async def settle(self, stream_id: str, outcome: Outcome) -> None:
                queue.check("settle")
                await super().settle(stream_id, outcome)

            async def beat(self) -> Any:
                queue.check("beat")
                return await super().beat()

            async def leave(self, *, is_gone: bool = True) -> None:
                queue.check("leave")
                await super().leave(is_gone=is_gone)

        self.workers.append(Member(self, worker, concurrency, max_attempts))
        return self.workers[-1]

    def check(self, name: str) -> None:
        if name in self.fails:
            raise StoreError("away")


@pytest.mark.parametrize("fails", ["claim", "settle", "beat"])
@in_standing_time
async def test_a_queue_that_is_away_for_a_while_is_waited_for(fails: str, quiet: None) -> None:
    office = Office()
    office.queue = Shaky(fails)
    async with office.worker() as worker:
        await office.submit("str_1")
        await asyncio.sleep(20)
        office.queue.fails.clear()
        assert fold(await office.events()).status == "completed"
        await asyncio.sleep(10)
        assert worker.running == 0
        assert (await office.queue.survey()).workers[0].running == 0


@in_standing_time
async def test_a_queue_that_is_away_keeps_no_worker_from_stopping(quiet: None) -> None:
    office = Office([WORDS[:2], asyncio.Event()])
    office.queue = Shaky()
    async with office.worker() as worker:
        await office.submit("str_1")
        await turns(30)
        office.queue.fails.update(("claim", "settle", "beat", "leave"))
        await worker.drain(1.0)
    assert worker.running == 0
