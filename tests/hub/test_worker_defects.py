"""The worker where something of ours breaks: not round and round, and not for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from hub.jobs.base import Job
from hub.jobs.carrying import carry_out
from hub.streams.memory import MemoryStreamStore

from ..contracts.generations import HELLO, WORDS, Scripts
from ..contracts.samples import in_standing_time, now, turns
from .office import Office


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What a test breaks on purpose is logged with its traceback; here that is noise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Defect(MemoryStreamStore):
    """A store in which nobody can take a stream over."""

    def __init__(self) -> None:
        super().__init__()
        self.tried_at: list[float] = []

    async def take_over(self, stream_id: str) -> int:
        self.tried_at.append(now())
        raise TypeError("a defect")


@in_standing_time
async def test_a_job_that_a_defect_ends_is_tried_a_little_later_and_set_aside_in_the_end() -> None:
    store = Defect()
    office = Office(store=store)
    async with office.worker(max_attempts=3) as worker:
        await office.submit("str_1")
        await asyncio.sleep(60)
        assert worker.running == 0
        assert [after - before for before, after in zip(store.tried_at, store.tried_at[1:], strict=False)] == [2.0] * 3
        (job,) = (await office.queue.survey()).aside
        assert (job.stream_id, job.lost) == ("str_1", 3)
        assert "internal error" in job.reason
    assert await office.waiting() == 0


@in_standing_time
async def test_two_that_write_one_stream_in_turns_come_to_an_end() -> None:
    """As where a stream has two jobs: whoever takes it over refuses the other, which has its job still."""
    gate = asyncio.Event()
    office = Office([WORDS[:2], gate, WORDS[2:]])
    async with office.worker(max_attempts=1):
        await office.submit("str_1")
        await turns(30)
        await office.store.take_over("str_1")
        gate.set()
        await office.events()
        await turns(30)
    (job,) = (await office.queue.survey()).aside
    assert (job.stream_id, job.lost) == ("str_1", 1)


@in_standing_time
async def test_the_job_of_an_earlier_stream_writes_nothing_into_a_later_one() -> None:
    store, generator = MemoryStreamStore(clock=lambda: 9.0), Scripts()
    await store.create("str_1")
    await carry_out(Job("str_1", {"messages": HELLO}, created_at=5.0), generator, store, max_attempts=3)
    assert generator.asked == []
    assert (await store.open("str_1")).events == []
    await carry_out(Job("str_1", {"messages": HELLO}, created_at=9.0), generator, store, max_attempts=3)
    assert (await store.open("str_1")).is_closed
