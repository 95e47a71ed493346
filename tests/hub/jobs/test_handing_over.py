"""A hub that hands its streams over: what is asked is answered, also where an id comes again or a queue fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import StoreError, StreamExistsError, StreamNotFoundError
from hub.hub import Hub
from hub.jobs.base import Priority, SetAside
from hub.jobs.memory import MemoryJobQueue
from hub.jobs.remote import RemoteWorkers
from hub.streams.memory import MemoryStreamStore

from ...contracts.generations import HELLO, Scripts
from ...contracts.samples import in_standing_time, now, turns
from ..office import Office

BYE = [{"role": "user", "content": "Bye"}]

RETENTION = 60.0


@pytest.fixture
def quiet() -> Iterator[None]:
    """What a test breaks on purpose is logged; here that is noise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def an_office() -> Office:
    return Office(store=MemoryStreamStore(retention_ttl=RETENTION, clock=now))


async def expire(office: Office, stream_id: str) -> None:
    await asyncio.sleep(RETENTION + 1)
    with pytest.raises(StreamNotFoundError):
        await office.store.open(stream_id)


@in_standing_time
async def test_a_stream_that_is_cancelled_while_it_waits_leaves_no_job() -> None:
    office = an_office()
    async with Hub(None, office.store, workforce=RemoteWorkers(office.queue)) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await hub.cancel("str_1")
        await asyncio.sleep(2.0)
        assert (await hub.get("str_1")).status == "cancelled"
        assert await office.waiting() == 0


@pytest.mark.parametrize("submits", [True, False], ids=["submitted", "only announced"])
@in_standing_time
async def test_a_job_that_outlives_its_stream_answers_no_later_stream_of_its_id(submits: bool) -> None:
    office = an_office()
    async with Hub(None, office.store, workforce=RemoteWorkers(office.queue)) as hub:
        await office.queue.submit("str_1", {"messages": HELLO}, created_at=now())
        await asyncio.sleep(1.0)
        if submits:
            await hub.start(messages=BYE, stream_id="str_1")
        else:  # the process died before it submitted
            await office.queue.announce("str_1", {"messages": BYE})
            await office.store.create("str_1")
        async with office.worker():
            assert fold(await office.events()).status == "completed"
    assert office.generator.asked == [{"messages": BYE}]
    assert await office.waiting() == 0


@in_standing_time
async def test_an_id_whose_job_was_set_aside_can_be_used_again() -> None:
    office = an_office()
    async with Hub(None, office.store, workforce=RemoteWorkers(office.queue)) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        member = await office.queue.join("w", concurrency=1)
        (job,) = await member.claim(1)
        await member.settle(job.key, SetAside("It was no good."))
        await member.leave()
        await hub.cancel("str_1")
        await asyncio.sleep(2.0)
        await expire(office, "str_1")
        await hub.start(messages=BYE, stream_id="str_1")
        assert await office.queue.drop("str_1")
        async with office.worker():
            assert fold(await office.events()).status == "completed"
    assert office.generator.asked == [{"messages": BYE}]


class Unheard(MemoryJobQueue):
    """A queue that takes no job while a test says so."""

    is_away = True

    async def submit(
        self,
        stream_id: str,
        arguments: Mapping[str, Any],
        *,
        priority: Priority = "normal",
        created_at: float | None = None,
    ) -> None:
        if self.is_away:
            raise StoreError("away")
        await super().submit(stream_id, arguments, priority=priority, created_at=created_at)


@in_standing_time
async def test_a_stream_whose_job_could_not_be_handed_over_is_generated_and_keeps_its_id(quiet: None) -> None:
    office = Office()
    office.queue = Unheard(clock=now)
    async with Hub(None, office.store, workforce=RemoteWorkers(office.queue)) as hub:
        assert (await hub.start(messages=HELLO, stream_id="str_1")).status == "queued"
        with pytest.raises(StreamExistsError):
            await hub.start(messages=HELLO, stream_id="str_1")
        async with office.worker():
            began = now()
            assert fold(await office.events()).status == "completed"
            assert now() - began <= 12.0
        assert (await office.queue.survey()).announced == 0
    assert office.generator.asked == [{"messages": HELLO}]


@in_standing_time
async def test_a_worker_that_still_has_the_job_of_an_expired_stream_takes_the_next_one_s_too() -> None:
    gate = asyncio.Event()
    office = Office([gate], store=MemoryStreamStore(retention_ttl=RETENTION, clock=now))
    async with Hub(None, office.store, workforce=RemoteWorkers(office.queue)) as hub, office.worker() as worker:
        await hub.start(messages=HELLO, stream_id="str_1")
        await turns(30)
        stuck = office.generator.generations[0]
        assert isinstance(office.generator, Scripts)
        epoch = await office.store.take_over("str_1")
        stream = await office.store.open("str_1")
        await office.store.append("str_1", stream.ending("cancelled"), epoch=epoch)
        await expire(office, "str_1")
        await hub.start(messages=BYE, stream_id="str_1")
        assert fold(await office.events()).status == "completed"
        await turns(30)
        assert worker.running == 1
        assert not stuck.closed
        gate.set()
        await turns(30)
        assert worker.running == 0
    assert [each["messages"] for each in office.generator.asked] == [HELLO, BYE]
    assert await office.waiting() == 0
