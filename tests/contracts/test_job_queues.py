"""What every queue of jobs promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest

from hub.errors import HubBusyError, InvalidRequestError
from hub.jobs.base import Finished, Job, Membership, Priority, Released, SetAside

from .job_queues import Queue, job_queues

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Héllo\n😀"}], "temperature": 0.5, "stop": None}


class Open(Protocol):
    async def __call__(self, **options: Any) -> Queue: ...


@pytest.fixture(params=job_queues())
async def open_queue(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack, asyncio.timeout(20):

        async def open_it(**options: Any) -> Queue:
            return await stack.enter_async_context(job_queues()[request.param](**options))

        yield open_it


@pytest.fixture
async def queue(open_queue: Open) -> Queue:
    return await open_queue()


async def submit(queue: Queue, *stream_ids: str, priority: Priority = "normal") -> None:
    for stream_id in stream_ids:
        await queue.submit(stream_id, {"n": stream_id}, priority=priority)


async def claimed(member: Membership, limit: int = 10) -> list[str]:
    return names(await member.claim(limit))


def names(jobs: Sequence[Job]) -> list[str]:
    return [job.stream_id for job in jobs]


async def waiting(queue: Queue) -> dict[str, int]:
    return {name: depth.waiting for name, depth in (await queue.survey()).depths.items() if depth.waiting}


# Taking


async def test_a_job_comes_with_what_was_asked(queue: Queue) -> None:
    await queue.submit("str_1", ASKED, priority="low")
    member = await queue.join("w", concurrency=5)
    assert list(await member.claim(5)) == [Job("str_1", ASKED, "low", 0)]


async def test_the_most_urgent_jobs_go_first_and_equal_ones_in_their_order(queue: Queue) -> None:
    await submit(queue, "low_1", priority="low")
    await submit(queue, "normal_1", "normal_2")
    await submit(queue, "high_1", "high_2", priority="high")
    member = await queue.join("w", concurrency=5)
    assert await claimed(member) == ["high_1", "high_2", "normal_1", "normal_2", "low_1"]


async def test_no_more_jobs_are_given_than_there_is_room_for(queue: Queue) -> None:
    await submit(queue, "a", "b", priority="high")
    await submit(queue, "c")
    member = await queue.join("w", concurrency=2)
    assert await claimed(member, 1) == ["a"]
    assert await claimed(member, 1) == ["b"]
    assert await waiting(queue) == {"normal": 1}


async def test_a_claim_that_finds_nothing_comes_back_empty(queue: Queue) -> None:
    member = await queue.join("w", concurrency=1)
    assert await claimed(member) == []
    assert await claimed(member) == []


async def test_a_worker_that_waits_is_given_what_comes(open_queue: Open) -> None:
    queue = await open_queue(claim_wait=10.0)
    member = await queue.join("w", concurrency=1)
    claim = asyncio.create_task(claimed(member))
    for _ in range(20):  # until it waits on the server
        await member.beat()
    await submit(queue, "a")
    assert await claim == ["a"]


async def test_two_workers_never_have_the_same_job(queue: Queue) -> None:
    members = [await queue.join(name, concurrency=50) for name in ("one", "two")]
    stream_ids = [f"str_{number}" for number in range(40)]
    found: list[str] = []

    async def take(member: Membership) -> None:
        while len(found) < len(stream_ids):
            found.extend(await claimed(member, 3))

    async with asyncio.TaskGroup() as tasks:
        for member in members:
            tasks.create_task(take(member))
        await submit(queue, *stream_ids)
    assert sorted(found) == sorted(stream_ids)


async def test_a_job_is_taken_once_however_often_it_is_submitted(queue: Queue) -> None:
    await submit(queue, "a", "a")
    member = await queue.join("w", concurrency=5)
    assert await claimed(member) == ["a"]
    await submit(queue, "a")
    assert await claimed(member) == []


# Settling


async def test_a_finished_job_is_forgotten(queue: Queue) -> None:
    await submit(queue, "a")
    member = await queue.join("w", concurrency=5)
    await claimed(member)
    await member.settle("a", Finished())
    await member.settle("a", Finished())
    assert (await queue.survey()).workers[0].running == 0
    await member.leave()
    assert await waiting(queue) == {}
    await submit(queue, "a")
    assert await waiting(queue) == {"normal": 1}


@pytest.mark.parametrize("is_lost", [True, False])
async def test_a_released_job_goes_before_all_others(is_lost: bool, queue: Queue) -> None:
    await queue.submit("a", ASKED, priority="low")
    member = await queue.join("w", concurrency=5)
    await claimed(member)
    await submit(queue, "b", priority="high")
    await member.settle("a", Released(is_lost=is_lost))
    assert list(await member.claim(1)) == [Job("a", ASKED, "low", int(is_lost))]


async def test_a_job_set_aside_is_kept_and_not_given_again(queue: Queue) -> None:
    await submit(queue, "a", priority="high")
    member = await queue.join("w", concurrency=5)
    await claimed(member)
    await member.settle("a", Released(is_lost=True))
    await claimed(member)
    await member.settle("a", SetAside("It was no good."))
    await member.leave()
    found = await queue.survey()
    (job,) = found.aside
    assert (job.stream_id, job.reason, job.lost, job.priority) == ("a", "It was no good.", 1, "high")
    assert not any(depth.waiting for depth in found.depths.values())
    assert await queue.drop("a")
    assert not await queue.drop("a")
    assert not (await queue.survey()).aside


async def test_what_a_worker_leaves_others_have_at_once(queue: Queue) -> None:
    await submit(queue, "a", "b", "c")
    one, two = [await queue.join(name, concurrency=5) for name in ("one", "two")]
    assert await claimed(one, 2) == ["a", "b"]
    await one.leave()
    await one.leave()
    jobs = await two.claim(5)
    assert names(jobs) == ["a", "b", "c"]
    assert [job.lost for job in jobs] == [0, 0, 0]
    assert [worker.name for worker in (await queue.survey()).workers] == ["two"]


async def test_a_worker_that_stops_claiming_keeps_what_it_knows_of(queue: Queue) -> None:
    await submit(queue, "a")
    member = await queue.join("w", concurrency=5)
    await claimed(member)
    await member.leave(is_gone=False)
    assert await waiting(queue) == {}
    await member.settle("a", Finished())
    assert not (await member.beat()).lost


async def test_a_sign_of_life_changes_nothing_for_a_worker_that_is_fine(queue: Queue) -> None:
    await submit(queue, "a", "b")
    member = await queue.join("w", concurrency=5)
    await claimed(member, 1)
    for _ in range(3):
        pulse = await member.beat()
        assert (list(pulse.lost), list(pulse.overdue)) == ([], [])
    assert await claimed(member) == ["b"]


# Announcing


async def test_what_is_only_announced_is_not_given(queue: Queue) -> None:
    member = await queue.join("w", concurrency=5)
    await queue.announce("a", ASKED, priority="high")
    assert await claimed(member) == []
    assert (await queue.survey()).announced == 1
    await queue.submit("a", ASKED, priority="high")
    assert list(await member.claim(1)) == [Job("a", ASKED, "high")]
    assert (await queue.survey()).announced == 0


async def test_what_stays_announced_is_overdue_and_can_be_promoted(open_queue: Open) -> None:
    queue = await open_queue(announced_for=0.0)
    member = await queue.join("w", concurrency=5)
    await queue.announce("a", ASKED, priority="low")
    (overdue,) = (await member.beat()).overdue
    assert overdue.stream_id == "a"
    assert overdue.seconds < 10
    await queue.promote("a")
    await queue.promote("a")
    assert list(await member.claim(5)) == [Job("a", ASKED, "low")]
    await queue.submit("a", ASKED, priority="low")
    assert await claimed(member) == []
    assert not (await member.beat()).overdue


async def test_what_was_withdrawn_is_forgotten(queue: Queue) -> None:
    await queue.announce("a", ASKED)
    await queue.withdraw("a")
    await queue.promote("a")
    assert (await queue.survey()).announced == 0
    assert await waiting(queue) == {}


async def test_withdrawing_touches_no_job_that_waits(queue: Queue) -> None:
    await submit(queue, "a")
    await queue.announce("a", ASKED)
    await queue.withdraw("a")
    assert await waiting(queue) == {"normal": 1}


async def test_what_another_worker_has_seen_to_is_submitted_once(queue: Queue) -> None:
    await queue.announce("a", ASKED)
    await queue.promote("a")
    await queue.submit("a", ASKED)
    assert await waiting(queue) == {"normal": 1}


# Bounds


async def test_no_more_jobs_wait_than_may(open_queue: Open) -> None:
    queue = await open_queue(max_queued=2)
    await submit(queue, "a", "b")
    for call in (queue.submit, queue.announce):
        with pytest.raises(HubBusyError) as raised:
            await call("c", {})
        assert raised.value.retry_after > 0
    member = await queue.join("w", concurrency=5)
    assert await claimed(member, 1) == ["a"]
    await submit(queue, "c")


async def test_what_was_announced_is_never_refused(open_queue: Open) -> None:
    queue = await open_queue(max_queued=1)
    await queue.announce("a", {})
    with pytest.raises(HubBusyError):
        await queue.announce("b", {})
    await submit(queue, "a")
    assert await waiting(queue) == {"normal": 1}


@pytest.mark.parametrize("arguments", [{"messages": object()}, {"messages": "\ud83d"}, {1.5: {}, "a": {2j}}])
async def test_arguments_that_are_no_json_are_refused(arguments: Any, queue: Queue) -> None:
    for call in (queue.submit, queue.announce):
        with pytest.raises(InvalidRequestError):
            await call("a", arguments)
    assert await waiting(queue) == {}


async def test_an_unknown_priority_is_refused(queue: Queue) -> None:
    with pytest.raises(InvalidRequestError, match="high, normal, low"):
        await queue.submit("a", {}, priority="urgent")  # type: ignore[arg-type]


# Looking


async def test_the_survey_says_what_waits_since_when_and_who_works(queue: Queue) -> None:
    await submit(queue, "a", "b", "c")
    await submit(queue, "d", priority="low")
    member = await queue.join("w", concurrency=7)
    await claimed(member, 2)
    found = await queue.survey()
    assert {name: depth.waiting for name, depth in found.depths.items()} == {
        "again": 0,
        "high": 0,
        "normal": 1,
        "low": 1,
    }
    assert found.depths["high"].oldest is None
    oldest = found.depths["normal"].oldest
    assert oldest is not None
    assert 0 <= oldest < 10
    (worker,) = found.workers
    assert (worker.name, worker.concurrency, worker.running) == ("w", 7, 2)
