"""Generators and generations that are anybody's code: whatever they do, each log ends, and nobody else's is harmed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Literal

import pytest

from hub.completion import fold
from hub.errors import ConfigurationError, InvalidRequestError, StoreError
from hub.events import LLMEvent
from hub.generation import MisfitError, begin, check_events, misshapen, stop
from hub.hub import Hub
from hub.recording import Recorded, record
from hub.result import Failure
from hub.stopping import is_from_outside
from hub.streams.memory import MemoryStreamStore
from hub.testing import check_grammar

from ..contracts.generations import HELLO, WORDS, Scripted, Scripts, Store, whole
from ..contracts.samples import a_stream, in_standing_time, text, turns
from .office import Office


@pytest.fixture
def quiet() -> Iterator[None]:
    """What a test breaks on purpose is logged with its traceback; here that is noise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Raising(Scripted):
    """Says two words, then raises what it is given."""

    def __init__(self, stream_id: str, exc: BaseException) -> None:
        super().__init__(stream_id, ())
        self.exc = exc

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        for event in WORDS[:2]:
            self._fold.add(event)
        yield WORDS[:2]
        raise self.exc


class Awaiting(Scripted):
    """Says two words, then awaits a task that somebody has cancelled."""

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        for event in WORDS[:2]:
            self._fold.add(event)
        yield WORDS[:2]
        task = asyncio.create_task(asyncio.sleep(100))
        task.cancel()
        await task


class Giving(Scripted):
    """Gives batches as they are, right or wrong."""

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        for batch in self._script:
            yield batch


class Of:
    """A generator of one generation after the other."""

    def __init__(self, *generations: Any) -> None:
        self.generations = list(generations)

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Any:
        generation = self.generations.pop(0)
        if isinstance(generation, BaseException):
            raise generation
        return generation


async def recorded(generation: Any, unfinished: Literal["end", "leave"] = "end") -> tuple[Recorded, list[LLMEvent]]:
    store = MemoryStreamStore()
    epoch = await store.create("str_1")
    stream = await store.open("str_1")
    outcome = await record(generation, stream, store, epoch, unfinished=unfinished)
    return outcome, stream.events


def failure_of(events: list[LLMEvent]) -> Failure:
    check_grammar(events)
    result = fold(events)
    assert result.status == "failed"
    assert result.error is not None
    return result.error


# Ending by itself


@pytest.mark.parametrize("unfinished", ["end", "leave"])
@in_standing_time
async def test_a_generation_that_is_cancelled_by_itself_has_failed(
    unfinished: Literal["end", "leave"], quiet: None
) -> None:
    outcome, events = await recorded(Awaiting("str_1", ()), unfinished)
    assert outcome == "ended"
    assert failure_of(events).code == "interrupted"
    assert events[:2] == WORDS[:2]


@in_standing_time
async def test_a_job_whose_generation_is_cancelled_by_itself_is_settled(quiet: None) -> None:
    office = Office()
    office.generator = Of(Awaiting("str_1", ()))
    async with office.worker() as worker:
        await office.submit("str_1")
        assert failure_of(await office.events()).code == "interrupted"
        await turns(30)
        assert (worker.running, await office.waiting()) == (0, 0)
        assert (await office.queue.survey()).workers[0].running == 0


@in_standing_time
async def test_a_recording_that_is_cancelled_leaves_the_log_to_the_next_writer() -> None:
    store = MemoryStreamStore()
    epoch = await store.create("str_1")
    stream = await store.open("str_1")
    generation = Scripted("str_1", [WORDS[:2], asyncio.Event()])
    recording = asyncio.create_task(record(generation, stream, store, epoch, unfinished="leave"))
    await stream.wait(1)
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    assert stream.events == WORDS[:2]


@pytest.mark.parametrize(
    "exc", [SystemExit(4), BaseExceptionGroup("", [SystemExit(1)]), ExceptionGroup("", [KeyError()])], ids=repr
)
@in_standing_time
async def test_a_generation_that_would_end_the_process_ends_its_own_stream(exc: BaseException, quiet: None) -> None:
    gate = asyncio.Event()
    other = a_stream("a", stream_id="str_2")
    async with Hub(Of(Scripted("str_2", [other[:1], gate, other[1:]]), Raising("str_1", exc))) as hub:
        await hub.start(messages=HELLO, stream_id="str_2")
        await hub.start(messages=HELLO, stream_id="str_1")
        assert failure_of(await whole(hub)).code == "interrupted"
        gate.set()
        assert await whole(hub, "str_2") == other


async def test_what_comes_from_outside_is_not_taken_for_the_generation_s() -> None:
    assert is_from_outside(KeyboardInterrupt())
    assert is_from_outside(GeneratorExit())
    assert is_from_outside(BaseExceptionGroup("", [KeyboardInterrupt()]))
    assert not is_from_outside(asyncio.CancelledError())
    assert not is_from_outside(SystemExit())
    assert not is_from_outside(KeyError())


# Its shape


async def an_async_function(**arguments: Any) -> Scripted:
    return Scripted("str_1", ())


async def an_async_generator(**arguments: Any) -> AsyncGenerator[int, None]:
    yield 1


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (an_async_function, "type coroutine"),
        (an_async_generator, "type async_generator"),
        (lambda **arguments: None, "returned None"),
        (lambda **arguments: [WORDS], "type list"),
        (lambda **arguments: Scripted("another", ()), "`stream_id`"),
    ],
    ids=["async_function", "async_generator", "none", "a_list", "another_stream"],
)
@in_standing_time
async def test_a_stream_that_is_no_generation_is_refused_and_leaves_nothing_open(stream: Any, words: str) -> None:
    class Generator:
        def __init__(self) -> None:
            self.stream = stream

    async with Hub(Generator()) as hub:
        with pytest.raises(ConfigurationError, match="`stream` has to be a plain function") as refused:
            await hub.start(messages=HELLO, stream_id="str_1")
        assert words in str(refused.value)
        assert list(await hub.list()) == []
        assert hub.running == 0


@in_standing_time
async def test_a_job_whose_generator_gives_no_generation_ends_at_once_and_says_why(quiet: None) -> None:
    office = Office()
    office.generator = Of(None)
    async with office.worker():
        await office.submit("str_1")
        failure = failure_of(await office.events())
    assert failure.code == "interrupted"
    assert "plain function that returns a generation" in failure.message


def test_what_begins_is_given_back_as_it_is_and_refusals_come_through() -> None:
    generator = Scripts()
    assert begin(generator, "str_1", {"messages": HELLO}) is generator.generations[0]
    with pytest.raises(InvalidRequestError):
        begin(generator, "str_1", {"messages": []})


@pytest.mark.parametrize("exc", [SystemExit(5), asyncio.CancelledError()], ids=repr)
@in_standing_time
async def test_a_generator_that_would_end_the_process_is_refused(exc: BaseException) -> None:
    async with Hub(Of(exc)) as hub:
        with pytest.raises(RuntimeError, match=type(exc).__name__):
            await hub.start(messages=HELLO)


def test_a_generator_whose_stream_can_be_seen_to_be_wrong_is_told_apart() -> None:
    class Generator:
        stream: Any

        def __init__(self, stream: Any) -> None:
            self.stream = stream

    assert misshapen(Scripts()) is None
    assert "`async def`" in str(misshapen(Generator(an_async_function)))
    assert "yields" in str(misshapen(Generator(an_async_generator)))


@pytest.mark.parametrize("generation", [None, object()])
@in_standing_time
async def test_whatever_is_recorded_the_log_ends(generation: Any, quiet: None) -> None:
    outcome, events = await recorded(generation)
    assert outcome == "ended"
    assert failure_of(events).code == "interrupted"


@pytest.mark.parametrize("unfinished", ["end", "leave"])
@in_standing_time
async def test_a_store_that_can_t_be_watched_leaves_no_log_open_that_nobody_goes_on_with(
    unfinished: Literal["end", "leave"], quiet: None
) -> None:
    class Away(Store):
        async def watch_cancel(self, stream_id: str, stop: Any) -> Any:
            raise StoreError("away")

    store = Away()
    epoch = await store.create("str_1")
    stream = await store.open("str_1")
    outcome = await record(Scripted("str_1", [WORDS]), stream, store, epoch, unfinished=unfinished)
    assert (outcome, stream.is_closed) == (("ended", True) if unfinished == "end" else ("left", False))


@in_standing_time
async def test_a_generation_that_can_t_be_stopped_harms_nobody_who_stops_it(quiet: None) -> None:
    class Unstoppable(Scripted):
        def stop(self) -> None:
            raise KeyError

    gate = asyncio.Event()
    async with Hub(Of(Unstoppable("str_1", [WORDS[:2], gate, WORDS[2:]]))) as hub:
        await hub.start(messages=HELLO, stream_id="str_1")
        await turns()
        await hub.cancel("str_1")
        gate.set()
        assert await whole(hub) == WORDS
    stop(Unstoppable("str_1", ()), "str_1")


# Its events


ELSEWHERE = a_stream("b", stream_id="str_2")


@pytest.mark.parametrize(
    "batches",
    [
        [WORDS[:2], [ELSEWHERE[2]]],
        [WORDS[:2], [WORDS[2], text(2, "once more")]],
        [WORDS[:2], [WORDS[1]]],
        [WORDS[:2], [text(0, "back")]],
        [WORDS[:2], [text(7, "far")]],
        [WORDS[:2], [WORDS[2], 5]],
        [WORDS[:2], None],
    ],
    ids=["another_stream", "twice", "again", "backwards", "hole", "no_event", "no_list"],
)
@in_standing_time
async def test_events_that_don_t_follow_end_the_stream_and_none_of_their_batch_is_kept(
    batches: Any, quiet: None
) -> None:
    outcome, events = await recorded(Giving("str_1", batches))
    assert outcome == "ended"
    assert events[:2] == WORDS[:2]
    assert {event.stream_id for event in events} == {"str_1"}
    failure = failure_of(events)
    assert (failure.code, failure.retryable) == ("interrupted", False)
    assert "don't follow" in failure.message
    assert fold(events).text == "Hello"


@in_standing_time
async def test_an_end_that_is_another_stream_s_is_not_taken(quiet: None) -> None:
    class Confused(Raising):
        def ending(self, *args: Any) -> list[LLMEvent]:
            return ELSEWHERE[2:]

    _, events = await recorded(Confused("str_1", KeyError()))
    assert {event.stream_id for event in events} == {"str_1"}
    failure_of(events)


def test_the_position_of_the_last_event_is_told_where_all_follow() -> None:
    assert check_events(WORDS, "str_1", -1) == WORDS[-1].seq
    assert check_events([], "str_1", 7) == 7
    with pytest.raises(MisfitError, match="position 0"):
        check_events(WORDS, "str_1", 3)
