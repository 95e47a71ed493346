"""A Python reader of a Pusher channel that comes late: what docs/sinks-pusher.md shows, before a real hub."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hub.completion import fold
from hub.events import LLMEvent, Snapshot, merge
from hub.testing import Gate, chat_reply
from sinks.pusher import Assembler

from .conftest import RunningHub

PAGE = Path(__file__).parents[3] / "docs" / "sinks-pusher.md"

CatchUp = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
def catch_up() -> CatchUp:
    """The page's own example."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "def catch_up(" in block]
    names: dict[str, Any] = {}
    exec(compile(block, "page", "exec"), names)
    example: CatchUp = names["catch_up"]
    return example


async def started(hub: RunningHub, *steps: Any) -> str:
    hub.endpoint.enqueue(chat_reply(list(steps), usage=True))
    return await hub.start()


async def test_a_late_reader_gets_a_snapshot_and_single_events_up_to_where_the_channel_goes_on(
    running_hub: RunningHub, catch_up: CatchUp
) -> None:
    gate, came = Gate(), asyncio.Event()
    stream_id = await started(running_hub, "a", "b", "c", gate, "d", "e", "f", "g")
    assembler = Assembler()
    shown: list[LLMEvent] = []

    def show(event: LLMEvent) -> None:
        shown.append(event)
        came.set()

    async with aiohttp.ClientSession(running_hub.url) as session, asyncio.timeout(10):
        async with running_hub.subscription(stream_id) as arriving:
            async for event in arriving:
                if event.seq == 3:
                    break
        first = asyncio.create_task(catch_up(session, assembler, stream_id, show))
        await came.wait()
        gate.open()
        await first
        assert [(event.type, event.seq) for event in shown] == [("snapshot", 3)]
        events = await running_hub.read(stream_id)
        # What came on the channel: one that merges known with unknown, and the one behind it.
        for event in (merge(events[2:6]), merge(events[6:8])):
            assert assembler.add_event(event) == []
        assert assembler.missing(stream_id) == (4, 5)
        await catch_up(session, assembler, stream_id, show)
    assert [(event.seq, event.span) for event in shown[1:]] == [(4, 1), (5, 1), (7, 2)]
    shown += [each for event in events[8:] for each in assembler.add_event(event)]
    assert fold(shown) == fold(events)


async def test_a_reader_that_comes_after_the_end_gets_a_snapshot_and_the_end(
    running_hub: RunningHub, catch_up: CatchUp
) -> None:
    stream_id = await started(running_hub, "a", "b")
    events = await running_hub.read(stream_id)
    assembler = Assembler()
    shown: list[LLMEvent] = []
    async with aiohttp.ClientSession(running_hub.url) as session, asyncio.timeout(10):
        await catch_up(session, assembler, stream_id, shown.append)
    assert isinstance(shown[0], Snapshot)
    assert shown[1:] == events[-1:]
    assert assembler.is_done(stream_id)
    assert fold(shown) == fold(events)
