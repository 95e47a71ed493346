"""Sinks of a hub over a real server: workers are killed, the server is held still, and readers see none of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hub.completion import fold
from hub.events import LLMEvent
from hub.hub import Hub
from hub.jobs.remote import RemoteWorkers
from hub.named_sinks import open_relays
from hub.streams.redis import RedisStreamStore
from hub.testing import Hang, ScriptedEndpoint, chat_reply, collect
from sinks.jsonl import read_events
from sinks.redis import subscribe
from tests.contracts.generations import WORDS, Scripts
from tests.faults.proxy import FaultProxy
from tests.real.redis_server import RedisServer, redis_binaries
from tests.real.worker_processes import Site, open_site

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(next(iter(redis_binaries().values()))) as running:
        yield running


@pytest.fixture
async def site(server: RedisServer) -> AsyncIterator[Site]:
    async with open_site(server.url) as site:
        yield site


async def read(url: str, channel: str, ready: asyncio.Event) -> list[LLMEvent]:
    """The events of one stream on a channel."""
    events = []
    async with subscribe(channel, url=url) as reader:
        ready.set()
        async for event in reader:
            events.append(event)
            if event.type == "done":
                break
    return events


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
async def test_readers_of_a_channel_stay_right_when_the_worker_that_fills_it_goes(
    site: Site, server: RedisServer, way: signal.Signals
) -> None:
    sinks = f"live={server.url}/live:{{stream_id}}"
    ready = asyncio.Event()
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(ScriptedEndpoint())
        endpoint.enqueue(chat_reply(["Hello", Hang()]), chat_reply(["Hello", " again"]))
        for _ in range(2):
            await site.work("--base-url", endpoint.base_url, "--model", "m", HUB_SINKS=sinks, HUB_DRAIN_TIMEOUT="0")
        relays = await open_relays(stack, sinks)
        store = RedisStreamStore.from_url(server.url)
        hub = await stack.enter_async_context(Hub(None, store, workforce=RemoteWorkers(site.queue), relays=relays))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        reading = tasks.create_task(read(server.url, "live:str_1", ready))
        async with asyncio.timeout(60):
            await ready.wait()
            await hub.start(messages=HELLO, stream_id="str_1", sinks=["live"])
            await site.until("str_1", type="text_delta")
            (await site.busy()).send(way)
            events = await reading
        result = await hub.get("str_1")
    # The one that was killed may have told nothing yet: the snapshot of the next makes up for it.
    assert fold(events) == result
    assert (result.status, result.text) == ("completed", "Hello again")
    assert [event.type for event in events].count("snapshot") == 1


async def test_a_redis_that_is_held_still_holds_up_no_reader_and_no_other_sink_and_gets_all_of_it_later(
    server: RedisServer, tmp_path: Path
) -> None:
    ready, gate = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(server.port))
        sinks = f"live=redis://127.0.0.1:{proxy.port}/live:{{stream_id}}, kept=file://{tmp_path}/{{stream_id}}.jsonl"
        relays = await open_relays(stack, sinks)
        assert relays is not None
        hub = await stack.enter_async_context(Hub(Scripts([WORDS[:2], gate, WORDS[2:]]), relays=relays))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        reading = tasks.create_task(read(server.url, "live:str_1", ready))
        async with asyncio.timeout(60):
            await ready.wait()
            proxy.hold()
            await hub.start(messages=HELLO, stream_id="str_1", sinks=["live", "kept"])
            gate.set()
            async with asyncio.timeout(1):
                assert await collect(hub.subscribe("str_1")) == WORDS
            while relays.running > 1:  # noqa: ASYNC110 - nobody tells that the file has everything
                await asyncio.sleep(0.01)
            assert list(read_events(tmp_path / "str_1.jsonl")) == WORDS
            assert not reading.done()
            proxy.heal()
            assert fold(await reading) == fold(WORDS)
