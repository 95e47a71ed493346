"""The worker: each job becomes one log with one end, whoever dies, waits, refuses or is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub.completion import fold
from hub.hub import Hub
from hub.jobs.base import Job
from hub.recording import end, takeover
from hub.testing import check_grammar

from ..contracts.generations import HELLO, WORDS, Scripted, Scripts, whole
from ..contracts.samples import a_stream, in_standing_time, turns
from .office import Office


@pytest.fixture
def quiet() -> Iterator[None]:
    """What a test breaks on purpose is logged with its traceback; here that is noise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# Carrying out


@in_standing_time
async def test_a_job_is_written_to_its_end_and_forgotten() -> None:
    office = Office([WORDS[:2], WORDS[2:]])
    async with office.worker() as worker:
        await office.submit("str_1", temperature=0.5)
        assert await office.events() == WORDS
        await turns()
        assert worker.running == 0
        assert office.generator.asked == [{"messages": HELLO, "temperature": 0.5}]
        assert (await office.queue.survey()).workers[0].running == 0
    assert await office.waiting() == 0
    assert not (await office.queue.survey()).workers


@in_standing_time
async def test_no_more_run_at_once_than_may() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    office = Office(*[[gate, a_stream("a", stream_id=f"str_{n}")] for n, gate in enumerate(gates)])
    async with office.worker(concurrency=2) as worker:
        await office.submit("str_0", "str_1", "str_2")
        await turns(30)
        assert worker.running == 2
        assert await office.waiting() == 1
        gates[0].set()
        await office.events("str_0")
        await turns(30)
        assert worker.running == 2
        for gate in gates:
            gate.set()
        await office.events("str_1")
        await office.events("str_2")


@in_standing_time
async def test_a_stream_that_has_ended_is_not_generated() -> None:
    office = Office()
    await office.submit("str_1")
    await end(await office.store.open("str_1"), office.store, 1)
    before = await office.events()
    async with office.worker():
        await turns(30)
    assert await office.events() == before
    assert office.generator.asked == []
    assert await office.waiting() == 0


@in_standing_time
async def test_a_stream_cancelled_before_anybody_took_it_up_ends_at_once_and_asks_nobody() -> None:
    office = Office()
    await office.submit("str_1")
    await office.store.cancel("str_1")
    async with office.worker():
        events = await office.events()
    check_grammar(events)
    assert fold(events).status == "cancelled"
    assert office.generator.asked == []
    assert await office.waiting() == 0


@in_standing_time
async def test_a_stream_is_cancelled_while_it_runs() -> None:
    office = Office([WORDS[:2], asyncio.Event()])
    async with office.worker():
        await office.submit("str_1")
        await turns(30)
        await office.store.cancel("str_1")
        events = await office.events()
    check_grammar(events)
    assert fold(events).status == "cancelled"
    assert fold(events).text == "Hello"


@in_standing_time
async def test_a_stream_that_another_worker_has_begun_goes_on_as_a_further_attempt() -> None:
    office = Office()
    await office.submit("str_1")
    await office.store.append("str_1", WORDS[:2], epoch=1)
    async with office.worker():
        events = await office.events()
    check_grammar(events)
    assert [event.type for event in events].count("done") == 1
    snapshot, meta = events[2], next(event for event in events[3:] if event.type == "meta")
    assert (snapshot.type, getattr(snapshot, "reason", None)) == ("snapshot", "takeover")
    assert meta.attempt == 2
    assert fold(events).text == "Hello"
    assert fold(events).status == "completed"


@in_standing_time
async def test_arguments_that_the_generator_refuses_end_the_stream_for_good() -> None:
    office = Office()
    await office.submit("str_1", messages=[])
    async with office.worker():
        events = await office.events()
        await turns(30)
    check_grammar(events)
    error = fold(events).error
    assert error is not None
    assert (error.code, error.message, error.retryable) == ("invalid_request", "messages is empty", False)
    assert await office.waiting() == 0


@in_standing_time
async def test_a_generator_that_breaks_ends_the_stream_and_takes_nobody_with_it(quiet: None) -> None:
    class Broken(Scripts):
        def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Scripted:
            if stream_id == "str_1":
                raise KeyError("a bug with a secret")
            return super().stream(stream_id=stream_id, messages=messages, **params)

    office = Office()
    office.generator = Broken()
    async with office.worker():
        await office.submit("str_1", "str_2")
        events = await office.events()
        assert fold(await office.events("str_2")).status == "completed"
    error = fold(events).error
    assert error is not None
    assert error.code == "interrupted"
    assert "secret" not in repr(events)
    assert await office.waiting() == 0


@pytest.mark.parametrize("said", [0, 2])
@in_standing_time
async def test_a_job_that_has_cost_too_many_workers_ends_and_is_set_aside(said: int) -> None:
    office = Office()
    await office.submit("str_1")
    await office.store.append("str_1", WORDS[:said], epoch=1)
    await office.lost(times=3)
    async with office.worker(max_attempts=3):
        events = await office.events()
        await turns(30)
    check_grammar(events)
    error = fold(events).error
    assert error is not None
    assert (error.code, error.retryable) == ("worker_lost", True)
    assert office.generator.asked == []
    (job,) = (await office.queue.survey()).aside
    assert (job.stream_id, job.lost) == ("str_1", 3)
    assert "3 workers were lost" in job.reason


@in_standing_time
async def test_a_job_has_another_try_while_it_may() -> None:
    office = Office()
    await office.submit("str_1")
    await office.lost(times=2)
    async with office.worker(max_attempts=3):
        assert fold(await office.events()).status == "completed"


@in_standing_time
async def test_a_job_whose_stream_is_gone_is_dropped() -> None:
    office = Office()
    await office.queue.submit("str_1", {"messages": HELLO})
    async with office.worker():
        await turns(30)
    assert await office.waiting() == 0
    assert office.generator.asked == []


# Fencing


@in_standing_time
async def test_a_worker_that_was_only_slow_writes_nothing_more() -> None:
    gate = asyncio.Event()
    office = Office([WORDS[:2], gate, WORDS[2:]])
    async with office.worker() as worker:
        await office.submit("str_1")
        await turns(30)
        epoch = await office.store.take_over("str_1")
        stream = await office.store.open("str_1")
        snapshot = takeover(stream)
        assert snapshot is not None
        await office.store.append("str_1", [snapshot], epoch=epoch)
        before = list(stream.events)
        office.generator._scripts.append([asyncio.Event()])
        worker._draining = True
        await worker._stop_claiming()
        gate.set()
        await turns(30)
        assert stream.events == before
        assert office.generator.generations[0].closed
        assert worker.running == 0
    assert await office.waiting() == 1


@in_standing_time
async def test_a_job_that_comes_back_while_it_runs_here_goes_on() -> None:
    gate = asyncio.Event()
    office = Office([WORDS[:2], gate, WORDS[2:]])
    async with office.worker() as worker:
        await office.submit("str_1")
        await turns(30)
        office.queue.add("again", Job("str_1", {"messages": HELLO}, lost=1))
        await turns(30)
        assert worker.running == 1
        gate.set()
        assert await office.events() == WORDS
        await turns(30)
    assert await office.waiting() == 0
    assert len(office.generator.asked) == 1


# What was announced and never submitted


@in_standing_time
async def test_a_stream_whose_maker_died_before_it_submitted_is_generated() -> None:
    office = Office()
    await office.queue.announce("str_1", {"messages": HELLO})
    await office.store.create("str_1")
    async with office.worker():
        await asyncio.sleep(15)
        assert fold(await office.events()).status == "completed"
    assert (await office.queue.survey()).announced == 0


@in_standing_time
async def test_an_announcement_whose_stream_was_never_made_is_forgotten_in_the_end() -> None:
    office = Office()
    await office.queue.announce("str_1", {"messages": HELLO})
    async with office.worker():
        await asyncio.sleep(30)
        assert (await office.queue.survey()).announced == 1
        await asyncio.sleep(60)
        assert (await office.queue.survey()).announced == 0
    assert await office.waiting() == 0


@in_standing_time
async def test_a_stream_that_somebody_writes_already_is_left_alone() -> None:
    office = Office()
    await office.queue.announce("str_1", {"messages": HELLO})
    await office.store.create("str_1")
    await office.store.append("str_1", WORDS[:1], epoch=1)
    async with office.worker():
        await asyncio.sleep(15)
    assert (await office.store.open("str_1")).events == WORDS[:1]
    assert (await office.queue.survey()).announced == 0
    assert await office.waiting() == 0


# As a hub's workforce


@asynccontextmanager
async def a_hub(office: Office, **options: Any) -> AsyncIterator[Hub]:
    worker = office.worker(**options)
    async with Hub(None, office.store, workforce=worker) as hub, worker:
        yield hub


@in_standing_time
async def test_a_hub_has_its_streams_generated_by_a_worker() -> None:
    office = Office([WORDS[:2], 1.0, WORDS[2:]])
    async with a_hub(office) as hub:
        await hub.start(messages=HELLO, stream_id="str_1", temperature=0.5)
        await turns(30)
        assert hub.running == 1
        assert await whole(hub) == WORDS
        await turns(30)
        assert hub.running == 0
    assert office.generator.asked == [{"messages": HELLO, "temperature": 0.5}]


@in_standing_time
async def test_a_hub_stops_what_a_worker_runs() -> None:
    office = Office([WORDS[:2], asyncio.Event()])
    async with a_hub(office) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await turns(30)
        await hub.cancel("str_1")
        events = await whole(hub)
    check_grammar(events)
    assert fold(events).status == "cancelled"


@in_standing_time
async def test_a_hub_that_drains_hands_over_what_its_worker_can_not_end() -> None:
    office = Office([WORDS[:2], asyncio.Event()])
    async with a_hub(office) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await turns(30)
        await hub.drain(2.0)
        assert await office.waiting() == 1
        assert (await office.store.open("str_1")).events == WORDS[:2]
