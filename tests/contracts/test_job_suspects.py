"""What every queue of jobs promises where a job takes its workers with it, and nobody knows which."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from hub.jobs.base import Finished, Job, Membership, Released, SetAside

from .job_queues import Queue, job_queues


@pytest.fixture(params=job_queues())
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[Queue]:
    async with asyncio.timeout(60), job_queues()[request.param](claim_wait=0.005) as queue:
        yield queue


async def lost(queue: Queue, *stream_ids: str, times: int) -> None:
    """So many workers have been lost with each of these jobs."""
    for stream_id in stream_ids:
        await queue.submit(stream_id, {}, priority="high")
    for _ in range(times):
        members = {stream_id: await queue.join("lost", concurrency=1) for stream_id in stream_ids}
        for stream_id, member in members.items():
            assert names(await member.claim(1)) == [stream_id]
        for stream_id, member in members.items():
            await member.settle(stream_id, Released(is_lost=True))
            await member.leave()


def names(jobs: Sequence[Job]) -> list[str]:
    return [job.stream_id for job in jobs]


async def test_a_worker_takes_few_suspects_at_once_and_new_jobs_as_ever(queue: Queue) -> None:
    await lost(queue, "a", "b", "c", times=1)
    await queue.submit("new", {})
    one, two = [await queue.join(name, concurrency=4) for name in ("one", "two")]
    assert names(await one.claim(4)) == ["a", "b", "new"]
    assert names(await one.claim(1)) == []
    await one.settle("a", Finished())
    assert names(await one.claim(1)) == ["c"]
    await one.settle("c", Released(is_lost=False))
    assert names(await two.claim(1)) == ["c"]
    assert [depth.waiting for depth in (await queue.survey()).depths.values()] == [0, 0, 0, 0]


async def test_a_worker_takes_one_job_at_once_that_is_on_its_last_try(queue: Queue) -> None:
    await lost(queue, "a", "b", times=2)
    assert (await queue.survey()).depths["again"].waiting == 2
    one, two = [await queue.join(name, concurrency=100) for name in ("one", "two")]
    assert names(await one.claim(5)) == ["a"]
    assert names(await one.claim(5)) == []
    assert names(await two.claim(5)) == ["b"]
    await one.leave()
    await two.settle("b", Finished())
    assert [(job.stream_id, job.lost) for job in await two.claim(5)] == [("a", 2)]


async def test_jobs_that_are_only_to_be_given_up_wait_for_nobody(queue: Queue) -> None:
    await lost(queue, "a", "b", "c", times=3)
    member = await queue.join("w", concurrency=4)
    assert names(await member.claim(4)) == ["a", "b", "c"]


async def test_a_worker_that_waits_learns_that_it_has_room_for_a_suspect_again(queue: Queue) -> None:
    await lost(queue, "a", "b", times=2)
    member = await queue.join("w", concurrency=5)
    assert names(await member.claim(5)) == ["a"]
    claim = asyncio.create_task(claimed_at_last(member))
    await asyncio.sleep(0)
    await member.settle("a", Finished())
    assert names(await claim) == ["b"]


async def claimed_at_last(member: Membership) -> Sequence[Job]:
    while True:
        if jobs := await member.claim(5):
            return jobs


@pytest.mark.parametrize("max_attempts", [2, 3])
async def test_one_job_that_takes_its_workers_with_it_never_has_another_one_given_up(
    max_attempts: int, queue: Queue
) -> None:
    """Two workers; whichever runs the poison ends with all it has, at some time."""
    rand = random.Random(7)
    due = {f"str_{number}" for number in range(25)}
    for stream_id in rand.sample([*sorted(due), "poison"], len(due) + 1):
        await queue.submit(stream_id, {})
    members = [await queue.join(name, concurrency=12, max_attempts=max_attempts) for name in ("one", "two")]
    running: list[dict[str, Job]] = [{}, {}]
    deaths, is_aside = 0, False
    while due or not is_aside:
        here = rand.randrange(2)
        member, mine = members[here], running[here]
        if len(mine) < 12 and (not mine or rand.random() < 0.2):
            mine |= {job.stream_id: job for job in await member.claim(12 - len(mine))}
        if (poison := mine.get("poison")) is not None and poison.lost >= max_attempts:
            await member.settle("poison", SetAside("It was the poison."))
            del mine["poison"]
            is_aside = True
        elif poison is not None and rand.random() < 0.5:
            deaths += 1
            for stream_id in mine:
                await member.settle(stream_id, Released(is_lost=True))
            mine.clear()
        elif names_here := [name for name in mine if name != "poison"]:
            done = rand.choice(names_here)
            assert mine.pop(done).lost < max_attempts, "an innocent one would be given up"
            await member.settle(done, Finished())
            due.remove(done)
    assert deaths == max_attempts
    assert names((await queue.survey()).aside) == ["poison"]  # type: ignore[arg-type]
