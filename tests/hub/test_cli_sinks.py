"""Sinks from the command line: `hub chat --sink`, and `HUB_SINKS` of a server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from hub.completion import fold
from hub.events import LLMEvent
from hub.testing import Gate, Reset, ScriptedEndpoint, chat_reply, check_grammar, status_reply
from sinks.jsonl import read_events
from sinks.webhook import new_secret

from .test_cli import HELLO, hub, outcome, serving

ASK = ("chat", "Hi", "--model", "m")


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint(handler=lambda _: chat_reply("Hello wide world", usage=True)) as running:
        yield running


def kept(path: Path) -> list[LLMEvent]:
    events = list(read_events(path))
    check_grammar(events)
    return events


async def test_chat_sends_the_answer_to_every_sink_too(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    code, out, err = await outcome(
        await hub(
            *ASK,
            *("--base-url", endpoint.base_url),
            *("--sink", f"file://{tmp_path}/first.jsonl", "--sink", "file:{stream_id}.jsonl"),
            cwd=tmp_path,
        )
    )
    assert (code, out) == (0, "Hello wide world\n")
    assert "--sink" not in err
    events = kept(tmp_path / "first.jsonl")
    assert fold(events).text == "Hello wide world"
    assert kept(tmp_path / f"{events[0].stream_id}.jsonl") == events


async def test_the_answer_goes_on_where_a_sink_fails_and_the_exit_code_says_so(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    refusing = f"{endpoint.base_url.removesuffix('/v1')}/hook"
    endpoint.enqueue(chat_reply("Hello wide world"), status_reply(400, "no"))
    sinks = ("--sink", refusing, "--sink", f"file://{tmp_path}/kept.jsonl")
    code, out, err = await outcome(
        await hub(*ASK, "--base-url", endpoint.base_url, *sinks, WEBHOOK_SECRET=new_secret())
    )
    assert (code, out) == (1, "Hello wide world\n")
    assert err.splitlines()[-1].startswith("hub: --sink no. 1 did not get the whole answer: ")
    assert err.count("no. 1") == 1
    assert "no. 2" not in err
    assert "Traceback" not in err
    assert fold(kept(tmp_path / "kept.jsonl")).text == "Hello wide world"


async def test_a_sink_that_fails_alone_leaves_the_answer(endpoint: ScriptedEndpoint) -> None:
    refusing = f"{endpoint.base_url.removesuffix('/v1')}/hook"
    endpoint.enqueue(chat_reply("Hello wide world"), status_reply(400, "no"))
    code, out, err = await outcome(
        await hub(*ASK, "--base-url", endpoint.base_url, "--sink", refusing, WEBHOOK_SECRET=new_secret())
    )
    assert (code, out) == (1, "Hello wide world\n")
    assert "--sink no. 1" in err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:hunter2@host", "--sink no. 1 can't be used: A sink's URL of Redis ends in its channel"),
        ("ftp://:hunter2@host/x", "There is no such sink"),
        ("file:///{channel}.jsonl", "needs a channel"),
        ("file:///no/such/folder.jsonl", "--sink no. 1 can't be used: "),
    ],
)
async def test_a_sink_that_can_t_be_had_is_told_before_anything_is_asked(
    url: str, words: str, endpoint: ScriptedEndpoint
) -> None:
    code, out, err = await outcome(await hub(*ASK, "--base-url", endpoint.base_url, "--sink", url))
    assert (code, out) == (1, "")
    assert words in err
    assert "hunter2" not in err
    assert endpoint.requests == []


@pytest.mark.parametrize("reply", [status_reply(401, "no"), chat_reply(["Hello", Reset()])])
async def test_a_failed_answer_has_its_end_in_the_sink(
    endpoint: ScriptedEndpoint, reply: object, tmp_path: Path
) -> None:
    endpoint.enqueue(reply)  # type: ignore[arg-type]
    code, _, _ = await outcome(
        await hub(*ASK, "--base-url", endpoint.base_url, "--sink", f"file://{tmp_path}/x.jsonl", LLM_ATTEMPTS="1")
    )
    assert code == 1
    assert fold(kept(tmp_path / "x.jsonl")).status == "failed"


async def test_an_interrupted_answer_has_its_end_in_the_sink(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply(["Hello", gate]))
    process = await hub(*ASK, "--base-url", endpoint.base_url, "--sink", f"file://{tmp_path}/x.jsonl")
    async with asyncio.timeout(30):
        await gate.reached()
        assert process.stdout is not None
        assert await process.stdout.read(5) == b"Hello"
    process.send_signal(signal.SIGINT)
    code, _, _ = await outcome(process)
    assert code == 130
    assert fold(kept(tmp_path / "x.jsonl")).status == "cancelled"


async def test_a_server_fills_the_sinks_of_its_list_and_ends_them_when_it_stops(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply("Hello"), chat_reply(["Hello", gate]))
    sinks = f"live=file://{tmp_path}/{{stream_id}}.jsonl, chat=file://{tmp_path}/{{channel}}.jsonl"
    async with (
        serving(*("--base-url", endpoint.base_url, "--model", "m"), HUB_SINKS=sinks, HUB_DRAIN_TIMEOUT="0.2") as (
            process,
            url,
        ),
        httpx2.AsyncClient(base_url=url, timeout=20) as http,
        asyncio.timeout(30),
    ):
        response = await http.post("/v1/streams", json={**HELLO, "sinks": ["live"]})
        stream_id = response.json()["stream_id"]
        await http.get(f"/v1/streams/{stream_id}/events")
        named = {"name": "chat", "channel": "42"}
        assert (await http.post("/v1/streams", json={**HELLO, "sinks": [named]})).status_code == 201
        await gate.reached()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert fold(kept(tmp_path / f"{stream_id}.jsonl")).text == "Hello"
    result = fold(kept(tmp_path / "42.jsonl"))
    assert (result.text, result.status) == ("Hello", "failed")


async def test_a_server_whose_list_makes_no_sense_says_so_at_once() -> None:
    code, _, err = await outcome(await hub("serve", "--port", "0", HUB_SINKS="live=redis://:hunter2@host"))
    assert code == 1
    assert "HUB_SINKS: The sink live: " in err
    assert "hunter2" not in err
    assert "Traceback" not in err
