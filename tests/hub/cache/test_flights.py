"""Equal calls at once: one is asked, all read, nobody waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from hub.cache.core import CacheCore
from hub.cache.entry import CacheEntry
from hub.cache.flights import MAX_HANDOVERS
from hub.cache.memory import MemoryCache
from hub.events import Done, EndStatus, Error, LLMEvent, Meta
from hub.result import Failure
from hub.testing import Gate, Pause
from hub.testing.fake_plan import Piece
from hub.upstream.stream import EventStream

from ...contracts.samples import in_standing_time, now, turns
from .support import FAILURE, Asked, call, costs, events_of, texts


@pytest.fixture
def core() -> CacheCore:
    return CacheCore(MemoryCache())


def reading(stream: EventStream) -> asyncio.Task[list[LLMEvent]]:
    return asyncio.create_task(events_of(stream))


def status(events: list[LLMEvent]) -> tuple[EndStatus, str | None]:
    done, errors = events[-1], [event.code for event in events if isinstance(event, Error)]
    assert isinstance(done, Done)
    return done.status, errors[0] if errors else None


def cost(events: list[LLMEvent]) -> float | None:
    done = events[-1]
    assert isinstance(done, Done)
    assert done.usage is not None
    return done.usage.cost_usd


async def test_a_thousand_equal_calls_are_one_call_and_are_paid_once(core: CacheCore) -> None:
    asked = Asked(["Hello", " ", "world"])
    streams = [call(core, asked) for _ in range(1_000)]
    answers = await asyncio.gather(*map(events_of, streams))
    assert asked.calls == 1
    assert all(texts(events) == ["Hello", " ", "world"] for events in answers)
    assert len({events[0].stream_id for events in answers}) == 1_000
    assert sorted(map(cost, answers), key=str) == [0.0] * 999 + [0.5]
    assert [event.cached for events in answers for event in events if isinstance(event, Meta)].count(True) == 999
    assert (core.counts.misses, core.counts.joined, core.counts.stored) == (1, 999, 1)


async def test_who_comes_late_gets_the_answer_from_its_start(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate, " world"])
    first = reading(call(core, asked))
    await gate.reached()
    late = reading(call(core, asked))
    await turns()
    gate.open()
    assert texts(await late) == texts(await first) == ["Hello", " world"]
    assert asked.calls == 1


async def test_what_has_come_is_told_before_the_rest_comes(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate, " world"])
    first = reading(call(core, asked))
    await gate.reached()
    stream = call(core, asked)
    seen = []
    async for event in stream:
        seen.append(event.type)
        if seen == ["meta", "text_delta"]:
            gate.open()
    assert seen == ["meta", "text_delta", "text_delta", "usage", "done"]
    await first


async def test_a_slow_reader_holds_nobody(core: CacheCore) -> None:
    asked = Asked([str(number) for number in range(100)])
    slow = call(core, asked)
    slow_events = aiter(slow)
    assert (await anext(slow_events)).type == "meta"
    assert len(texts(await asyncio.wait_for(events_of(call(core, asked)), 5))) == 100
    assert len([event async for event in slow_events]) == 102
    assert asked.calls == 1


async def test_where_the_first_one_leaves_the_others_read_on_and_the_next_one_pays(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate, " world"])
    first = reading(call(core, asked))
    await gate.reached()
    others = [reading(call(core, asked)) for _ in range(3)]
    await turns()
    first.cancel()
    await asyncio.wait([first])
    assert not asked.tellings[0].left
    gate.open()
    answers = [await other for other in others]
    assert [texts(events) for events in answers] == [["Hello", " world"]] * 3
    assert [cost(events) for events in answers] == [0.5, 0.0, 0.0]
    assert (asked.calls, core.counts.stored) == (1, 1)


async def test_the_answer_is_given_up_when_the_last_reader_leaves(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate])
    readers = [reading(call(core, asked)) for _ in range(3)]
    await gate.reached()
    for reader in readers:
        assert not asked.tellings[0].left
        reader.cancel()
        await asyncio.wait([reader])
    assert asked.tellings[0].left
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert core.counts.stored == 0


async def test_a_stream_that_is_dropped_gives_the_answer_up(core: CacheCore) -> None:
    asked = Asked(["Hello", Gate()])
    async for event in call(core, asked):
        if event.type == "text_delta":
            break
    await turns()
    assert asked.tellings[0].left
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_who_comes_after_the_last_one_left_asks_anew(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate], ["Bye"])
    reader = reading(call(core, asked))
    await gate.reached()
    reader.cancel()
    await turns(1)
    assert texts(await events_of(call(core, asked))) == ["Bye"]


@in_standing_time
async def test_an_answer_may_take_longer_than_a_look_up() -> None:
    core = CacheCore(MemoryCache(), get_timeout=2)
    asked = Asked(["Hello", Pause(100.0), " world"])
    answers = await asyncio.gather(*(events_of(call(core, asked)) for _ in range(3)))
    assert [texts(events) for events in answers] == [["Hello", " world"]] * 3


async def test_one_that_is_stopped_stops_nobody_else(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate, " world"])
    first = call(core, asked)
    stopped = reading(first)
    await gate.reached()
    other = reading(call(core, asked))
    await turns()
    first.stop()
    assert status(await stopped) == ("cancelled", None)
    gate.open()
    assert texts(await other) == ["Hello", " world"]
    assert status(await other) == ("completed", None)


async def test_a_waiter_that_is_stopped_ends_at_once_at_no_cost(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked([gate, "Hello"])
    first = reading(call(core, asked))
    await gate.reached()
    waiting = call(core, asked)
    waiter = reading(waiting)
    await turns()
    waiting.stop()
    assert [event.type for event in await waiter] == ["meta", "usage", "done"]
    gate.open()
    assert texts(await first) == ["Hello"]


async def test_the_last_one_of_several_can_stop_the_answer(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate])
    first = reading(call(core, asked))
    await gate.reached()
    last = call(core, asked)
    reader = reading(last)
    await turns()
    first.cancel()
    await asyncio.wait([first])
    last.stop()
    events = await reader
    assert status(events) == ("cancelled", None)
    assert cost(events) == 0.5


# Failures


async def test_a_leader_that_fails_hands_over(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked([gate, FAILURE], ["Hello"])
    readers = [reading(call(core, asked)) for _ in range(3)]
    await gate.reached()
    gate.open()
    answers = [await reader for reader in readers]
    assert [status(events) for events in answers] == [
        ("failed", "connection_failed"),
        ("completed", None),
        ("completed", None),
    ]
    assert [texts(events) for events in answers] == [[], ["Hello"], ["Hello"]]
    assert [cost(events) for events in answers] == [0.5, 0.5, 0.0]
    assert (asked.calls, core.counts.stored) == (2, 1)


async def test_a_leader_whose_source_raises_hands_over(core: CacheCore) -> None:
    asked = Asked(RuntimeError("a bug"), ["Hello"])
    first, second = (reading(call(core, asked)) for _ in range(2))
    with pytest.raises(RuntimeError, match="a bug"):
        await first
    assert texts(await second) == ["Hello"]


async def test_a_failure_after_content_is_everyone_s(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hel", gate, FAILURE], ["Hello"])
    readers = [reading(call(core, asked)) for _ in range(3)]
    await gate.reached()
    gate.open()
    for reader in readers:
        events = await reader
        assert status(events) == ("failed", "connection_failed")
        assert texts(events) == ["Hel"]
    assert asked.calls == 1


async def test_an_endpoint_that_always_fails_is_not_asked_by_everyone(core: CacheCore) -> None:
    asked = Asked([FAILURE])
    answers = await asyncio.gather(*(events_of(call(core, asked)) for _ in range(100)))
    assert {status(events) for events in answers} == {("failed", "connection_failed")}
    assert asked.calls == 1 + MAX_HANDOVERS


@pytest.mark.parametrize("stay", [0, 1, 2])
async def test_whoever_leaves_while_it_is_handed_over_the_others_get_an_answer(core: CacheCore, stay: int) -> None:
    gates = [Gate(), Gate()]
    asked = Asked([gates[0], FAILURE], [gates[1], FAILURE], ["Hello"])
    readers = [reading(call(core, asked)) for _ in range(3)]
    await gates[0].reached()
    gates[0].open()
    await gates[1].reached()
    for number, reader in enumerate(readers):
        if number != stay:
            reader.cancel()
    await asyncio.wait([reader for number, reader in enumerate(readers) if number != stay])
    gates[1].open()
    events = await readers[stay]
    assert status(events) == (("completed", None) if stay == 2 else ("failed", "connection_failed"))


# Clocks


@in_standing_time
async def test_a_follower_whose_time_runs_out_fails_alone_and_in_time(core: CacheCore) -> None:
    asked = Asked(["Hel", Pause(2.0), "lo"])
    patient = reading(call(core, asked, total_timeout=60.0))
    await turns()
    began_at = now()
    assert status(await events_of(call(core, asked, total_timeout=0.8))) == ("failed", "total_timeout")
    assert now() - began_at == pytest.approx(0.8)
    assert texts(await patient) == ["Hel", "lo"]
    assert (asked.calls, core.counts.stored) == (1, 1)


@in_standing_time
@pytest.mark.parametrize("answer", [["Hel", Pause(2.0), "lo"], [Pause(2.0), "Hel", "lo"]], ids=["after", "before"])
async def test_a_leader_whose_time_runs_out_after_or_before_content_fails_alone(
    core: CacheCore, answer: list[Piece]
) -> None:
    asked = Asked(answer)
    hasty = reading(call(core, asked, total_timeout=0.8))
    await turns()
    patient = reading(call(core, asked, total_timeout=60.0))
    assert status(await hasty) == ("failed", "total_timeout")
    assert texts(await patient) == ["Hel", "lo"]
    assert cost(await patient) == 0.5
    assert (asked.calls, core.counts.stored) == (1, 1)


@in_standing_time
async def test_a_single_reader_whose_time_runs_out_ends_the_answer_and_says_what_it_cost(core: CacheCore) -> None:
    asked = Asked(["Hello", Pause(100.0)])
    events = await events_of(call(core, asked, total_timeout=0.8))
    assert status(events) == ("failed", "total_timeout")
    assert cost(events) == 0.5
    assert core.counts.stored == 0


@in_standing_time
async def test_a_reader_s_own_slowness_takes_none_of_its_time(core: CacheCore) -> None:
    stream = call(core, Asked(["Hel", Pause(0.5), "lo"]), total_timeout=0.8)
    events = []
    async for event in stream:
        events.append(event)
        await asyncio.sleep(10)
    assert status(events) == ("completed", None)


# Who shares


async def test_only_answers_that_are_to_be_stored_are_shared(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked([gate, "Hello"])
    readers = [reading(call(core, asked, cache_response=False)) for _ in range(3)]
    await gate.reached(3)
    gate.open()
    await asyncio.gather(*readers)
    assert (asked.calls, core.counts.stored) == (3, 0)


async def test_a_call_that_stores_nothing_reads_what_another_one_stores(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked([gate, "Hello"])
    storing = reading(call(core, asked))
    await gate.reached()
    other = reading(call(core, asked, cache_response=False))
    await turns()
    gate.open()
    assert texts(await storing) == texts(await other)
    assert asked.calls == 1


async def test_calls_of_other_groups_keys_or_that_ask_anew_are_not_shared(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked([gate, "Hello"])
    readers = [
        reading(call(core, asked)),
        reading(call(core, asked, group="restart")),
        reading(call(core, asked, "other")),
        reading(call(core, asked, regen_cache=True)),
        reading(call(core, asked, rewrite_cache=True)),
    ]
    await gate.reached(5)
    gate.open()
    await asyncio.gather(*readers)
    assert asked.calls == 5


async def test_who_looked_before_the_answer_was_stored_and_comes_back_after_it_finds_it() -> None:
    class Slow(MemoryCache):
        """Answers its second look-up with what was there when it began."""

        def __init__(self) -> None:
            super().__init__()
            self.looks = 0
            self.gate = asyncio.Event()

        async def get(self, key: str) -> CacheEntry | None:
            self.looks += 1
            found = await super().get(key)
            if self.looks == 1:
                await turns()
            elif self.looks == 2:
                await self.gate.wait()
            return found

    cache = Slow()
    core, gate = CacheCore(cache), Gate()
    asked = Asked([gate, "Hello"])
    first, second = reading(call(core, asked)), reading(call(core, asked))
    await gate.reached()
    gate.open()
    await first
    cache.gate.set()
    assert texts(await second) == ["Hello"]
    assert (asked.calls, cache.looks) == (1, 3)


# Bounds and ends


async def test_a_reader_that_falls_too_far_behind_is_dropped_and_the_others_read_on() -> None:
    core = CacheCore(MemoryCache(), max_flight_bytes=5_000)
    asked = Asked(["word"] * 200)
    slow = call(core, asked)
    events = aiter(slow)
    given = [await anext(events)]
    assert len(texts(await asyncio.wait_for(events_of(call(core, asked)), 5))) == 200
    given += [event async for event in events]
    assert status(given) == ("failed", "interrupted")
    assert [event.seq for event in given] == list(range(len(given)))
    assert (asked.calls, core.counts.stored) == (1, 0)


async def test_a_single_reader_is_waited_for() -> None:
    core = CacheCore(MemoryCache(), max_flight_bytes=5_000)
    asked = Asked(["word"] * 200)
    stream = call(core, asked)
    seen = 0
    async for event in stream:
        seen += event.type == "text_delta"
        if seen == 1:
            await turns(1_000)
            assert len(asked.tellings[0]._said) < 100
    assert seen == 200
    assert core.counts.stored == 0


async def test_nobody_joins_an_answer_whose_beginning_is_gone() -> None:
    core, gate = CacheCore(MemoryCache(), max_flight_bytes=1_000), Gate()
    asked = Asked([*["word"] * 50, gate])
    first = reading(call(core, asked))
    await gate.reached()
    second = reading(call(core, asked))
    await gate.reached(2)
    gate.open()
    assert len(texts(await first)) == len(texts(await second)) == 50
    assert asked.calls == 2


async def test_closing_the_core_ends_what_is_under_way(core: CacheCore) -> None:
    gate = Gate()
    asked = Asked(["Hello", gate])
    readers = [reading(call(core, asked)) for _ in range(3)]
    await gate.reached()
    await turns()
    await core.aclose()
    for reader in readers:
        assert status(await reader) == ("failed", "interrupted")
    assert asked.tellings[0].left


async def test_a_source_that_says_no_end_gets_one(core: CacheCore) -> None:
    class Endless:
        async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
            yield [Meta(stream_id="str_1", seq=0)]

        def stop(self) -> None: ...

        def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
            return []

    events = await events_of(call(core, lambda *_: Endless(), stream_id="str_1"))
    assert status(events) == ("failed", "interrupted")
    assert core.counts.stored == 0


@in_standing_time
async def test_calls_that_come_and_go_leave_nothing_behind() -> None:
    core = CacheCore(MemoryCache())
    asked = Asked(["Hello", *[" world"] * 10])
    tasks = []
    for number in range(200):
        task = reading(call(core, asked, str(number % 7)))
        tasks.append(task)
        await turns(number % 5)
        if number % 3 == 0:
            tasks[number // 2].cancel()
    await asyncio.wait(tasks)
    whole = [task.result() for task in tasks if not task.cancelled()]
    assert whole
    assert all(len(texts(events)) == 11 for events in whole)
    assert (core._flights, core._under_way) == ({}, set())


async def test_results_of_one_flight_are_alike(core: CacheCore) -> None:
    asked = Asked()
    first, second = await asyncio.gather(*(call(core, asked, stream_id="str_1").result() for _ in range(2)))
    assert first.text == second.text
    assert (costs(first), costs(second)) == ((0.5, None), (0.0, 0.5))
