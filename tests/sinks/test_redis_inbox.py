"""What waits for a reader of a channel."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.errors import SinkUnavailableError
from sinks.redis.inbox import Inbox, Missed, Word
from tests.contracts.samples import in_standing_time, now


def inbox(**options: Any) -> Inbox:
    return Inbox(**{"max_messages": 3, "max_bytes": 100, "outage_timeout": 5.0, "address": "here:1", **options})


async def taken(box: Inbox, count: int) -> list[Word | None]:
    return [await box.get() for _ in range(count)]


@in_standing_time
async def test_messages_come_in_order() -> None:
    box = inbox()
    box.hear(b"1")
    box.hear(b"2")
    assert await taken(box, 2) == [b"1", b"2"]


@in_standing_time
async def test_a_full_box_says_where_messages_are_missing_and_goes_on_once_it_is_empty() -> None:
    box = inbox()
    for n in range(9):
        box.hear(b"%d" % n)
    assert await taken(box, 3) == [b"0", b"1", b"2"]
    box.hear(b"still dropped, as what was dropped came before it")
    assert await taken(box, 1) == [Missed.ROOM]
    box.hear(b"9")
    assert await taken(box, 1) == [b"9"]


@in_standing_time
async def test_a_box_is_full_by_bytes_too_but_takes_any_single_message() -> None:
    box = inbox()
    box.hear(b"x" * 1000)
    box.hear(b"y")
    assert await taken(box, 2) == [b"x" * 1000, Missed.ROOM]
    box.hear(b"x" * 60)
    box.hear(b"y" * 60)
    assert await taken(box, 2) == [b"x" * 60, Missed.ROOM]


@in_standing_time
async def test_a_connection_that_is_there_again_stands_between_the_messages() -> None:
    box = inbox()
    box.confirmed()  # the first time nothing can have been missed
    box.hear(b"1")
    box.lost()
    box.lost()
    box.confirmed()
    box.hear(b"2")
    assert await taken(box, 3) == [b"1", Missed.CONNECTION, b"2"]


@in_standing_time
async def test_connections_that_come_and_go_fill_no_memory() -> None:
    box = inbox()
    for _ in range(100):
        box.lost()
        box.confirmed()
    box.hear(b"1")
    assert await taken(box, 2) == [Missed.CONNECTION, b"1"]


@in_standing_time
async def test_a_channel_that_is_not_heard_for_too_long_is_told_again_and_again() -> None:
    box = inbox()
    waiting = asyncio.create_task(box.get())
    await asyncio.sleep(100)
    box.lost()
    for seconds in (105, 110):
        with pytest.raises(SinkUnavailableError, match="here:1 could not be reached for 5 s"):
            await waiting
        assert now() == seconds
        waiting = asyncio.create_task(box.get())
    await asyncio.sleep(1)
    box.confirmed()
    assert await waiting is Missed.CONNECTION


@in_standing_time
async def test_what_waits_is_taken_while_the_channel_is_not_heard() -> None:
    box = inbox()
    box.lost()
    box.hear(b"1")
    await asyncio.sleep(100)
    assert await box.get() == b"1"


@in_standing_time
async def test_who_waits_comes_to_the_end_when_the_box_is_closed() -> None:
    box = inbox()
    waiting = asyncio.create_task(box.get())
    await asyncio.sleep(1)
    box.close()
    assert await waiting is None
    box.hear(b"1")
    assert await box.get() is None
