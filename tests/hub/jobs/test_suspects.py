"""How many jobs a worker has at once with which others were lost."""

from __future__ import annotations

import pytest

from hub.jobs.suspects import Room, begun_queue, room_for


@pytest.mark.parametrize(
    ("max_attempts", "queues"),
    [
        (1, ["again", "again"]),
        (2, ["again", "last", "again"]),
        (3, ["again", "suspect", "last", "again", "again"]),
    ],
)
def test_a_job_waits_where_the_number_of_its_lost_workers_says(max_attempts: int, queues: list[str]) -> None:
    assert [begun_queue(lost, max_attempts) for lost in range(len(queues))] == queues


@pytest.mark.parametrize(("concurrency", "suspects"), [(1, 1), (2, 2), (10, 4), (100, 10)])
def test_an_idle_worker_has_room_for_the_root_of_what_it_takes(concurrency: int, suspects: int) -> None:
    assert room_for([], concurrency=concurrency, max_attempts=3) == Room(suspects, 1)


def test_what_a_worker_has_takes_room_by_its_kind() -> None:
    room = room_for([0, 0, 1, 1, 2, 3, 3], concurrency=100, max_attempts=3)
    assert room == Room(8, 0)
    assert room.is_full
    assert [room.has(queue) for queue in ("again", "suspect", "last", "high")] == [True, True, False, True]
