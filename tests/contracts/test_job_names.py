"""What every queue of jobs promises where ids of streams, or names of workers, come twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.jobs.base import Finished, Job, Released, SetAside

from .job_queues import Queue, job_queues

OLD, NEW = 1_763_769_600.25, 1_763_773_200.5
"""When the earlier and the later stream of an id were made."""


@pytest.fixture(params=job_queues())
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[Queue]:
    async with asyncio.timeout(20), job_queues()[request.param](announced_for=0.0, max_queued=3) as queue:
        yield queue


async def waiting(queue: Queue) -> dict[str, int]:
    return {name: depth.waiting for name, depth in (await queue.survey()).depths.items() if depth.waiting}


# Streams


async def test_a_job_of_a_later_stream_of_the_same_id_is_another_job(queue: Queue) -> None:
    for created_at in (OLD, NEW, NEW):
        await queue.submit("str_1", {"of": created_at}, created_at=created_at)
    member = await queue.join("w", concurrency=5)
    jobs = await member.claim(5)
    assert list(jobs) == [Job("str_1", {"of": each}, created_at=each) for each in (OLD, NEW)]
    await member.settle(jobs[0].key, Finished())
    assert (await queue.survey()).workers[0].running == 1
    await member.settle(jobs[1].key, Released(is_lost=False))
    assert list(await member.claim(5)) == [jobs[1]]


@pytest.mark.parametrize("stream_id", ["a b", "a 1.5", " "])
async def test_an_id_with_spaces_comes_back_as_it_was(stream_id: str, queue: Queue) -> None:
    for created_at in (None, OLD):
        await queue.submit(stream_id, {}, created_at=created_at)
    member = await queue.join("w", concurrency=5)
    assert [(job.stream_id, job.created_at) for job in await member.claim(5)] == [(stream_id, None), (stream_id, OLD)]


async def test_what_was_announced_last_under_an_id_is_what_is_promoted(queue: Queue) -> None:
    await queue.announce("str_1", {"n": 1})
    await queue.announce("str_1", {"n": 2}, priority="low")
    await queue.promote("str_1", created_at=NEW)
    member = await queue.join("w", concurrency=5)
    assert list(await member.claim(5)) == [Job("str_1", {"n": 2}, "low", created_at=NEW)]


@pytest.mark.parametrize("created_at", [None, NEW])
async def test_an_announcement_adds_nothing_to_a_stream_whose_job_is_known(
    created_at: float | None, queue: Queue
) -> None:
    """As by a process that was slower to make the stream, and asked something else under the same id."""
    await queue.submit("str_1", {"n": 1}, created_at=created_at)
    await queue.announce("str_1", {"n": 2})
    await queue.promote("str_1", created_at=NEW)
    assert await waiting(queue) == {"normal": 1}
    member = await queue.join("w", concurrency=5)
    assert [job.arguments for job in await member.claim(5)] == [{"n": 1}]
    await queue.announce("str_1", {"n": 2})
    await queue.promote("str_1", created_at=NEW)
    assert await waiting(queue) == {}
    assert not (await member.beat()).overdue


async def test_an_announcement_of_an_id_whose_earlier_job_waits_still_is_promoted(queue: Queue) -> None:
    await queue.submit("str_1", {"n": 1}, created_at=OLD)
    await queue.announce("str_1", {"n": 2})
    await queue.promote("str_1", created_at=NEW)
    member = await queue.join("w", concurrency=5)
    assert [(job.arguments, job.created_at) for job in await member.claim(5)] == [({"n": 1}, OLD), ({"n": 2}, NEW)]


async def test_a_job_that_is_forgotten_while_it_waits_makes_room_and_is_never_given(queue: Queue) -> None:
    for number in range(3):
        await queue.submit(f"str_{number}", {}, created_at=OLD)
    await queue.forget("str_1", created_at=OLD)
    await queue.forget("str_1", created_at=OLD)
    await queue.forget("str_2", created_at=NEW)  # another stream, which has no job
    await queue.submit("str_3", {}, created_at=OLD)
    member = await queue.join("w", concurrency=5)
    assert [job.stream_id for job in await member.claim(5)] == ["str_0", "str_2", "str_3"]


async def test_a_job_that_a_worker_gave_back_can_be_forgotten(queue: Queue) -> None:
    await queue.submit("str_1", {}, created_at=OLD)
    member = await queue.join("w", concurrency=5)
    (job,) = await member.claim(5)
    await member.settle(job.key, Released(is_lost=True))
    await queue.forget("str_1", created_at=OLD)
    assert await waiting(queue) == {}


async def test_a_job_that_a_worker_has_is_not_forgotten(queue: Queue) -> None:
    await queue.submit("str_1", {}, created_at=OLD)
    member = await queue.join("w", concurrency=5)
    (job,) = await member.claim(5)
    await queue.forget("str_1", created_at=OLD)
    await member.settle(job.key, Released(is_lost=False))
    assert list(await member.claim(5)) == [job]


@pytest.mark.parametrize("created_at", [None, NEW])
async def test_a_job_set_aside_has_nothing_to_do_with_a_later_stream_of_its_id(
    created_at: float | None, queue: Queue
) -> None:
    await queue.submit("str_1", {"n": 1}, created_at=None if created_at is None else OLD)
    member = await queue.join("w", concurrency=5)
    (job,) = await member.claim(5)
    await member.settle(job.key, SetAside("It was no good."))
    await queue.announce("str_1", {"n": 2})
    await queue.submit("str_1", {"n": 2}, created_at=created_at)
    (later,) = await member.claim(5)
    assert later.arguments == {"n": 2}
    assert [each.stream_id for each in (await queue.survey()).aside] == ["str_1"]
    assert await queue.drop("str_1")
    await member.settle(later.key, Released(is_lost=False))
    assert list(await member.claim(5)) == [later]


async def test_of_one_id_the_job_that_was_set_aside_last_is_kept(queue: Queue) -> None:
    member = await queue.join("w", concurrency=5)
    for created_at in (OLD, NEW):
        await queue.submit("str_1", {"of": created_at}, created_at=created_at)
        (job,) = await member.claim(5)
        await member.settle(job.key, SetAside(f"of {created_at}"))
    (aside,) = (await queue.survey()).aside
    assert aside.reason == f"of {NEW}"


# Workers


async def test_two_workers_of_one_name_have_their_jobs_to_themselves(queue: Queue) -> None:
    one, two = [await queue.join("w", concurrency=5) for _ in range(2)]
    for name in ("a", "b"):
        await queue.submit(name, {})
    for member, name in ((one, "a"), (two, "b")):
        assert [job.stream_id for job in await member.claim(1)] == [name]
    for member in (one, two):
        assert not (await member.beat()).lost
    assert [(each.name, each.running) for each in (await queue.survey()).workers] == [("w", 1), ("w", 1)]
    await one.leave()
    assert [(each.name, each.running) for each in (await queue.survey()).workers] == [("w", 1)]
    assert await waiting(queue) == {"again": 1}
