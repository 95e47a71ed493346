"""The guard against real calls."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
import httpx2
import pytest
from openai import AsyncOpenAI

from hub.client import OpenAIClient
from hub.testing import RealCallError, ScriptedEndpoint, UnexpectedCallError, chat_reply, collect, forbid_real_calls

HELLO: Any = [{"role": "user", "content": "Hello"}]
# RFC 5737's and RFC 2606's own: where the guard fails to hold, nobody is asked all the same.
ADDRESS = "192.0.2.1"
NAME = "endpoint.invalid"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy on this machine would be a call to this machine."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")


async def with_hub(host: str) -> None:
    async with OpenAIClient("any", base_url=f"http://{host}/v1", api_key="EMPTY") as client:
        await client.invoke(messages=HELLO)


async def with_sdk(host: str) -> None:
    async with AsyncOpenAI(base_url=f"http://{host}/v1", api_key="EMPTY") as sdk:
        await sdk.chat.completions.create(model="any", messages=HELLO)


async def with_httpx2(host: str) -> None:
    async with httpx2.AsyncClient() as http:
        await http.get(f"http://{host}/")


async def with_aiohttp(host: str) -> None:
    async with aiohttp.ClientSession() as session:
        await session.get(f"http://{host}/")


async def with_urllib(host: str) -> None:
    await asyncio.to_thread(urllib.request.urlopen, f"http://{host}/", timeout=1)


async def with_a_datagram(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"x", (host, 9))


def connect_to_nobody() -> None:
    """Try a port of this machine that no one listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        socket.create_connection(bound.getsockname(), timeout=1)


LIBRARIES = [with_hub, with_sdk, with_httpx2, with_aiohttp, with_urllib]


@pytest.mark.parametrize("call", [*LIBRARIES, with_a_datagram])
async def test_an_address_elsewhere_is_refused(call: Callable[[str], Any]) -> None:
    with pytest.raises(RealCallError, match=rf"(connect|send) to {ADDRESS} port") as caught, forbid_real_calls():
        await call(ADDRESS)
    assert len(caught.value.attempts) == 1


@pytest.mark.parametrize("call", LIBRARIES)
async def test_a_name_is_not_even_looked_up(call: Callable[[str], Any]) -> None:
    with pytest.raises(RealCallError, match=f"look up {NAME}"), forbid_real_calls():
        await call(NAME)


@pytest.mark.parametrize(
    ("look_up", "what"),
    [
        (socket.gethostbyname, NAME),
        (socket.gethostbyname_ex, NAME),
        (socket.gethostbyaddr, ADDRESS),
        (lambda host: socket.getaddrinfo(host.encode(), 80), NAME),
    ],
)
def test_every_way_to_ask_for_a_name_is_refused(look_up: Callable[[str], Any], what: str) -> None:
    with pytest.raises(RealCallError, match=f"look up {what}"), forbid_real_calls():
        look_up(what)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", socket.gethostname()])
async def test_this_machine_stays_allowed(host: str) -> None:
    async with ScriptedEndpoint(chat_reply("Hi")) as endpoint:
        with forbid_real_calls() as attempts:
            if host == "127.0.0.1":
                async with OpenAIClient("any", base_url=endpoint.base_url, api_key="EMPTY") as client:
                    assert (await collect(client.stream(messages=HELLO)))[-1].type == "done"
            socket.getaddrinfo(host, 80)
            socket.getaddrinfo(None, 80)
    assert attempts == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0"])
async def test_this_machine_can_be_forbidden_as_well(host: str) -> None:
    with pytest.raises(RealCallError), forbid_real_calls(allow_loopback=False):
        socket.create_connection((host, 9), timeout=1)


async def test_unix_sockets_and_standing_connections_stay_allowed() -> None:
    left, right = socket.socketpair()
    with left, right, forbid_real_calls(allow_loopback=False):
        left.send(b"x")
        assert right.recv(1) == b"x"
        with pytest.raises(FileNotFoundError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect("/nowhere")


async def test_a_swallowed_error_comes_back_at_the_end() -> None:
    with (
        pytest.raises(RealCallError, match=rf"connect to {ADDRESS} port 80.*swallowed"),
        forbid_real_calls(),
        suppress(BaseException),
    ):
        await with_httpx2(ADDRESS)


async def test_an_attempt_taken_out_of_the_list_is_forgiven() -> None:
    with forbid_real_calls() as attempts:
        with pytest.raises(RealCallError):
            await with_aiohttp(ADDRESS)
        attempts.clear()


async def test_another_failure_of_the_test_is_the_cause() -> None:
    async def fail() -> None:
        with pytest.raises(RealCallError):
            await with_aiohttp(ADDRESS)
        raise ZeroDivisionError

    with pytest.raises(RealCallError) as caught, forbid_real_calls():
        await fail()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_task_group_does_not_hide_it() -> None:
    with pytest.raises(RealCallError) as caught, forbid_real_calls():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(with_httpx2(ADDRESS))
    assert isinstance(caught.value.__cause__, BaseExceptionGroup)


async def test_afterwards_it_is_over() -> None:
    with forbid_real_calls(allow_loopback=False):
        pass
    with pytest.raises(ConnectionRefusedError):
        connect_to_nobody()


async def test_blocks_nest_and_each_has_to_allow() -> None:
    with forbid_real_calls(allow_loopback=False) as outer:
        with pytest.raises(RealCallError), forbid_real_calls():
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        assert len(outer) == 1
        outer.clear()
    with forbid_real_calls(), pytest.raises(ConnectionRefusedError):
        connect_to_nobody()


def test_every_thread_is_guarded() -> None:
    caught: list[BaseException] = []

    def call() -> None:
        try:
            socket.create_connection((ADDRESS, 80), timeout=1)
        except RealCallError as exc:
            caught.append(exc)

    with forbid_real_calls() as attempts:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        attempts.clear()
    assert len(caught) == 1


async def test_no_handler_of_failures_takes_it_for_one() -> None:
    assert issubclass(RealCallError, UnexpectedCallError)
    assert not issubclass(UnexpectedCallError, Exception)


UVLOOP = f"""
import uvloop, httpx2
from hub.testing import RealCallError, forbid_real_calls

async def call(host):
    async with httpx2.AsyncClient() as http:
        await http.get(f"http://{{host}}/", timeout=1)

before = dict(vars(uvloop.Loop))
for host in ({ADDRESS!r}, {NAME!r}):
    try:
        with forbid_real_calls():
            with forbid_real_calls():
                uvloop.run(call(host))
    except RealCallError as exc:
        print(exc.attempts[0])
assert dict(vars(uvloop.Loop)) == before
"""


def test_uvloop_is_guarded_as_well() -> None:
    pytest.importorskip("uvloop")
    run = subprocess.run([sys.executable, "-c", UVLOOP], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"connect to {ADDRESS} port 80", f"look up {NAME}"]
