"""From a log to the sinks that a request names: at each sink's own pace, to the end, and harming nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import ClosedError, InvalidRequestError, SinkRejectedError, SinkUnavailableError
from hub.events import LLMEvent
from hub.hub import Hub
from hub.jobs.remote import RemoteWorkers
from hub.relaying import Relays, SinkRequest, read_sinks
from hub.streams.log import StreamLog
from hub.testing import check_grammar
from sinks.memory import MemorySink

from ..contracts.generations import HELLO, WORDS, Scripts, whole
from ..contracts.samples import a_stream, in_standing_time, now, positions, turns
from .office import Office

LIVE = (SinkRequest("live"),)


class Kept(MemorySink):
    """A MemorySink that raises what it is told to, at the event that it is told."""

    def __init__(self, fails: Mapping[int, Exception] | None = None) -> None:
        super().__init__()
        self.fails = dict(fails or {})

    async def send(self, event: LLMEvent) -> None:
        if len(self.events) in self.fails:
            raise self.fails.pop(len(self.events))
        await super().send(event)


class Hanging(MemorySink):
    """Never takes an event; cancelled, it hangs as often again as it is told."""

    def __init__(self, stubborn: int = 0) -> None:
        super().__init__()
        self._stubborn = stubborn

    async def send(self, event: LLMEvent) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self._stubborn == 0:
                    raise
                self._stubborn -= 1


class Book:
    """An opener: each name has the sinks that it gives, one after another."""

    def __init__(self, **sinks: list[Any]) -> None:
        self.opened: list[tuple[SinkRequest, str]] = []
        self._sinks = sinks

    def check(self, request: SinkRequest, stream_id: str) -> None:
        if request.name not in self._sinks:
            raise InvalidRequestError(f"There is no sink {request.name}.")

    def open(self, request: SinkRequest, stream_id: str) -> Any:
        self.check(request, stream_id)
        self.opened.append((request, stream_id))
        return self._sinks[request.name].pop(0)


def a_log(*events: LLMEvent) -> StreamLog:
    stream = StreamLog("str_1", created_at=0.0)
    stream.append(events)
    return stream


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, logger="hub")
    return lambda: [record.getMessage() for record in caplog.records]


# One stream and its sinks


@in_standing_time
async def test_each_sink_gets_every_event_and_is_closed_after_the_last() -> None:
    first, second = Kept(), Kept()
    book = Book(live=[first], chat=[second])
    async with Relays(book) as relays:
        stream = a_log()
        relay = relays.begin(stream, [SinkRequest("live"), SinkRequest("chat", "42")])
        assert relays.running == 2
        for event in WORDS:
            stream.append([event])
            await turns()
            assert first.events == second.events == stream.events
        await relay.wait(1.0)
        assert relays.running == 0
        assert first.is_closed
        assert second.is_closed
    assert book.opened == [(SinkRequest("live"), "str_1"), (SinkRequest("chat", "42"), "str_1")]


@in_standing_time
async def test_a_stream_is_carried_from_where_its_log_was() -> None:
    sink = Kept()
    async with Relays(Book(live=[sink])) as relays:
        stream = a_log(*WORDS[:2])
        relays.begin(stream, LIVE)
        stream.append(WORDS[2:])
    assert sink.events == WORDS[2:]


@in_standing_time
async def test_a_stream_that_has_ended_is_told_as_a_snapshot_and_its_end() -> None:
    sink = Kept()
    async with Relays(Book(live=[sink])) as relays:
        relays.begin(a_log(*WORDS), LIVE)
    assert [event.type for event in sink.events] == ["snapshot", "done"]
    assert fold(sink.events) == fold(WORDS)


@in_standing_time
async def test_a_sink_that_is_behind_gets_neighbours_as_one_and_loses_nothing() -> None:
    sink = Kept()
    long = a_stream(*(f" {n}" for n in range(1_000)))
    async with Relays(Book(live=[sink])) as relays:
        stream = a_log()
        relays.begin(stream, LIVE)
        stream.append(long)
    assert positions(sink.events) == positions(long)
    assert fold(sink.events) == fold(long)
    assert len(sink.events) < 20


@in_standing_time
async def test_a_sink_that_hangs_holds_up_nobody_and_is_broken_off_after_the_end(
    logged: Callable[[], list[str]],
) -> None:
    hanging, kept = Hanging(), Kept()
    async with Relays(Book(live=[hanging], chat=[kept]), drain_timeout=10.0) as relays:
        stream = a_log()
        relay = relays.begin(stream, [SinkRequest("live"), SinkRequest("chat")])
        stream.append(WORDS[:2])
        await asyncio.sleep(3_600)
        assert kept.events == WORDS[:2]
        assert relays.running == 2
        stream.append(WORDS[2:])
        ended_at = now()
        await turns()
        assert kept.events == WORDS
        await relay.wait(60.0)
        assert now() - ended_at == 10.0
    assert hanging.is_closed
    assert logged() == [
        "sink live of stream str_1 failed and gets nothing more of it: it did not take the end within 10 s"
    ]


@in_standing_time
async def test_a_sink_that_is_broken_off_is_reported_with_what_it_says_is_wrong(
    logged: Callable[[], list[str]],
) -> None:
    class Troubled(Hanging):
        trouble = "it answered 503"

    async with Relays(Book(live=[Troubled()]), drain_timeout=10.0) as relays:
        stream = a_log()
        relay = relays.begin(stream, [SinkRequest("live")])
        stream.append(WORDS)
        await relay.wait(60.0)
    assert logged() == [
        (
            "sink live of stream str_1 failed and gets nothing more of it: it did not take the end within 10 s; "
            "the last try failed: it answered 503"
        )
    ]


@pytest.mark.parametrize("error", [SinkRejectedError("refused"), ConnectionError("refused"), TimeoutError("refused")])
@in_standing_time
async def test_a_sink_that_fails_gets_nothing_more_and_the_others_go_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    failing, kept = Kept({1: error}), Kept()
    async with Relays(Book(live=[kept], chat=[failing])) as relays:
        stream = a_log()
        relays.begin(stream, [SinkRequest("chat", "42"), SinkRequest("live")])
        for event in WORDS:
            stream.append([event])
            await turns()
    assert kept.events == WORDS
    assert failing.events == WORDS[:1]
    assert failing.is_closed
    (record,) = caplog.records
    assert record.getMessage() == "sink chat (42) of stream str_1 failed and gets nothing more of it: refused"


@in_standing_time
async def test_a_sink_that_can_t_be_opened_is_logged_and_harms_nobody(logged: Callable[[], list[str]]) -> None:
    kept = Kept()
    async with Relays(Book(live=[kept])) as relays:
        stream = a_log()
        relays.begin(stream, [SinkRequest("unknown"), SinkRequest("live")])
        stream.append(WORDS)
    assert kept.events == WORDS
    assert logged() == ["sink unknown of stream str_1 failed and gets nothing more of it: There is no sink unknown."]


@in_standing_time
async def test_a_sink_that_was_away_is_opened_anew_and_told_everything_so_far() -> None:
    away, again, third = Kept({2: SinkUnavailableError("away")}), Kept({1: SinkUnavailableError("away")}), Kept()
    async with Relays(Book(live=[away, again, third])) as relays:
        stream = a_log()
        relay = relays.begin(stream, LIVE)
        for event in WORDS[:4]:
            stream.append([event])
            await asyncio.sleep(0.6)
        stream.append(WORDS[4:])
        await relay.wait(60.0)
    assert away.is_closed
    assert again.is_closed
    assert [event.type for event in third.events] == ["snapshot", "done"]
    assert fold([*away.events, *again.events, *third.events]) == fold(WORDS)


@in_standing_time
async def test_a_sink_that_is_told_to_wait_is_opened_no_earlier() -> None:
    book = Book(live=[Kept({0: SinkUnavailableError("later", retry_after=7.0)}), Kept()])
    async with Relays(book) as relays:
        stream = a_log()
        relays.begin(stream, LIVE)
        stream.append(WORDS[:2])
        await asyncio.sleep(6.9)
        assert len(book.opened) == 1
        await asyncio.sleep(0.2)
        assert len(book.opened) == 2


@in_standing_time
async def test_a_sink_that_stays_away_is_given_up_after_the_end() -> None:
    book = Book(live=[Kept({0: SinkUnavailableError("away")}) for _ in range(10)])
    async with Relays(book, drain_timeout=5.0) as relays:
        stream = a_log()
        relay = relays.begin(stream, LIVE)
        stream.append(WORDS)
        began_at = now()
        await relay.wait(60.0)
        assert now() - began_at == 5.0
        assert len(book.opened) == 4  # at 0, 0.5, 1.5 and 3.5 s


# The end of a process's part


@in_standing_time
async def test_what_another_writer_says_later_is_not_carried() -> None:
    sink = Kept()
    async with Relays(Book(live=[sink])) as relays:
        stream = a_log()
        async with relays.relaying(stream, LIVE):
            stream.append(WORDS[:2])
        stream.append(WORDS[2:])
        await turns()
        assert sink.is_closed
    assert sink.events == WORDS[:2]


@in_standing_time
async def test_a_job_waits_for_its_sinks_for_a_second_at_most() -> None:
    async with Relays(Book(live=[Hanging()], chat=[Kept()])) as relays:
        for name, seconds in (("live", 1.0), ("chat", 0.0)):
            stream = a_log()
            began_at = now()
            async with relays.relaying(stream, [SinkRequest(name)]):
                stream.append(WORDS)
            assert now() - began_at == seconds


@in_standing_time
async def test_a_job_that_is_cancelled_waits_for_nobody() -> None:
    sink = Kept()
    began = asyncio.Event()

    async def work() -> None:
        async with relays.relaying(stream, [SinkRequest("chat"), SinkRequest("live")]):
            stream.append(WORDS[:2])
            began.set()
            await asyncio.Event().wait()

    async with Relays(Book(live=[Hanging()], chat=[sink])) as relays:
        stream = a_log()
        working = asyncio.create_task(work())
        await began.wait()
        working.cancel()
        began_at = now()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert now() == began_at
    assert sink.events == WORDS[:2]


@pytest.mark.parametrize("stubborn", [0, 1])
@in_standing_time
async def test_closing_gives_the_sinks_a_bounded_time(stubborn: int, logged: Callable[[], list[str]]) -> None:
    kept = Kept()
    async with Relays(Book(live=[Hanging(stubborn)], chat=[kept]), close_timeout=2.0) as relays:
        stream = a_log()
        relays.begin(stream, [SinkRequest("live"), SinkRequest("chat")])
        stream.append(WORDS[:3])
        began_at = now()
    assert now() - began_at == 2.0 + stubborn
    assert kept.events == WORDS[:3]
    assert logged() == [
        "sink live of stream str_1 failed and gets nothing more of it: the process stopped before it took all"
    ]


@in_standing_time
async def test_relays_work_inside_their_block_only_and_close_once() -> None:
    relays = Relays(Book(live=[Kept()]))
    with pytest.raises(ClosedError):
        relays.check(LIVE, "str_1")
    async with relays:
        relays.check(LIVE, "str_1")
        with pytest.raises(ClosedError):
            await relays.__aenter__()
    await relays.aclose()
    with pytest.raises(ClosedError):
        relays.check(LIVE, "str_1")
    with pytest.raises(ClosedError):
        await relays.__aenter__()


@in_standing_time
async def test_a_log_is_written_where_there_is_nothing_open_to_carry_it(logged: Callable[[], list[str]]) -> None:
    relays = Relays(Book(live=[Kept()]))
    office = Office([WORDS])
    async with office.worker(relays=relays):
        await office.submit("str_1", sinks=["live"])
        assert await office.events() == WORDS
    assert logged() == ["stream str_1 goes to no sink: what carries it is not open"]


# What a request names


@pytest.mark.parametrize(
    ("value", "requests"),
    [
        ((), ()),
        (["live"], LIVE),
        ([{"name": "chat", "channel": "42"}, "live"], (SinkRequest("chat", "42"), SinkRequest("live"))),
        ([{"name": "chat", "channel": None}], (SinkRequest("chat"),)),
        (
            [asdict(SinkRequest("chat", "1")), asdict(SinkRequest("chat", "2"))],
            (SinkRequest("chat", "1"), SinkRequest("chat", "2")),
        ),
        (LIVE, LIVE),
    ],
)
def test_sinks_are_named_by_words_and_objects(value: Any, requests: Any) -> None:
    assert read_sinks(value) == requests


@pytest.mark.parametrize(
    "value",
    [
        "live",
        7,
        None,
        [7],
        [{"name": 7}],
        [{"channel": "42"}],
        [{"name": "chat", "channel": 42}],
        [{"name": "chat", "url": "redis://elsewhere/chat"}],
        ["live", "live"],
        [{"name": "chat", "channel": str(n)} for n in range(17)],
    ],
)
def test_sinks_named_in_any_other_way_are_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match="sink"):
        read_sinks(value)


# In the hub


@in_standing_time
async def test_a_hub_carries_a_stream_to_the_sinks_that_its_start_names() -> None:
    sink = Kept()
    book = Book(chat=[sink])
    generator = Scripts([WORDS[:2], 1.0, WORDS[2:]])
    async with Relays(book) as relays, Hub(generator, relays=relays) as hub:
        await hub.start(messages=HELLO, stream_id="str_1", sinks=[{"name": "chat", "channel": "42"}])
        assert await whole(hub) == WORDS
    assert sink.events == WORDS
    assert book.opened == [(SinkRequest("chat", "42"), "str_1")]
    assert generator.asked == [{"messages": HELLO}]


@in_standing_time
async def test_a_generation_that_a_stopping_hub_breaks_off_has_its_end_in_the_sinks_too() -> None:
    sink = Kept()
    async with Relays(Book(live=[sink])) as relays, Hub(Scripts([WORDS[:2], asyncio.Event()]), relays=relays) as hub:
        await hub.start(messages=HELLO, stream_id="str_1", sinks=["live"])
        await turns(30)
    check_grammar(sink.events)
    assert fold(sink.events).status == "failed"


@in_standing_time
async def test_sinks_that_are_not_there_are_refused_before_anything_is_made() -> None:
    generator = Scripts()
    async with Relays(Book(live=[])) as relays, Hub(generator, relays=relays) as hub, Hub(generator) as without:
        with pytest.raises(InvalidRequestError, match="no sink elsewhere"):
            await hub.start(messages=HELLO, sinks=["live", "elsewhere"])
        with pytest.raises(InvalidRequestError, match="no sinks here"):
            await without.start(messages=HELLO, sinks=["live"])
        assert not await hub.list()
        assert not await without.list()
    assert generator.asked == []


# In workers


@in_standing_time
async def test_a_job_takes_its_sinks_along_and_its_generator_is_not_told() -> None:
    sink = Kept()
    book = Book(chat=[sink])
    office = Office([WORDS])
    async with (
        Relays(book) as relays,
        office.worker(relays=relays) as worker,
        Hub(None, office.store, workforce=worker, relays=relays) as hub,
    ):
        await hub.start(messages=HELLO, stream_id="str_1", sinks=[SinkRequest("chat", "42")])
        assert await whole(hub) == WORDS
        await turns(30)
        assert sink.events == WORDS
    assert office.generator.asked == [{"messages": HELLO}]
    assert book.opened == [(SinkRequest("chat", "42"), "str_1")]


@in_standing_time
async def test_readers_of_a_sink_stay_right_when_another_worker_takes_over() -> None:
    before, after = Kept(), Kept()
    office = Office([WORDS[:3], asyncio.Event()], [WORDS])
    async with Relays(Book(live=[before, after])) as relays:
        async with office.worker(relays=relays):
            await office.submit("str_1", sinks=["live"])
            await turns(30)
        async with office.worker(relays=relays):
            await office.events()
    assert before.events == WORDS[:3]
    assert after.events[0].type == "snapshot"
    check_grammar([*before.events, *after.events])
    for got in ([*before.events, *after.events], after.events):
        assert fold(got) == fold(await office.events())


@in_standing_time
async def test_an_end_that_a_worker_could_not_tell_any_more_is_told_by_the_next() -> None:
    sink = Kept()
    office = Office()
    await office.submit("str_1", sinks=["live"])
    await office.store.append("str_1", WORDS, epoch=1)
    await office.lost(times=1)
    async with Relays(Book(live=[sink])) as relays, office.worker(relays=relays):
        await turns(30)
        assert await office.waiting() == 0
    assert fold(sink.events) == fold(WORDS)


@in_standing_time
async def test_the_end_of_a_stream_that_was_cancelled_before_any_worker_had_it_is_told() -> None:
    sink = Kept()
    office = Office()
    async with (
        Relays(Book(live=[sink])) as relays,
        Hub(None, office.store, workforce=RemoteWorkers(office.queue), relays=relays) as hub,
    ):
        await hub.start(messages=HELLO, stream_id="str_1", sinks=["live"])
        await hub.cancel("str_1")
        await asyncio.sleep(1.0)
        assert (await hub.get("str_1")).status == "cancelled"
        async with office.worker(relays=relays):
            await turns(30)
    assert [event.type for event in sink.events] == ["snapshot", "done"]
    assert fold(sink.events).status == "cancelled"
    assert office.generator.asked == []


@pytest.mark.parametrize("sinks", [["elsewhere"], [7], "live"])
@in_standing_time
async def test_a_worker_that_knows_no_such_sink_writes_the_stream_all_the_same(
    sinks: Any, logged: Callable[[], list[str]]
) -> None:
    office = Office([WORDS])
    async with Relays(Book(live=[])) as relays, office.worker(relays=relays):
        await office.submit("str_1", sinks=sinks)
        assert await office.events() == WORDS
    assert any("str_1" in line and "sink" in line for line in logged())


@in_standing_time
async def test_a_worker_without_sinks_says_so_and_writes_the_stream(logged: Callable[[], list[str]]) -> None:
    office = Office([WORDS])
    async with office.worker():
        await office.submit("str_1", sinks=["live"])
        assert await office.events() == WORDS
    assert any("stream str_1 names sinks; this worker has none" in line and "HUB_SINKS" in line for line in logged())
