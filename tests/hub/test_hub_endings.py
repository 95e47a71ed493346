"""The hub: whatever fails or stops, each log ends with `done` and nothing is left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import (
    HubBusyError,
    StoreError,
)
from hub.events import EndStatus, LLMEvent
from hub.hub import Hub
from hub.recording import MAX_STREAM_BYTES
from hub.result import Failure
from hub.testing import check_grammar

from ..contracts.generations import HELLO, WORDS, Scripted, Scripts, Store, one_by_one, whole
from ..contracts.samples import a_stream, in_standing_time, now, text, turns


@pytest.fixture
def quiet() -> Iterator[None]:
    """What a test breaks on purpose is logged with its traceback; here that is noise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# Failing


@pytest.mark.parametrize("said", [0, 1, 3])
@in_standing_time
async def test_a_generation_that_breaks_still_ends_its_log(said: int, quiet: None) -> None:
    async with Hub(Scripts([WORDS[:said], KeyError("a bug with a secret")], [WORDS])) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        events = await whole(hub)
        check_grammar(events)
        assert events[:said] == WORDS[:said]
        result = fold(events)
        assert result.error is not None
        assert (result.error.code, result.error.retryable) == ("interrupted", True)
        assert "secret" not in repr(result)
        await turns()
        assert hub.running == 0
        await hub.start(messages=HELLO, stream_id="str_2")


@pytest.mark.parametrize(
    "script",
    [
        [],
        [WORDS[:2]],
        [WORDS[:2], [WORDS[3]]],
        [WORDS[:2], [text(2, "\ud83d")]],
        [[text(5)]],
        [[None]],
        [None],
    ],
    ids=["nothing", "no_end", "hole", "half_a_character", "no_beginning", "no_event", "no_batch"],
)
@in_standing_time
async def test_a_generation_that_breaks_the_grammar_still_ends_its_log(script: Any, quiet: None) -> None:
    class Careless(Scripted):
        async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
            for batch in script:
                yield batch

    class Generator(Scripts):
        def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Scripted:
            return Careless(stream_id, ())

    async with Hub(Generator()) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        events = await whole(hub)
        check_grammar(events)
        assert fold(events).status == "failed"


@in_standing_time
async def test_a_generation_that_knows_no_end_gets_one(quiet: None) -> None:
    class Clueless(Scripted):
        def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
            raise RuntimeError("no idea")

    class Generator(Scripts):
        def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Scripted:
            return Clueless(stream_id, [WORDS[:3], KeyError()])

    async with Hub(Generator()) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        events = await whole(hub)
        check_grammar(events)
        assert events[:3] == WORDS[:3]


@pytest.mark.parametrize("comes_back", [True, False])
@in_standing_time
async def test_a_store_that_fails_in_mid_stream_ends_the_log_for_its_readers(comes_back: bool, quiet: None) -> None:
    store = Store()
    gate = asyncio.Event()
    async with Hub(Scripts([WORDS[:2], gate, WORDS[2:3], WORDS[3:]]), store) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        reading = asyncio.create_task(whole(hub))
        await turns()
        if comes_back:
            store.fails["appended"] = StoreError("the reply was lost")
        else:
            store.fails["append"] = StoreError("the disk is full")
        gate.set()
        events = await reading
        check_grammar(events)
        result = fold(events)
        assert (result.status, result.error and result.error.code) == ("failed", "store_unavailable")
        assert result.text == ("Hello wide" if comes_back else "Hello")
        await turns()
        assert hub.running == 0


@in_standing_time
async def test_a_store_that_hangs_holds_a_hub_up_for_a_bounded_time(quiet: None) -> None:
    store = Store()
    hub = await Hub(Scripts([WORDS[:2], asyncio.Event()]), store).__aenter__()
    await hub.start(messages=HELLO, stream_id="str_1")
    await turns()
    reading = asyncio.create_task(whole(hub))
    await turns()
    store.gates["append"] = asyncio.Event()
    began = now()
    await hub.aclose()
    assert now() - began <= 2.0
    check_grammar(await reading)


@in_standing_time
async def test_an_answer_beyond_all_bounds_is_broken_off() -> None:
    piece = "x" * (MAX_STREAM_BYTES // 8)
    generator = Scripts([*one_by_one(a_stream(*[piece] * 12))])
    async with Hub(generator) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        events = await whole(hub)
        check_grammar(events)
        assert (await hub.get("str_1")).error is not None
        assert fold(events).error == Failure(
            code="budget_exceeded", message="The answer grew beyond what a stream may hold."
        )
        assert len(fold(events).text) <= 8 * len(piece)
        await turns()
        assert generator.generations[0].closed


# Ending


@in_standing_time
async def test_leaving_the_hub_breaks_off_what_runs_and_its_readers_hear_the_end() -> None:
    generator = Scripts([WORDS[:2], asyncio.Event()], [asyncio.Event()])
    async with Hub(generator) as hub:
        for stream_id in ("str_1", "str_2"):
            await hub.start(messages=HELLO, stream_id=stream_id)
        await turns()
        readings = [asyncio.create_task(whole(hub, stream_id)) for stream_id in ("str_1", "str_2")]
        await turns()
    for reading in readings:
        events = await reading
        check_grammar(events)
        result = fold(events)
        assert (result.status, result.error and result.error.code) == ("failed", "interrupted")
    assert all(generation.closed for generation in generator.generations)


@in_standing_time
async def test_a_batch_whose_writing_was_cut_short_is_written_again() -> None:
    store = Store()
    gate = asyncio.Event()
    hub = await Hub(Scripts([WORDS[:1], gate, WORDS[1:3], asyncio.Event()]), store).__aenter__()
    await hub.start(messages=HELLO, stream_id="str_1")
    await turns()
    reading = asyncio.create_task(whole(hub))
    store.gates["append"] = asyncio.Event()
    gate.set()
    await store.reached.wait()
    closing = asyncio.create_task(hub.aclose())
    await turns()
    store.gates.pop("append").set()
    await closing
    events = await reading
    check_grammar(events)
    assert events[:3] == WORDS[:3]


@in_standing_time
async def test_draining_takes_no_new_streams_and_lets_the_running_ones_end() -> None:
    async with Hub(Scripts([WORDS[:2], 3.0, WORDS[2:]])) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        before = hub.is_draining
        began = now()
        draining = asyncio.create_task(hub.drain(10))
        await turns()
        assert (before, hub.is_draining) == (False, True)
        with pytest.raises(HubBusyError, match="about to stop"):
            await hub.start(messages=HELLO)
        await draining
        assert now() - began == pytest.approx(3.0)
        assert await whole(hub) == WORDS


@in_standing_time
async def test_draining_breaks_off_what_takes_too_long() -> None:
    async with Hub(Scripts([WORDS[:2], asyncio.Event()], [a_stream("a", stream_id="str_2")])) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await hub.start(messages=HELLO, stream_id="str_2")
        began = now()
        await hub.drain(10)
        assert now() - began == pytest.approx(10.0)
        assert hub.running == 0
        events = await whole(hub)
        check_grammar(events)
        assert fold(events).error == Failure(
            code="interrupted", message="The hub stopped while the answer was under way.", retryable=True
        )
        assert (await hub.get("str_2")).status == "completed"
        await hub.drain(10)


@in_standing_time
async def test_a_start_under_way_when_the_hub_closes_is_refused() -> None:
    store = Store()
    store.gates["create"] = asyncio.Event()
    hub = await Hub(Scripts(), store).__aenter__()
    starting = asyncio.create_task(hub.start(messages=HELLO))
    await store.reached.wait()
    await hub.aclose()
    with pytest.raises(HubBusyError):
        await starting
    begun = await Hub(Scripts()).__aenter__()
    starting = asyncio.create_task(begun.start(messages=HELLO))
    await asyncio.sleep(0)
    await begun.aclose()
    with pytest.raises(HubBusyError):
        await starting


@in_standing_time
async def test_a_hub_may_be_closed_by_another_task_than_entered_it(quiet: None) -> None:
    hub = Hub(Scripts([KeyError()], [WORDS[:1], asyncio.Event()]))

    async def enter_and_go_on() -> str:
        await hub.__aenter__()
        await asyncio.sleep(100)
        return "went on"

    entering = asyncio.create_task(enter_and_go_on())
    await turns()
    for stream_id in ("str_1", "str_2"):
        await hub.start(messages=HELLO, stream_id=stream_id)
    await turns()
    await asyncio.create_task(hub.aclose())
    assert await entering == "went on"


@in_standing_time
async def test_a_hub_left_by_an_exception_closes_as_well() -> None:
    generator = Scripts([WORDS[:1], asyncio.Event()])

    async def work() -> None:
        async with Hub(generator) as hub:
            await hub.start(messages=HELLO)
            await turns()
            raise KeyError

    with pytest.raises(KeyError):
        await work()
    assert generator.generations[0].closed
