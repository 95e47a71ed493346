"""What gathers for a transport while a group is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from hub.errors import ClosedError, SinkError, SinkUnavailableError
from hub.events import LLMEvent, TextDelta
from sinks.outbox import Outbox, Waiting

from ..contracts.samples import done, in_standing_time, meta, now, text, turns, words


class Transport:
    """Takes a group once `gate` is open, and notes when it came."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.times: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.releases = 0

    async def deliver(self, group: list[Waiting]) -> None:
        self.times.append(now())
        self.groups.append([each.event.seq for each in group])
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure

    async def release(self) -> None:
        self.releases += 1

    def outbox(self, **options: Any) -> Outbox:
        bounds: dict[str, Any] = {"max_delay": 0.1, "eager_bytes": 100, "max_bytes": 1000, "close_timeout": 5.0}
        return Outbox("The test", self.deliver, release=self.release, **(bounds | options))


async def put(outbox: Outbox, *events: LLMEvent, size: int = 1) -> None:
    for event in events:
        await outbox.put(event, b"x" * size)


@in_standing_time
async def test_the_first_event_goes_at_once_and_what_follows_goes_together() -> None:
    transport = Transport()
    async with transport.outbox() as outbox:
        await put(outbox, text(1))
        await turns()
        assert transport.groups == [[1]]
        await put(outbox, *words(3, first=2))
        await outbox.flush()
    assert transport.groups == [[1], [2, 3, 4]]
    assert transport.times == pytest.approx([0.0, 0.1])


@in_standing_time
async def test_meta_makes_the_first_delta_not_wait() -> None:
    transport = Transport()
    async with transport.outbox() as outbox:
        await put(outbox, meta(0))
        await turns()
        await put(outbox, text(1))
        await outbox.flush()
    assert transport.times == [0.0, 0.0]


@in_standing_time
async def test_what_gathers_while_a_group_is_under_way_goes_in_the_next() -> None:
    transport = Transport()
    async with transport.outbox(max_delay=0) as outbox:
        transport.gate.clear()
        await put(outbox, text(1))
        await turns()
        await put(outbox, *words(3, first=2))
        await turns()
        assert transport.groups == [[1]]
        transport.gate.set()
        await outbox.flush()
    assert transport.groups == [[1], [2, 3, 4]]


@pytest.mark.parametrize("hurrying", [[done(3)], [text(3, "x" * 100)]], ids=["the end", "much"])
@in_standing_time
async def test_nothing_waits_for_others_once_there_is_much_or_the_end(hurrying: list[LLMEvent]) -> None:
    transport = Transport()
    async with transport.outbox(max_delay=60) as outbox:
        await put(outbox, text(1))
        await turns()
        await put(outbox, text(2))
        await put(outbox, *hurrying, size=1 if hurrying[0].type == "done" else 100)
        await outbox.flush()
        assert now() == 0
        await put(outbox, text(4))
        await turns()
        assert transport.groups == [[1], [2, 3]]
    assert transport.groups == [[1], [2, 3], [4]]
    assert now() == 0


@in_standing_time
async def test_a_group_has_no_more_than_fits_and_the_rest_follows() -> None:
    def two(waiting: Collection[Waiting]) -> int:
        return min(2, len(waiting))

    transport = Transport()
    async with transport.outbox(fitting=two, max_delay=60) as outbox:
        await put(outbox, *words(4), done(5))
    assert transport.groups == [[1, 2], [3, 4], [5]]
    assert now() == 0


@in_standing_time
async def test_put_waits_at_the_bound_for_what_is_under_way_too() -> None:
    transport = Transport()
    async with transport.outbox(max_bytes=30) as outbox:
        transport.gate.clear()
        await put(outbox, text(1), text(2), size=15)
        waiting = asyncio.ensure_future(put(outbox, text(3)))
        await turns()
        assert not waiting.done()
        transport.gate.set()
        await waiting
    assert transport.groups == [[1, 2], [3]]


@in_standing_time
async def test_what_a_cancelled_put_had_taken_goes_once() -> None:
    transport = Transport()
    async with transport.outbox(max_bytes=1) as outbox:
        transport.gate.clear()
        await put(outbox, text(1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await put(outbox, text(2))
        transport.gate.set()
        await put(outbox, text(1), text(2), text(2))
    assert transport.groups == [[1], [2]]


@in_standing_time
async def test_a_stream_that_follows_another_is_taken_from_its_start() -> None:
    transport = Transport()
    async with transport.outbox() as outbox:
        await put(outbox, text(7), TextDelta(stream_id="str_2", seq=0, text="a"))
    assert transport.groups == [[7, 0]]


@in_standing_time
async def test_a_group_that_fails_ends_it_and_every_call_says_so() -> None:
    transport = Transport()
    outbox = await transport.outbox(max_bytes=1).__aenter__()
    transport.gate.clear()
    transport.failure = SinkError("no more")
    await put(outbox, text(1))
    waiting = asyncio.ensure_future(put(outbox, text(2)))
    flushing = asyncio.ensure_future(outbox.flush())
    await turns()
    transport.gate.set()
    for call in (waiting, flushing, put(outbox, text(3))):
        with pytest.raises(SinkError, match="no more"):
            await call
    await outbox.aclose()
    assert transport.groups == [[1]]
    assert transport.releases == 1


@in_standing_time
async def test_closing_says_what_no_call_has_said() -> None:
    transport = Transport()
    transport.failure = SinkError("no more")
    outbox = await transport.outbox().__aenter__()
    await put(outbox, text(1))
    with pytest.raises(SinkError, match="no more"):
        await outbox.aclose()
    await outbox.aclose()
    assert transport.releases == 1


@in_standing_time
async def test_closing_waits_for_the_last_group_but_not_for_ever() -> None:
    transport = Transport()
    outbox = await transport.outbox().__aenter__()
    transport.gate.clear()
    await put(outbox, text(1))
    with pytest.raises(SinkUnavailableError, match="within 5 s"):
        await outbox.aclose()
    assert now() == pytest.approx(5)
    assert transport.releases == 1


@in_standing_time
async def test_a_release_that_hangs_is_left_and_said() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    async def deliver(group: list[Waiting]) -> None:
        pass

    outbox = Outbox("The test", deliver, release=hang, max_delay=0, eager_bytes=1, max_bytes=1, close_timeout=5.0)
    async with outbox:
        with pytest.raises(SinkUnavailableError, match="not closed within 5 s"):
            await outbox.aclose()


@in_standing_time
async def test_the_last_cause_is_said_where_a_group_did_not_arrive_in_time() -> None:
    transport = Transport()
    transport.gate.clear()
    outbox = transport.outbox(trouble=lambda: "it answered 503")
    await outbox.__aenter__()
    await put(outbox, text(1))
    words = "^The test did not take the last events within 5 s; the last try failed: it answered 503.$"
    with pytest.raises(SinkUnavailableError, match=words):
        await outbox.aclose()


@in_standing_time
async def test_a_group_that_did_not_arrive_is_said_before_a_release_that_hangs() -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    outbox = Outbox("The test", hang, release=hang, max_delay=0, eager_bytes=1, max_bytes=1, close_timeout=5.0)
    await outbox.__aenter__()
    await put(outbox, text(1))
    with pytest.raises(SinkUnavailableError, match="did not take the last events"):
        await outbox.aclose()


@in_standing_time
async def test_what_ends_the_block_is_not_hidden_and_waits_a_second_at_most() -> None:
    transport = Transport()
    transport.gate.clear()

    async def fail() -> None:
        async with transport.outbox() as outbox:
            await put(outbox, text(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert now() == pytest.approx(1)
    assert transport.releases == 1


@in_standing_time
async def test_a_cancelled_close_lets_go_all_the_same() -> None:
    transport = Transport()
    outbox = await transport.outbox().__aenter__()
    transport.gate.clear()
    await put(outbox, text(1))
    closing = asyncio.ensure_future(outbox.aclose())
    await turns()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert transport.releases == 1


@pytest.mark.parametrize("cancelled_after", [0.0, 5.5], ids=["waiting for the last group", "letting go"])
@in_standing_time
async def test_whoever_waits_learns_of_a_close_that_is_cancelled(cancelled_after: float) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    transport = Transport()
    outbox = Outbox(
        "The test", transport.deliver, release=hang, max_delay=0, eager_bytes=1, max_bytes=1, close_timeout=5.0
    )
    await outbox.__aenter__()
    transport.gate.clear()
    await put(outbox, text(1))
    flushing = asyncio.ensure_future(outbox.flush())
    waiting_for_room = asyncio.ensure_future(put(outbox, text(2)))
    closing = asyncio.ensure_future(outbox.aclose())
    await turns()
    await asyncio.sleep(cancelled_after)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(SinkUnavailableError, match="The test"):
        await flushing
    with pytest.raises(ClosedError):
        await waiting_for_room
    with pytest.raises(SinkUnavailableError, match="The test"):
        await outbox.flush()


@in_standing_time
async def test_a_close_that_is_cancelled_at_once_is_learned_of_too() -> None:
    transport = Transport()
    outbox = await transport.outbox().__aenter__()
    transport.gate.clear()
    await put(outbox, text(1))
    flushing = asyncio.ensure_future(outbox.flush())
    await turns()
    closing = asyncio.ensure_future(outbox.aclose())
    await asyncio.sleep(0)  # it has begun
    closing.cancel()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(SinkUnavailableError, match="was closed before the last events arrived"):
        await flushing


@in_standing_time
async def test_a_close_that_is_cancelled_after_everything_arrived_is_no_failure() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    async def deliver(group: list[Waiting]) -> None:
        pass

    outbox = Outbox("The test", deliver, release=hang, max_delay=0, eager_bytes=1, max_bytes=1, close_timeout=5.0)
    await outbox.__aenter__()
    await put(outbox, text(1))
    closing = asyncio.ensure_future(outbox.aclose())
    await turns()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await outbox.flush()


@in_standing_time
async def test_it_is_entered_once_and_takes_events_while_it_is() -> None:
    transport = Transport()
    outbox = transport.outbox()
    with pytest.raises(ClosedError, match="inside"):
        await put(outbox, text(1))
    async with outbox:
        with pytest.raises(ClosedError, match="once"):
            await outbox.__aenter__()
    with pytest.raises(ClosedError, match="inside"):
        await put(outbox, text(1))
    unentered = transport.outbox()
    await unentered.aclose()
    with pytest.raises(ClosedError, match="once"):
        await unentered.__aenter__()
