"""Clients that share a rate limit through a real server: in two processes, by account, and when the server dies."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.models.profile import ModelProfile, RateLimits
from hub.testing import ScriptedEndpoint, ScriptedTransport, chat_reply, collect
from hub.upstream.clocks import Timeouts
from tests.hub.upstream.limits_support import answered, ask, client_at, scripted, used
from tests.hub.upstream.support import HELLO, within
from tests.real.redis_server import RedisServer, redis_binaries

ROOT = Path(__file__).parents[2]
MINE = ModelProfile(model_name="m-1", rate_limits=RateLimits(req_per_min=4))


@pytest.fixture(params=redis_binaries())
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    with RedisServer(redis_binaries()[request.param]) as running:
        monkeypatch.setenv("REDIS_URL", running.url)
        monkeypatch.delenv("LLM_LIMITER", raising=False)
        yield running


async def has_to_wait(client: OpenAIClient, transport: ScriptedTransport) -> bool:
    """Whether a further call is not sent while another one, at a budget of its own, goes there and back."""
    before = len(transport.requests)
    call = ask(client)
    await answered(client, model=ModelProfile(model_name="beside", rate_limits=RateLimits(req_per_min=100)))
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    return len(transport.requests) == before + 1


async def test_two_clients_with_one_redis_share_the_budget(server: RedisServer) -> None:
    transport = scripted()
    async with client_at(transport, model=MINE) as first, client_at(transport, model=MINE) as second:
        for client in (first, second, first, second):
            assert (await answered(client)).status == "completed"
        assert await has_to_wait(first, transport)
        assert await has_to_wait(second, transport)


async def test_what_one_client_s_answer_used_is_missing_to_the_other(server: RedisServer) -> None:
    profile = ModelProfile(model_name="m-1", rate_limits=RateLimits(tkn_per_min=1_000))
    transport = scripted(used(500, 490))
    async with client_at(transport, model=profile) as first, client_at(transport, model=profile) as second:
        await answered(first)
        assert not await has_to_wait(second, transport)  # ten are left
        assert await has_to_wait(second, transport)


async def test_another_account_has_its_own_budget(server: RedisServer) -> None:
    transport = scripted()
    async with client_at(transport, model=MINE) as one, client_at(transport, model=MINE, api_key="other") as other:
        for _ in range(4):
            await answered(one)
        assert await has_to_wait(one, transport)
        assert not await has_to_wait(other, transport)


async def test_another_process_has_its_part_of_the_budget(server: RedisServer) -> None:
    async with ScriptedEndpoint(handler=lambda _: chat_reply("Hi")) as endpoint:
        code = (
            "import asyncio, json, sys\n"
            "from hub import ModelProfile, OpenAIClient, RateLimits\n"
            "async def main():\n"
            "    profile = ModelProfile(model_name='m-1', rate_limits=RateLimits(req_per_min=4))\n"
            "    async with OpenAIClient(profile, base_url=sys.argv[1], api_key='EMPTY') as client:\n"
            "        results = [await client.invoke(messages=[{'role': 'user', 'content': 'Hi'}]) for _ in range(3)]\n"
            "    print(json.dumps([result.status for result in results]))\n"
            "asyncio.run(main())\n"
        )
        arguments = [sys.executable, "-c", code, endpoint.base_url]
        child = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        said, _ = await within(child.communicate(), 30)
        assert json.loads(said) == ["completed"] * 3
        async with OpenAIClient(MINE, base_url=endpoint.base_url, api_key="EMPTY") as client:
            await answered(client)
            with pytest.raises(TimeoutError):
                await within(client.invoke(messages=[{"role": "user", "content": "Hi"}]), 0.3)
        assert len(endpoint.requests) == 4


async def test_calls_go_on_when_redis_dies_and_keep_to_their_budget(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    transport = scripted()
    async with client_at(transport, model=MINE) as client:
        await answered(client)
        await asyncio.to_thread(server.crash)
        with caplog.at_level(logging.WARNING, "hub"):
            for _ in range(3):
                assert (await answered(client)).status == "completed"
            assert await has_to_wait(client, transport)
    told = [record.name for record in caplog.records if record.levelno >= logging.WARNING]
    assert set(told) == {"hub.limits.outage"}
    assert len(told) == 2  # once for each model


async def test_a_redis_that_hangs_costs_a_call_a_second_once(server: RedisServer) -> None:
    transport = scripted()
    async with client_at(transport, model=MINE) as client:
        await answered(client)
        loop = asyncio.get_running_loop()
        with server.held_still():
            began_at = loop.time()
            for _ in range(3):
                assert (await answered(client)).status == "completed"
            assert loop.time() - began_at < 4.0


@pytest.mark.parametrize("leave", ["stop", "cancel", "total_timeout"])
async def test_a_redis_that_hangs_does_not_hold_up_who_gives_up_waiting(server: RedisServer, leave: str) -> None:
    once = ModelProfile(model_name="m-1", rate_limits=RateLimits(req_per_min=1))
    async with client_at(scripted(), model=once) as client:
        await answered(client)
        loop = asyncio.get_running_loop()
        stream = client.stream(messages=HELLO, timeouts=Timeouts(total_timeout=0.2 if leave == "total_timeout" else 30))
        with server.held_still():
            began_at = loop.time()
            call = asyncio.create_task(collect(stream))
            if leave != "total_timeout":
                loop.call_later(0.2, stream.stop if leave == "stop" else call.cancel)
            await within(asyncio.wait([call]))
            assert loop.time() - began_at < 0.9  # Redis may take a second
        if leave == "cancel":
            assert call.cancelled()


@pytest.mark.filterwarnings("ignore:unclosed")  # connections of a loop that is gone
def test_a_client_that_goes_to_another_event_loop_keeps_its_budget(server: RedisServer) -> None:
    transport = scripted()
    client = client_at(transport, model=MINE)

    async def use() -> Any:
        return [(await answered(client)).status for _ in range(2)]

    async def overuse() -> bool:
        async with client:
            return await has_to_wait(client, transport)

    assert asyncio.run(use()) + asyncio.run(use()) == ["completed"] * 4
    assert asyncio.run(overuse())
    gc.collect()
