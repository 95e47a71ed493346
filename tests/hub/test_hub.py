"""The hub: generations that live on without readers, readers from any position, starting and cancelling."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.completion import fold
from hub.errors import (
    ClosedError,
    HubBusyError,
    InvalidRequestError,
    PositionError,
    StoreError,
    StreamExistsError,
    StreamNotFoundError,
)
from hub.events import LLMEvent
from hub.hub import Hub
from hub.testing import Gate, ScriptedEndpoint, chat_reply, check_grammar, collect

from ..contracts.generations import HELLO, WORDS, Scripts, Store, whole
from ..contracts.samples import RandomStream, a_stream, in_standing_time, positions, turns

SEEDS = range(12)


@pytest.fixture
def quiet() -> Iterator[None]:
    """What a test breaks on purpose is logged with its traceback; here that is noise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# Generations and their readers


@in_standing_time
async def test_a_generation_is_started_and_read() -> None:
    generator = Scripts([WORDS])
    async with Hub(generator) as hub:
        info = await hub.start(messages=HELLO, stream_id="str_1", model="asked", temperature=0)
        assert (info.stream_id, info.status, info.model, info.last_seq) == ("str_1", "running", "asked", -1)
        assert await whole(hub) == WORDS
        assert await hub.get("str_1") == fold(WORDS)
        assert generator.asked == [{"messages": HELLO, "model": "asked", "temperature": 0}]


@in_standing_time
async def test_the_log_knows_about_how_much_was_asked() -> None:
    async with Hub(Scripts()) as hub:
        info = await hub.start(messages=HELLO)
        assert (await hub.log(info.stream_id)).input_tokens == 4 + 2  # the message, and five letters


@in_standing_time
async def test_a_stream_without_a_name_gets_one() -> None:
    async with Hub(Scripts()) as hub:
        first, second = [await hub.start(messages=HELLO) for _ in range(2)]
        assert first.stream_id != second.stream_id
        assert (await whole(hub, first.stream_id))[0].stream_id == first.stream_id


@in_standing_time
async def test_a_generation_lives_on_when_its_readers_leave() -> None:
    gate = asyncio.Event()
    async with Hub(Scripts([WORDS[:2], gate, WORDS[2:]])) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        reader = hub.subscribe("str_1")
        assert await anext(reader) == WORDS[0]
        await reader.aclose()
        gate.set()
        await turns()
        assert hub.running == 0
        assert await whole(hub, after=0) == WORDS[1:]


@pytest.mark.parametrize("seed", SEEDS)
@in_standing_time
async def test_readers_that_come_and_go_get_each_event_once(seed: int) -> None:
    events = RandomStream(seed, snapshots=True).events
    rand = random.Random(seed)
    script: list[Any] = []
    for event in events:
        script += [[event], rand.choice((0.0, 0.01, 0.03))]

    async def read_with_cuts(hub: Hub) -> list[LLMEvent]:
        received: list[LLMEvent] = []
        while not received or received[-1].type != "done":
            patience = rand.choice((0.005, 0.02, 0.1))
            try:
                async with asyncio.timeout(patience):
                    async for event in hub.subscribe("str_1", after=len(received) - 1):
                        received.append(event)
                        if rand.random() < 0.2:
                            break
            except TimeoutError:
                await asyncio.sleep(rand.choice((0.0, 0.01)))
        return received

    async with Hub(Scripts(script)) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        log = await hub.log("str_1")
        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(read_with_cuts(hub)) for _ in range(8)]
        assert all(reader.result() == events for reader in readers)
        await turns()
        assert log._watchers == set()


@in_standing_time
async def test_a_late_joiner_may_ask_for_a_snapshot() -> None:
    gate = asyncio.Event()
    async with Hub(Scripts([WORDS[:3], gate, WORDS[3:]])) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await turns()
        reader = hub.subscribe("str_1", snapshot=True)
        first = await anext(reader)
        assert (first.type, first.seq, first.span) == ("snapshot", 2, 3)
        gate.set()
        rest = await collect(reader)
        assert rest == WORDS[3:]
        assert fold([first, *rest]) == fold(WORDS)


@in_standing_time
async def test_a_reader_that_waits_and_is_dropped_is_forgotten() -> None:
    async with Hub(Scripts([WORDS[:1], asyncio.Event()])) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        log = await hub.log("str_1")
        reading = asyncio.create_task(whole(hub))
        await turns()
        assert len(log._watchers) == 1
        reading.cancel()
        await turns()
        assert len(log._watchers) == 0
        assert hub.running == 1


@in_standing_time
async def test_what_is_not_there_can_t_be_read() -> None:
    async with Hub(Scripts()) as hub:
        for call in (hub.log("str_9"), hub.get("str_9"), hub.cancel("str_9"), whole(hub, "str_9")):
            with pytest.raises(StreamNotFoundError):
                await call
        await hub.start(messages=HELLO, stream_id="str_1")
        await turns()
        with pytest.raises(PositionError):
            await whole(hub, after=99)


@in_standing_time
async def test_the_list_is_newest_first() -> None:
    async with Hub(Scripts([[*a_stream("a", stream_id="str_1")]], [asyncio.Event()])) as hub:
        for stream_id in ("str_1", "str_2"):
            await hub.start(messages=HELLO, stream_id=stream_id)
            await turns()
        assert [(info.stream_id, info.last_seq) for info in await hub.list()] == [("str_2", -1), ("str_1", 3)]


# Cancelling


@pytest.mark.parametrize("said", [0, 1, 2, 3])
@in_standing_time
async def test_a_cancelled_generation_ends_with_usage_and_done(said: int) -> None:
    generator = Scripts([WORDS[:said], asyncio.Event(), WORDS[said:]])
    async with Hub(generator) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await turns()
        reading = asyncio.create_task(whole(hub))
        await turns()
        info = await hub.cancel("str_1")
        assert (info.stream_id, info.last_seq) == ("str_1", said - 1)
        await hub.cancel("str_1")
        events = await reading
        check_grammar(events)
        assert events[:said] == WORDS[:said]
        assert fold(events).status == "cancelled"
        await turns()
        assert hub.running == 0
        assert generator.generations[0].closed


@in_standing_time
async def test_cancelling_an_ended_stream_changes_nothing() -> None:
    async with Hub(Scripts([WORDS])) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        assert await whole(hub) == WORDS
        info = await hub.cancel("str_1")
        assert (info.status, info.last_seq) == ("completed", WORDS[-1].seq)
        assert await whole(hub) == WORDS


# Starting


@in_standing_time
async def test_an_id_is_given_once() -> None:
    async with Hub(Scripts([asyncio.Event()], [WORDS])) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        with pytest.raises(StreamExistsError):
            await hub.start(messages=HELLO, stream_id="str_1")
        assert hub.running == 1
        await hub.cancel("str_1")
        await whole(hub)
        await turns()
        with pytest.raises(StreamExistsError):
            await hub.start(messages=HELLO, stream_id="str_1")
        assert hub.running == 0


@in_standing_time
async def test_only_so_many_generations_run_at_once_however_slow_the_store_is() -> None:
    store = Store()
    store.gates["create"] = asyncio.Event()
    gate = asyncio.Event()
    async with Hub(Scripts(*[[gate]] * 2), store, max_streams=2) as hub:
        starts = [asyncio.create_task(hub.start(messages=HELLO)) for _ in range(4)]
        await turns()
        store.gates["create"].set()
        results = await asyncio.gather(*starts, return_exceptions=True)
        refused = [result for result in results if isinstance(result, HubBusyError)]
        assert (len(refused), hub.running) == (2, 2)
        assert refused[0].retry_after > 0
        gate.set()
        await turns(20)
        await hub.start(messages=HELLO)


@in_standing_time
async def test_a_request_that_is_refused_leaves_nothing_behind() -> None:
    async with Hub(Scripts()) as hub:
        with pytest.raises(InvalidRequestError, match="empty"):
            await hub.start(messages=[], stream_id="str_1")
        assert (hub.running, list(await hub.list())) == (0, [])


@pytest.mark.parametrize("method", ["create", "open"])
@in_standing_time
async def test_a_store_that_can_t_begin_a_log_refuses_the_start(method: str, quiet: None) -> None:
    store = Store()
    store.fails[method] = StoreError("the disk is full")
    generator = Scripts()
    async with Hub(generator, store) as hub:
        with pytest.raises(StoreError, match="disk"):
            await hub.start(messages=HELLO, stream_id="str_1")
        await turns()
        assert hub.running == 0
        store.fails.clear()
        assert [info.status for info in await hub.list()] == (["failed"] if method == "open" else [])


@pytest.mark.parametrize("method", ["create", "created", "open"])
@in_standing_time
async def test_a_start_that_is_cancelled_leaves_nothing_that_runs(method: str) -> None:
    store = Store()
    store.gates[method] = asyncio.Event()
    async with Hub(Scripts([asyncio.Event()]), store) as hub:
        starting = asyncio.create_task(hub.start(messages=HELLO, stream_id="str_1"))
        await store.reached.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        store.gates.pop(method).set()
        events = await asyncio.wait_for(wait_for_end(hub), 1)
        check_grammar(events)
        assert fold(events).status == "cancelled"
        await turns()
        assert hub.running == 0


async def wait_for_end(hub: Hub) -> list[LLMEvent]:
    """The events of str_1, once it is there."""
    while True:
        try:
            return await whole(hub)
        except StreamNotFoundError:
            await asyncio.sleep(0.001)


@in_standing_time
async def test_a_hub_works_inside_its_block_only_and_once() -> None:
    hub = Hub(Scripts())

    async def refused() -> None:
        for call in (
            hub.start(messages=HELLO),
            hub.log("str_1"),
            hub.get("str_1"),
            hub.cancel("str_1"),
            hub.list(),
            whole(hub),
        ):
            with pytest.raises(ClosedError):
                await call

    await refused()
    async with hub:
        with pytest.raises(ClosedError, match="once"):
            await hub.__aenter__()
        await hub.start(messages=HELLO, stream_id="str_1")
    await refused()
    await hub.aclose()
    with pytest.raises(ClosedError, match="once"):
        await hub.__aenter__()


# With the real client


@pytest.fixture
def real() -> Callable[[ScriptedEndpoint], OpenAIClient]:
    return lambda endpoint: OpenAIClient("scripted", base_url=endpoint.base_url, api_key="EMPTY")


async def test_an_answer_of_an_endpoint_reaches_every_reader(
    real: Callable[[ScriptedEndpoint], OpenAIClient],
) -> None:
    gate = Gate()
    async with (
        asyncio.timeout(10),
        ScriptedEndpoint(chat_reply(["Hello", gate, " world"])) as endpoint,
        real(endpoint) as client,
        Hub(client) as hub,
    ):
        info = await hub.start(messages=HELLO)
        early = hub.subscribe(info.stream_id)
        received = [await anext(early), await anext(early)]
        gate.open()
        received += await collect(early)
        check_grammar(received)
        assert fold(received).text == "Hello world"
        assert await whole(hub, info.stream_id) == received
        assert positions(received) == list(range(len(received)))


async def test_cancelling_closes_the_connection_to_the_endpoint(
    real: Callable[[ScriptedEndpoint], OpenAIClient],
) -> None:
    async with (
        asyncio.timeout(10),
        ScriptedEndpoint(chat_reply(["Hello", Gate(), " world"])) as endpoint,
        real(endpoint) as client,
        Hub(client) as hub,
    ):
        info = await hub.start(messages=HELLO)
        reader = hub.subscribe(info.stream_id)
        received = [await anext(reader), await anext(reader)]
        await hub.cancel(info.stream_id)
        received += await collect(reader)
        check_grammar(received)
        assert fold(received).status == "cancelled"
        await endpoint.all_closed()


async def test_half_a_character_is_refused_before_anything_exists() -> None:
    async with (
        ScriptedEndpoint() as endpoint,
        OpenAIClient("m", base_url=endpoint.base_url) as client,
        Hub(client) as hub,
    ):
        for arguments in ({"model": "\ud800"}, {"stream_id": "a\ud800"}):
            with pytest.raises(InvalidRequestError, match="half a character"):
                await hub.start(messages=[{"role": "user", "content": "Hi"}], **arguments)
        assert await hub.list() == []
