"""Workers that are killed, held still, told to stop or poisoned: real processes over a real server."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.completion import fold
from hub.events import LLMEvent
from hub.testing import Gate, Hang, ScriptedEndpoint, chat_reply, check_grammar
from tests.contracts.generations import Scripts
from tests.real.redis_server import RedisServer, redis_binaries
from tests.real.worker_processes import ROOT, Site, environment, open_site

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(next(iter(redis_binaries().values())), "--dir", str(tmp_path)) as running:
        yield running


@pytest.fixture
async def site(server: RedisServer) -> AsyncIterator[Site]:
    async with open_site(server.url) as site:
        yield site


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint() as endpoint:
        yield endpoint


def check_second_attempt(events: list[LLMEvent]) -> None:
    """The stream was begun, taken over and ended once."""
    check_grammar(events)
    types = [event.type for event in events]
    assert types.count("done") == 1
    snapshot = next(event for event in events if event.type == "snapshot")
    assert snapshot.reason == "takeover"
    assert [event.attempt for event in events if event.type == "meta"] == [1, 2]
    result = fold(events)
    assert (result.status, result.text) == ("completed", "Hello again")


async def test_a_killed_worker_is_noticed_within_five_seconds_and_its_stream_goes_on(
    site: Site, endpoint: ScriptedEndpoint
) -> None:
    endpoint.enqueue(chat_reply(["Hello", Hang()]), chat_reply(["Hello", " again"]))
    for _ in range(2):
        await site.work("--base-url", endpoint.base_url, "--model", "m")
    await site.hub.start(messages=HELLO, stream_id="str_1")
    await site.until("str_1", type="text_delta")
    dead = await site.busy()
    dead.send(signal.SIGKILL)
    killed_at = time.monotonic()
    await site.until("str_1", type="snapshot")
    assert time.monotonic() - killed_at < 5.0
    check_second_attempt(await site.until("str_1", type="done"))
    await site.until_workers(lambda workers: [worker.running for worker in workers] == [0])


async def test_a_worker_that_was_held_still_writes_nothing_more_and_works_on(
    site: Site, endpoint: ScriptedEndpoint
) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply(["Hello", gate, " world"]), chat_reply(["Hello", " again"]))
    slow = await site.work("--base-url", endpoint.base_url, "--model", "m")
    await site.hub.start(messages=HELLO, stream_id="str_1")
    await site.until("str_1", type="text_delta")
    other = await site.work("--base-url", endpoint.base_url, "--model", "m")
    slow.send(signal.SIGSTOP)
    events = await site.until("str_1", type="done")
    check_second_attempt(events)
    slow.send(signal.SIGCONT)
    gate.open()
    other.send(signal.SIGTERM)
    assert await other.code() == 0
    endpoint.enqueue(chat_reply(["Fine"]))
    await site.hub.start(messages=HELLO, stream_id="str_2")
    assert fold(await site.until("str_2", type="done")).text == "Fine"
    assert await site.until("str_1", type="done") == events
    await site.until_workers(lambda workers: [(each.name, each.running) for each in workers] == [(slow.name, 0)])


async def test_sigterm_lets_a_stream_end(site: Site, endpoint: ScriptedEndpoint) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
    worker = await site.work("--base-url", endpoint.base_url, "--model", "m")
    await site.hub.start(messages=HELLO, stream_id="str_1")
    await site.until("str_1", type="text_delta")
    worker.send(signal.SIGTERM)
    gate.open()
    assert await worker.code() == 0
    result = fold(await site.until("str_1", type="done"))
    assert (result.status, result.text) == ("completed", "Hello world")


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_worker_that_stops_hands_over_what_it_can_not_end(
    signals: int, site: Site, endpoint: ScriptedEndpoint
) -> None:
    endpoint.enqueue(chat_reply(["Hello", Hang()]), chat_reply(["Hello", " again"]))
    drain_timeout = "0.5" if signals == 1 else "60"
    worker = await site.work("--base-url", endpoint.base_url, "--model", "m", HUB_DRAIN_TIMEOUT=drain_timeout)
    await site.hub.start(messages=HELLO, stream_id="str_1")
    await site.until("str_1", type="text_delta")
    await site.work("--base-url", endpoint.base_url, "--model", "m", HUB_MAX_ATTEMPTS="1")
    told_at = time.monotonic()
    worker.send(signal.SIGINT)
    if signals == 2:
        worker.send(signal.SIGTERM)
    events = await site.until("str_1", type="done")
    assert time.monotonic() - told_at < 3.0  # not by the lease
    check_second_attempt(events)
    assert await worker.code() == 0


async def test_a_job_that_costs_worker_after_worker_is_set_aside_and_can_be_asked_for_again(
    site: Site, server: RedisServer, endpoint: ScriptedEndpoint
) -> None:
    for _ in range(2):
        await site.work(HUB_APP="tests.real.poison:Poison", HUB_MAX_ATTEMPTS="2")
    await site.hub.start(messages=HELLO, stream_id="str_1")
    await site.until_workers(lambda workers: len(workers) == 1)  # the first is gone, and found to be
    await site.work("--base-url", endpoint.base_url, "--model", "m", HUB_MAX_ATTEMPTS="2")
    events = await site.until("str_1", type="done")
    check_grammar(events)
    error = fold(events).error
    assert error is not None
    assert (error.code, error.retryable) == ("worker_lost", True)
    assert endpoint.requests == []

    code, out, _ = await hub_jobs(server, "--json")
    assert code == 0
    (aside,) = json.loads(out)["aside"]
    assert (aside["stream_id"], aside["lost"]) == ("str_1", 2)
    _, out, _ = await hub_jobs(server)
    assert "str_1" in out
    assert "2 workers were lost" in out

    endpoint.enqueue(chat_reply(["Fine"]))
    code, out, _ = await hub_jobs(server, "retry", "--all")
    assert code == 0
    anew = out.split()[-1]
    assert fold(await site.until(anew, type="done")).text == "Fine"
    code, _, err = await hub_jobs(server, "drop", "str_1")
    assert code == 1
    assert "str_1" in err


async def test_the_page_s_worker_takes_jobs_until_it_is_told_to_stop(server: RedisServer, site: Site) -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "docs/workers.md").read_text(), re.DOTALL)[1]
    names: dict[str, Any] = {}
    exec(compile(example, "docs/workers.md", "exec"), names)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(names["work"](Scripts(), server.url, stop))
        await site.hub.start(messages=HELLO, stream_id="str_1")
        assert fold(await site.until("str_1", type="done")).text == "Hello"
        stop.set()


@pytest.mark.parametrize("command", ["work", "jobs"])
async def test_a_store_that_is_not_shared_is_refused_with_a_sentence(command: str) -> None:
    code, _, err = await hub(command, "--store", "memory")
    assert code == 1
    assert "HUB_STORE" in err
    assert "Traceback" not in err


async def hub_jobs(server: RedisServer, *arguments: str) -> tuple[int, str, str]:
    return await hub("jobs", *arguments, HUB_STORE=server.url)


async def hub(*arguments: str, **variables: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub", *arguments),
        env=environment(**variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
