"""What every sink promises, run over each of them and over what wraps them.

`sink_sides.py` says what a module has to have for its sinks to join.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import ClosedError, HubError, MalformedEventError, SinkError
from hub.events import LLMEvent, TextDelta
from hub.sink import FanOut, pump
from hub.testing import check_grammar
from sinks.memory import MemorySink

from .samples import RandomStream, a_stream, in_standing_time, meta, positions, source, text, without_leaks
from .sink_sides import Kind, OpenFailing, OpenSide, Side, collected

STREAM = a_stream(*(f" {n}" for n in range(50)))
SEEDS = range(8)

PATIENCE = 60.0
"""Seconds that one test may take by the real clock."""


@pytest.fixture(params=collected("SIDES"), ids=str)
def opening(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


over_failing = pytest.mark.parametrize("opening", collected("FAILING"), ids=str)
over_unentered = pytest.mark.parametrize("opening", collected("UNENTERED"), ids=str)


def in_its_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test by the clock that its sink needs: one whose hours take no time, or the real one."""

    async def patiently(arguments: dict[str, Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            await without_leaks(test(**arguments))

    @wraps(test)
    def run(opening: Kind, **others: Any) -> None:
        arguments = {"opening": opening.make, **others}
        if opening.is_real:
            asyncio.run(patiently(arguments))
        else:
            in_standing_time(test)(**arguments)

    return run


def assert_same(received: list[LLMEvent], sent: list[LLMEvent]) -> None:
    """Every position once and in order, and the same fold."""
    assert positions(received) == positions(sent)
    assert fold(received) == fold(sent)


@in_its_time
async def test_events_arrive_in_order_and_whole(opening: OpenSide) -> None:
    async with opening() as side:
        for event in STREAM:
            await side.sink.send(event)
            await asyncio.sleep(0.001)
    assert_same(side.received(), STREAM)


@pytest.mark.parametrize("seed", SEEDS)
@in_its_time
async def test_any_stream_arrives_whole(opening: OpenSide, seed: int) -> None:
    events = RandomStream(seed, snapshots=True).events
    async with opening() as side:
        assert await pump(source(events), side.sink) == fold(events)
    assert_same(side.received(), events)


@in_its_time
async def test_closing_flushes_and_happens_once(opening: OpenSide) -> None:
    async with opening() as side:
        for event in STREAM[:20]:
            await side.sink.send(event)
        await side.sink.aclose()
        await side.sink.aclose()
    assert_same(side.received(), STREAM[:20])


@in_its_time
async def test_a_closed_sink_takes_nothing(opening: OpenSide) -> None:
    async with opening() as side:
        await side.sink.send(STREAM[0])
        await side.sink.aclose()
        for event in (STREAM[1], STREAM[-1]):
            with pytest.raises(ClosedError):
                await side.sink.send(event)
    assert_same(side.received(), STREAM[:1])


@in_its_time
async def test_a_sink_may_be_closed_without_having_sent(opening: OpenSide) -> None:
    async with opening() as side:
        await side.sink.aclose()
    assert side.received() == []


@in_its_time
async def test_a_reader_that_stops_and_goes_on_loses_nothing(opening: OpenSide) -> None:
    async with opening() as side:
        await side.sink.send(STREAM[0])
        side.hold(True)
        asyncio.get_running_loop().call_later(0.5, side.hold, False)
        for event in STREAM[1:]:
            await side.sink.send(event)
    assert_same(side.received(), STREAM)


@in_its_time
async def test_a_cancelled_send_leaves_the_sink_usable_and_its_event_may_come_again(opening: OpenSide) -> None:
    async with opening() as side:
        for event in STREAM[:5]:
            await side.sink.send(event)
        side.hold(True)
        for event in STREAM[5:25]:
            try:
                async with asyncio.timeout(0.001):
                    await side.sink.send(event)
            except TimeoutError:
                side.hold(False)
                await side.sink.send(event)
                side.hold(True)
        side.hold(False)
    received = side.received()
    assert fold(received) == fold(STREAM[:25])
    once = {event.seq: event for event in received}
    assert_same(list(once.values()), STREAM[:25])
    assert all(once[event.seq] == event for event in received), "a repeat differs from the first"


@in_its_time
async def test_a_cancelled_pump_still_sends_the_end(opening: OpenSide) -> None:
    waiting = asyncio.Event()

    async def endless() -> AsyncGenerator[LLMEvent, None]:
        for event in STREAM[:10]:
            yield event
        waiting.set()
        await asyncio.Event().wait()

    async def work(side: Side) -> None:
        await pump(endless(), side.sink)

    async with opening() as side:
        working = asyncio.create_task(work(side))
        await waiting.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    check_grammar(side.received())
    result = fold(side.received())
    assert (result.status, result.text) == ("cancelled", fold(STREAM[:10]).text)


@in_its_time
async def test_a_large_text_and_any_character_arrive(opening: OpenSide) -> None:
    odd = '\x00\u2028\ufeff😀👩\u200d👩 \u202eשלום\u202c e\u0301\r\n\n\x7f\U0010ffff\\"</script>'
    said = ("x" * 1_000_000, odd, "", "😀\x00" * 100_000, "ש" * 7_001)
    events: list[LLMEvent] = [meta(0), *(text(seq, each) for seq, each in enumerate(said, 1))]
    async with opening() as side:
        for event in events:
            await side.sink.send(event)
    assert_same(side.received(), events)
    assert "".join(event.text for event in side.received() if isinstance(event, TextDelta)) == "".join(said)


@in_its_time
async def test_half_a_character_is_carried_or_refused_and_the_rest_arrives(opening: OpenSide) -> None:
    halved, whole = text(1, "\ud83d"), text(1, "\ufffd")
    async with opening() as side:
        await side.sink.send(meta(0))
        sent = [halved]
        try:
            await side.sink.send(halved)
        except MalformedEventError:
            sent = [whole]
            await side.sink.send(whole)
    assert_same(side.received(), [meta(0), *sent])


@in_its_time
async def test_a_reader_that_takes_nothing_holds_the_producer_back(opening: OpenSide) -> None:
    async with opening() as side:
        if side.bound is None:
            pytest.skip("what is behind it has the bound")
        side.hold(True)
        events: list[LLMEvent] = [meta(0), *(text(seq, "x", choice=seq % 2) for seq in range(1, side.bound + 2))]
        taken = 0
        try:
            async with asyncio.timeout(0.5):
                for event in events:
                    await side.sink.send(event)
                    taken += 1
        except (TimeoutError, SinkError):
            pass
        side.hold(False)
        assert taken <= side.bound


@over_failing
@in_its_time
async def test_a_sink_that_can_t_carry_says_so_and_can_be_closed(opening: OpenFailing) -> None:
    async with opening() as sink:

        async def send_all() -> None:
            for event in STREAM:
                await sink.send(event)
                await asyncio.sleep(0.01)
            await sink.aclose()

        with pytest.raises(HubError):
            await send_all()
        with pytest.raises((HubError, ClosedError)):
            await sink.send(STREAM[-1])
        await sink.aclose()
        await sink.aclose()


@over_failing
@in_its_time
async def test_a_sink_that_can_t_carry_harms_no_other_of_a_fan_out(opening: OpenFailing) -> None:
    kept = MemorySink()

    async def paced() -> AsyncGenerator[LLMEvent, None]:
        for event in STREAM:
            yield event
            await asyncio.sleep(0.01)

    async with opening() as broken:
        async with FanOut(broken, kept) as sink:
            result = await pump(paced(), sink)
        assert [failed for failed, _ in sink.failures] == [broken]
    assert result == fold(STREAM)
    assert kept.events == STREAM


@over_unentered
@in_its_time
async def test_a_sink_that_must_be_entered_takes_nothing_before(opening: Callable[[], Any]) -> None:
    sink = opening()
    with pytest.raises(ClosedError):
        await sink.send(STREAM[0])
    await sink.aclose()
    with pytest.raises(ClosedError):
        await sink.send(STREAM[0])
