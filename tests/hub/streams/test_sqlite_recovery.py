"""What a store makes of the file that a killed process left."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.errors import StoreError
from hub.events import ApprovalRequest
from hub.result import TokenUsage
from hub.testing import check_grammar, collect

from ...contracts.conftest import events_of
from ...contracts.samples import a_stream, meta, positions, text
from .support import crashed, edit, opened


async def test_what_was_running_ends_as_interrupted_far_enough_behind_what_it_had_said(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        epoch = await store.create("str_1", model="asked")
        await store.append("str_1", a_stream(*"abc")[:3], epoch=epoch)
        after = crashed(path, "copy.db")
    async with opened(after) as store:
        events = await events_of(store, "str_1")
        assert [event.type for event in events] == [
            "meta",
            "text_delta",
            "text_delta",
            "snapshot",
            "error",
            "usage",
            "done",
        ]
        check_grammar(events)
        snapshot, error = events[3:5]
        assert (snapshot.seq, snapshot.span) == (2 + 65_537, 65_537)  # type: ignore[union-attr]
        assert (error.code, error.retryable) == ("interrupted", True)  # type: ignore[union-attr]
        result = (await store.open("str_1")).result()
        assert (result.text, result.status, result.model) == ("ab", "failed", "model-x")
        assert [(info.status, info.last_seq) for info in await store.list()] == [("failed", events[-1].seq)]


async def test_what_the_interrupted_answer_was_asked_is_counted_as_well(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        epoch = await store.create("str_1", input_tokens=12)
        await store.append("str_1", [meta(0), text(1), text(2)], epoch=epoch)
        after = crashed(path, "copy.db")
    async with opened(after) as store:
        usage = (await store.open("str_1")).result().usage
        assert usage == TokenUsage(input_tokens=12, output_tokens=1, total_tokens=13, estimated=True)


async def test_a_reader_who_saw_more_than_is_left_reads_on_behind_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        epoch = await store.create("str_1")
        await store.append("str_1", a_stream(*"abc")[:3], epoch=epoch)
        after = crashed(path, "copy.db")
    async with opened(after) as store:
        log = await store.open("str_1", at_least=9)
        first, *rest = await collect(log.read(after=9))
        assert (first.type, rest[-1].type) == ("snapshot", "done")
        assert positions([first, *rest]) == list(range(10, log.last_seq + 1))


async def test_a_stream_in_which_nothing_was_said_ends_whole(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        await store.create("str_1", model="asked")
        after = crashed(path, "copy.db")
    async with opened(after) as store:
        events = await events_of(store, "str_1")
        assert [event.type for event in events] == ["meta", "error", "usage", "done"]
        assert (await store.open("str_1")).model == "asked"


@pytest.mark.parametrize("goes_on", [False, True])
async def test_what_waits_for_a_person_is_known_by_its_log_whatever_its_row_says(tmp_path: Path, goes_on: bool) -> None:
    """The row that says so is written after the events: a crash may come between."""
    path = tmp_path / "streams.db"
    asks = [meta(0), ApprovalRequest(stream_id="str_1", seq=1, id="call_1", name="pay", arguments="{}")]
    async with opened(path) as store:
        epoch = await store.create("str_1")
        await store.append("str_1", asks, epoch=epoch)
        await store.list()  # its row is up to date behind this
        if goes_on:
            await store.append("str_1", [meta(2, attempt=2)], epoch=epoch)
        after = crashed(path, "copy.db")
    if not goes_on:
        edit(after, "UPDATE streams SET status = 'running', last_seq = -1")
    async with opened(after) as store:
        (info,) = await store.list()
        assert info.status == ("failed" if goes_on else "waiting")
        log = await store.open("str_1")
        assert log.events[:2] == asks
        assert log.last_seq == info.last_seq


async def test_one_damaged_log_keeps_no_other_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        for number in (1, 2):
            epoch = await store.create(f"str_{number}")
            events = a_stream("a", stream_id=f"str_{number}")
            await store.append(f"str_{number}", events[:2], epoch=epoch)
        after = crashed(path, "copy.db")
    edit(after, "UPDATE batches SET lines = x'7b' WHERE stream = 1")
    async with opened(after) as store:
        assert [info.status for info in await store.list()] == ["failed", "failed"]
        assert (await events_of(store, "str_2"))[-1].type == "done"
        with pytest.raises(StoreError, match="stream 'str_1' is damaged"):
            await store.open("str_1")


async def test_starting_again_after_a_crash_during_the_start_ends_each_stream_once(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        epoch = await store.create("str_1")
        await store.append("str_1", [meta(0), text(1)], epoch=epoch)
        after = crashed(path, "copy.db")
    async with opened(after) as store:
        again = crashed(after, "again.db")
        events = await events_of(store, "str_1")
    async with opened(again) as store:
        assert await events_of(store, "str_1") == events
