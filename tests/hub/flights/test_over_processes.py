"""Equal calls of several processes at once: one asks, the others follow, whatever becomes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from hub.cache.flights import MAX_HANDOVERS
from hub.cache.memory import MemoryCache
from hub.completion import fold
from hub.events import Done, Meta
from hub.testing import Gate, Pause
from hub.testing.fake_plan import Piece
from tests.contracts.samples import in_standing_time, now, turns
from tests.hub.cache.support import FAILURE, Asked, call, texts

from .support import TIMING, World, a_world, attempts, cost_of, end_of

WHOLE: list[Piece] = ["Hello", " ", "world"]


@in_standing_time
async def test_equal_calls_of_two_processes_are_one_call() -> None:
    asked = Asked(WHOLE)
    async with a_world(asked) as world:
        answers = await asyncio.gather(*(process.reading() for process in world.processes))
        assert asked.calls == 1
        assert [texts(events) for events in answers] == [WHOLE, WHOLE]
        assert sorted(map(cost_of, answers), key=str) == [(0.0, 0.5), (0.5, None)]
        assert sorted(event.cached is True for events in answers for event in events if isinstance(event, Meta)) == [
            False,
            True,
        ]


@in_standing_time
async def test_a_stampede_of_two_processes_is_one_call() -> None:
    asked = Asked([Pause(0.3), *WHOLE, Pause(1.0), "!"])
    async with a_world(asked) as world:
        calls = [process.reading() for _ in range(100) for process in world.processes]
        answers = await asyncio.gather(*calls)
        assert asked.calls == 1
        assert {fold(events).text for events in answers} == {"Hello world!"}
        assert sorted(map(cost_of, answers), key=str) == [(0.0, 0.5)] * 199 + [(0.5, None)]
        assert [process.core.counts.stored for process in world.processes] == [1, 1]
        assert [process.faults for process in world.processes] == [[], []]


@in_standing_time
async def test_a_call_that_is_made_after_an_answer_was_followed_finds_it_in_its_own_cache() -> None:
    asked = Asked(WHOLE)
    async with a_world(asked) as world:
        await asyncio.gather(*(process.reading() for process in world.processes))
        for process in world.processes:
            events = await process.reading()
            assert (texts(events), cost_of(events)) == (WHOLE, (0.0, 0.5))
        assert asked.calls == 1
        entries = [
            await process.core.cache.get(process.core.key("mine", endpoint="https://x/v1"))
            for process in world.processes
        ]
        assert entries[0] is not None
        assert entries[1] is not None
        assert entries[0].events == entries[1].events


@in_standing_time
async def test_what_comes_is_told_elsewhere_before_the_rest_comes() -> None:
    gate = Gate()
    asked = Asked(["Hello", gate, " world"])
    async with a_world(asked) as world:
        first = world.processes[0].reading()
        await gate.reached()
        seen = []
        async for event in call(world.processes[1].core, asked):
            seen.append(event.type)
            if seen == ["meta", "text_delta"]:
                gate.open()
        assert seen == ["meta", "text_delta", "text_delta", "usage", "done"]
        assert texts(await first) == ["Hello", " world"]


@in_standing_time
async def test_who_comes_to_another_process_late_gets_the_answer_from_its_start() -> None:
    asked = Asked(["Hello", Pause(10.0), " world"])
    async with a_world(asked) as world:
        first = world.processes[0].reading()
        await asyncio.sleep(5.0)
        late = await world.processes[1].reading()
        assert texts(late) == texts(await first) == ["Hello", " world"]
        assert asked.calls == 1


@in_standing_time
async def test_an_answer_that_is_silent_for_long_is_waited_for() -> None:
    asked = Asked([Pause(100.0), "Hello"])
    async with a_world(asked) as world:
        answers = await asyncio.gather(*(process.reading() for process in world.processes))
        assert [texts(events) for events in answers] == [["Hello"], ["Hello"]]
        assert asked.calls == 1


@in_standing_time
async def test_an_answer_without_a_word_is_one_call_too() -> None:
    asked = Asked([Pause(1.0)])
    async with a_world(asked) as world:
        answers = await asyncio.gather(*(process.reading() for process in world.processes))
        assert [end_of(events) for events in answers] == [("completed", None)] * 2
        assert asked.calls == 1


# Who shares


@in_standing_time
async def test_tenants_groups_and_calls_that_ask_anew_share_nothing() -> None:
    asked = Asked([Pause(1.0), "Hello"])
    async with a_world(asked, 3, namespaces=["a", "b", "a"]) as world:
        first, second, third = world.processes
        await asyncio.gather(
            first.reading(),
            second.reading(),
            third.reading("other"),
            third.reading(group="restart"),
            third.reading(regen_cache=True),
            third.reading(rewrite_cache=True),
            third.reading(cache_response=False),
        )
        assert asked.calls == 7


@in_standing_time
async def test_an_answer_that_was_stored_between_look_and_claim_is_not_asked_for_again() -> None:
    gate = Gate()
    asked = Asked([gate, "Hello"])
    async with a_world(asked) as world:
        first, second = world.processes
        # Both have one cache here; the second one's first look comes before the answer is in it.
        second.core.cache = first.core.cache
        leading = first.reading()
        await gate.reached()
        key = second.core.key("mine", endpoint="https://x/v1")
        look, looked = first.core.cache.get, asyncio.Event()

        class Late:
            """Answers its first look with what was there before."""

            async def get(self, key: str) -> object:
                if not looked.is_set():
                    looked.set()
                    await asyncio.sleep(20.0)
                    return None
                return await look(key)

            async def put(self, entry: object, *, keep_older: bool = False) -> None:
                raise AssertionError("it is there")

            async def aclose(self) -> None: ...

        second.core.cache = Late()  # type: ignore[assignment]
        second.core.get_timeout = 60.0
        late = second.reading()
        await looked.wait()
        gate.open()
        await leading
        events = await late
        assert (texts(events), cost_of(events)) == (["Hello"], (0.0, 0.5))
        assert asked.calls == 1
        assert await look(key) is not None


# Leaders that leave, fail, or die


@in_standing_time
async def test_where_the_leader_s_caller_leaves_its_process_goes_on_for_those_who_follow() -> None:
    asked = Asked(["Hello", Pause(10.0), " world"])
    async with a_world(asked) as world:
        first = world.processes[0].reading()
        await asyncio.sleep(0.1)
        other = world.processes[1].reading()
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.wait([first])
        events = await other
        assert (texts(events), attempts(events)) == (["Hello", " world"], [1])
        assert asked.calls == 1


@in_standing_time
async def test_where_the_leader_s_caller_stops_those_who_follow_read_on() -> None:
    asked = Asked(["Hello", Pause(10.0), " world"])
    async with a_world(asked) as world:
        stream = call(world.processes[0].core, asked)
        first = asyncio.create_task(stream.result())
        await asyncio.sleep(0.1)
        other = world.processes[1].reading()
        await asyncio.sleep(1.5)
        stream.stop()
        began_at = now()
        assert (await first).status == "cancelled"
        assert now() - began_at < 0.01
        assert texts(await other) == ["Hello", " world"]
        assert asked.calls == 1


@in_standing_time
async def test_the_answer_is_given_up_when_the_last_reader_of_all_processes_has_left() -> None:
    asked = Asked(["Hello", Pause(1_000.0), " world"])
    async with a_world(asked) as world:
        readers = []
        for process in world.processes:
            readers.append(process.reading())
            await asyncio.sleep(0.1)
        for reader in readers:
            reader.cancel()
            await asyncio.wait([reader])
        assert not asked.tellings[0].left
        await asyncio.sleep(TIMING.lease_ttl + TIMING.beat_interval + 0.1)
        assert asked.tellings[0].left


@in_standing_time
async def test_where_nobody_follows_a_reader_that_leaves_gives_the_answer_up_at_once() -> None:
    asked = Asked(["Hello", Pause(1_000.0), " world"])
    async with a_world(asked) as world:
        reader = world.processes[0].reading()
        await asyncio.sleep(3.0)
        reader.cancel()
        await asyncio.wait([reader])
        await turns()
        assert asked.tellings[0].left


@in_standing_time
async def test_where_nobody_follows_a_reader_that_stops_learns_what_it_cost() -> None:
    asked = Asked(["Hello", Pause(1_000.0), " world"])
    async with a_world(asked) as world:
        stream = call(world.processes[0].core, asked)
        reading = asyncio.create_task(stream.result())
        await asyncio.sleep(3.0)
        stream.stop()
        result = await reading
        assert (result.status, result.text) == ("cancelled", "Hello")
        assert result.usage is not None
        assert result.usage.cost_usd == 0.5


@in_standing_time
async def test_a_reader_whose_time_runs_out_where_nobody_follows_learns_what_it_cost() -> None:
    asked = Asked(["Hello", Pause(1_000.0), " world"])
    async with a_world(asked) as world:
        events = await world.processes[0].reading(total_timeout=3.0)
        assert (end_of(events), cost_of(events)) == (("failed", "total_timeout"), (0.5, None))
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}


@in_standing_time
async def test_a_follower_that_stops_ends_at_once_at_no_cost() -> None:
    asked = Asked(["Hello", Pause(10.0), " world"])
    async with a_world(asked) as world:
        first = world.processes[0].reading()
        await asyncio.sleep(0.1)
        stream = call(world.processes[1].core, asked)
        following = asyncio.create_task(stream.result())
        await asyncio.sleep(0.1)
        stream.stop()
        began_at = now()
        result = await following
        assert (result.status, result.text, now() - began_at) == ("cancelled", "Hello", 0.0)
        assert result.usage is not None
        assert result.usage.cost_usd == 0.0
        assert texts(await first) == ["Hello", " world"]


@in_standing_time
async def test_a_leader_that_fails_before_content_hands_over_to_another_process() -> None:
    asked = Asked([Pause(1.0), FAILURE], WHOLE)
    async with a_world(asked) as world:
        first = world.processes[0].reading()
        await asyncio.sleep(0.1)
        second = world.processes[1].reading()
        assert end_of(await first) == ("failed", "connection_failed")
        began_at = now()
        events = await second
        assert (end_of(events), texts(events), attempts(events)) == (("completed", None), WHOLE, [1])
        assert now() - began_at < 0.1
        assert asked.calls == 2


@in_standing_time
async def test_a_leader_whose_source_raises_hands_over_to_another_process() -> None:
    asked = Asked(RuntimeError("a bug"), WHOLE)
    async with a_world(asked) as world:
        first = world.processes[0].reading()
        second = world.processes[1].reading()
        with pytest.raises(RuntimeError, match="a bug"):
            await first
        assert texts(await second) == WHOLE


@in_standing_time
async def test_a_failure_after_content_is_everyone_s_in_all_processes() -> None:
    asked = Asked(["Hel", Pause(2.0), FAILURE], WHOLE)
    async with a_world(asked) as world:
        answers = await asyncio.gather(*(process.reading() for _ in range(3) for process in world.processes))
        assert {end_of(events) for events in answers} == {("failed", "connection_failed")}
        assert asked.calls == 1
        assert texts(await world.processes[1].reading()) == WHOLE


@in_standing_time
@pytest.mark.parametrize("failing", [[FAILURE], ["Hel", FAILURE], ["Hel", Pause(2.0), FAILURE]])
@pytest.mark.parametrize("which", [0, 1])
async def test_a_call_that_is_made_after_a_failure_asks_anew_in_each_process(failing: list[Piece], which: int) -> None:
    asked = Asked(failing, WHOLE)
    async with a_world(asked) as world:
        calls = [process.reading() for process in world.processes]
        await calls[which]
        assert texts(await world.processes[which].reading()) == WHOLE
        await calls[1 - which]


@in_standing_time
async def test_an_endpoint_that_always_fails_is_not_asked_by_every_process() -> None:
    asked = Asked([Pause(0.2), FAILURE])
    async with a_world(asked, 5) as world:
        answers = await asyncio.gather(*(process.reading() for _ in range(50) for process in world.processes))
        assert {end_of(events) for events in answers} == {("failed", "connection_failed")}
        assert asked.calls == 1 + MAX_HANDOVERS
        # Each process looked who leads after each failure but the last, which is everyone's.
        assert world.register.claims <= 5 * (1 + MAX_HANDOVERS) + MAX_HANDOVERS


@in_standing_time
async def test_a_process_that_closes_in_mid_answer_hands_over_to_the_others() -> None:
    asked = Asked(["Hel", Pause(100.0), "lo"], WHOLE)
    async with a_world(asked) as world:
        first = world.processes[0].reading()
        await asyncio.sleep(0.1)
        second = world.processes[1].reading()
        await asyncio.sleep(1.0)
        await world.processes[0].core.aclose()
        assert end_of(await first) == ("failed", "interrupted")
        began_at = now()
        events = await second
        assert now() - began_at <= TIMING.look_interval + 0.1
        assert (fold(events).text, attempts(events), end_of(events)) == ("Hello world", [1, 2], ("completed", None))


@in_standing_time
async def test_a_leader_that_gives_no_sign_of_life_is_superseded_and_writes_no_more() -> None:
    asked = Asked(["Hel", Pause(20.0), "lo", Pause(1.0), "!"], ["Good", " morning"])
    async with a_world(asked) as world:
        leader, follower = world.processes
        first = leader.reading()
        await asyncio.sleep(0.1)
        second = follower.reading()
        await asyncio.sleep(0.1)
        # As if it were held still: its lease runs out, and what it says comes late.
        world.register._leases.clear()
        flight_id = world.store.appended[0].stream_id
        began_at = now()
        events = await second
        assert now() - began_at <= TIMING.look_interval + 0.1
        result = fold(events)
        assert (result.text, attempts(events)) == ("Good morning", [1, 2])
        # Its own reader keeps the answer it has begun.
        assert fold(await first).text == "Hello!"
        written = [event for event in world.store.appended if event.stream_id == flight_id]
        assert [event.type for event in written] == ["meta", "text_delta", "usage", "done"]
        assert asked.calls == 2


@in_standing_time
async def test_a_further_attempt_reports_what_was_used_in_vain_and_what_it_costs_itself() -> None:
    asked = Asked(["Hel", Pause(100.0), "lo"], WHOLE)
    async with a_world(asked) as world:
        world.processes[0].reading()
        await asyncio.sleep(0.1)
        second = world.processes[1].reading()
        await asyncio.sleep(0.1)
        await world.processes[0].core.aclose()
        events = await second
        usages = [(event.attempt, event.cost_usd, event.estimated) for event in events if event.type == "usage"]
        assert usages == [(1, 0.0, True), (2, 0.5, False)]
        assert cost_of(events)[0] == 0.5


@in_standing_time
async def test_text_that_can_not_be_taken_back_ends_where_its_leader_is_lost() -> None:
    asked = Asked(["Hel", Pause(100.0), "lo"], WHOLE)
    async with a_world(asked) as world:
        world.processes[0].reading()
        await asyncio.sleep(0.1)
        bound = world.processes[1].reading(can_restart=False)
        free = world.processes[1].reading()
        await asyncio.sleep(0.1)
        await world.processes[0].core.aclose()
        events = await bound
        assert (texts(events), attempts(events), end_of(events)) == (["Hel"], [1], ("failed", "interrupted"))
        assert fold(await free).text == "Hello world"


# When the register or the store is away


@in_standing_time
async def test_where_the_register_is_away_each_process_asks_for_itself_and_says_so() -> None:
    asked = Asked(WHOLE)
    async with a_world(asked) as world:
        world.register.is_away = True
        answers = await asyncio.gather(*(process.reading() for process in world.processes))
        assert [texts(events) for events in answers] == [WHOLE, WHOLE]
        assert asked.calls == 2
        assert [[fault.operation for fault in process.faults] for process in world.processes] == [["share"]] * 2


@in_standing_time
async def test_where_the_register_hangs_a_call_goes_on_within_a_second_and_the_next_at_once() -> None:
    asked = Asked(WHOLE)
    async with a_world(asked) as world:
        world.register.hangs = True
        began_at = now()
        assert texts(await world.processes[0].reading()) == WHOLE
        assert now() - began_at <= TIMING.step_timeout
        began_at = now()
        assert texts(await world.processes[0].reading("other")) == WHOLE
        assert now() - began_at < 0.01


@in_standing_time
async def test_sharing_is_tried_again_after_a_while() -> None:
    asked = Asked([Pause(0.1), *WHOLE])
    async with a_world(asked) as world:
        world.register.is_away = True
        await asyncio.gather(*(process.reading() for process in world.processes))
        world.register.is_away = False
        await asyncio.sleep(TIMING.away_delay)
        await asyncio.gather(*(process.reading("other") for process in world.processes))
        assert asked.calls == 3


@in_standing_time
async def test_a_leader_whose_store_is_lost_in_mid_answer_goes_on_for_its_own_readers() -> None:
    asked = Asked(["Hello", Pause(1.0), " world", Pause(1.0), "!"], WHOLE)
    async with a_world(asked) as world:
        first = world.processes[0].reading()
        await asyncio.sleep(0.1)
        second = world.processes[1].reading()
        await asyncio.sleep(0.1)
        world.store.is_away = True
        assert fold(await first).text == "Hello world!"
        events = await second
        assert end_of(events) == ("completed", None)
        assert asked.calls == 2
        assert {fault.operation for fault in world.processes[0].faults} == {"share"}


@in_standing_time
async def test_a_follower_that_hears_nothing_for_a_lease_asks_for_itself() -> None:
    asked = Asked(["Hel", Pause(50.0), "lo"], WHOLE)
    async with a_world(asked) as world:
        first = world.processes[0].reading()
        await asyncio.sleep(0.1)
        second = world.processes[1].reading()
        await asyncio.sleep(0.1)
        world.register.hangs = True
        began_at = now()
        events = await second
        assert now() - began_at < 6.0
        assert (fold(events).text, attempts(events)) == ("Hello world", [1, 2])
        assert texts(await first) == ["Hel", "lo"]


def test_calls_of_another_event_loop_go_on_by_themselves() -> None:
    asked = Asked(WHOLE)
    world = World(asked, 1, [])

    async def ask() -> list[str]:
        return texts(await world.processes[0].reading("other"))

    assert asyncio.run(ask()) == WHOLE
    world.processes[0].core.cache = MemoryCache()
    assert asyncio.run(ask()) == WHOLE
    assert [fault.operation for fault in world.processes[0].faults] == ["share"]
    asyncio.run(world.processes[0].core.aclose())


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_everyone_who_stays_gets_a_whole_stream(seed: int) -> None:
    @in_standing_time
    async def run() -> None:
        rand = random.Random(seed)
        pieces: list[Piece] = [Pause(0.2), "a", Pause(1.0), "b", Pause(2.0), "c"]
        answers: list[Sequence[Piece]] = [pieces, [Pause(0.3), FAILURE], pieces, ["x", Pause(1.0), FAILURE]]
        async with a_world(Asked(*rand.choices(answers, k=20), pieces), 4) as world:
            tasks = []
            for _ in range(40):
                process = rand.choice(world.processes)
                tasks.append(process.reading(rand.choice("ab"), can_restart=rand.random() < 0.8))
                await asyncio.sleep(rand.random())
                match rand.randrange(8):
                    case 0:
                        world.register._leases.clear()
                    case 1:
                        world.register.is_away = not world.register.is_away
                    case 2:
                        world.store.is_away = not world.store.is_away
                    case 3:
                        rand.choice(tasks).cancel()
            world.register.is_away = world.store.is_away = False
            done, pending = await asyncio.wait(tasks, timeout=60.0)
            assert not pending
            for task in done:
                if not task.cancelled():
                    status, _ = end_of(task.result())
                    assert status in ("completed", "failed")
                    assert status == "failed" or fold(task.result()).text == "abc"

    run()


@in_standing_time
async def test_processes_that_come_and_go_leave_nothing_behind() -> None:
    pieces: list[Piece] = ["Hello"]
    for _ in range(10):
        pieces += [Pause(0.05), " world"]
    asked = Asked(pieces)
    async with a_world(asked, 3) as world:
        tasks = []
        for number in range(150):
            task = world.processes[number % 3].reading(str(number % 7))
            tasks.append(task)
            await asyncio.sleep(0.01)
            if number % 3 == 0:
                tasks[number // 2].cancel()
        await asyncio.wait(tasks)
        whole = [task.result() for task in tasks if not task.cancelled()]
        assert whole
        assert {fold(events).text for events in whole} == {"Hello" + " world" * 10}
        await asyncio.sleep(10.0)
        assert [process.flights._background._tasks for process in world.processes] == [set()] * 3
        assert world.register._leases == {}
        assert all(isinstance(log.events[-1], Done) for log in world.store._logs.values())
