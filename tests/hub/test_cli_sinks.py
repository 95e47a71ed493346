"""Sinks from the command line: `hub chat --sink`, and `HUB_SINKS` of a server."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from hub.completion import fold
from hub.events import LLMEvent
from hub.testing import Gate, Reply, Reset, ScriptedEndpoint, chat_reply, check_grammar, status_reply
from sinks.jsonl import read_events
from sinks.webhook import new_secret

from .test_cli import HELLO, environment, hub, outcome, serving

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


class Refusing:
    """Answers 503 until `takes`, and counts."""

    def __init__(self) -> None:
        self.takes = False
        self._asked = 0
        self._more = asyncio.Event()

    def __call__(self, request: object) -> Reply:
        self._asked += 1
        self._more.set()
        return Reply(framing="length") if self.takes else status_reply(503, "later")

    async def is_asked_again(self) -> None:
        """Return after the next two requests: what became of the first of them is logged then."""
        until = self._asked + 2
        while self._asked < until:
            self._more.clear()
            await self._more.wait()


@pytest.mark.parametrize("signals", [1, 2])
async def test_ctrl_c_cuts_the_waiting_for_a_sink_short_and_the_next_one_ends_it(
    signals: int, endpoint: ScriptedEndpoint
) -> None:
    refusing = Refusing()
    async with ScriptedEndpoint(handler=refusing) as receiver, asyncio.timeout(40):
        sink = f"{receiver.base_url}/hook"
        process = await hub(*ASK, "--base-url", endpoint.base_url, "--sink", sink, WEBHOOK_SECRET=new_secret())
        assert process.stderr is not None
        while b"stop" not in await process.stderr.readline():
            pass  # until the answer's summary is there
        await refusing.is_asked_again()
        process.send_signal(signal.SIGINT)
        said = (await process.stderr.readline()).decode()
        assert said == "hub: The sinks have one second more; Ctrl-C again ends it at once.\n"
        if signals == 2:
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):  # of the 15 seconds that they would have
            code, _, err = await outcome(process)
    if signals == 2:
        assert (code, err) == (-signal.SIGINT, "")
    else:
        assert code == 1
        assert "hub: --sink no. 1 did not get the whole answer: it took no end within " in err
        assert err.endswith(" s; the last try failed: it answered 503\n")


async def test_what_is_logged_stands_on_lines_of_its_own_and_not_in_the_answer(endpoint: ScriptedEndpoint) -> None:
    gate, refusing = Gate(), Refusing()
    endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
    async with ScriptedEndpoint(handler=refusing) as receiver, asyncio.timeout(40):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hub", *ASK, "-v", "--base-url", endpoint.base_url),
            *("--sink", f"{receiver.base_url}/hook"),
            env=environment(WEBHOOK_SECRET=new_secret()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        said = await process.stdout.readuntil(b"Hello")
        await refusing.is_asked_again()
        gate.open()
        refusing.takes = True
        said += (await process.communicate())[0]
    assert process.returncode == 0
    before, answer, behind = said.decode().partition("Hello world\n")
    assert answer, said
    assert behind.startswith("hub: The webhook of 127.0.0.1 answered 503. It was attempt ")
    assert all(line.startswith(("hub: ", "· ")) for line in (before + behind).splitlines()), said


async def test_doctor_says_which_sinks_make_sense_and_what_is_missing() -> None:
    sinks = "kept=file:///tmp/{stream_id}.jsonl, live=redis://:hunter2@host, hook=https://host/x"
    code, out, err = await outcome(
        await hub("doctor", "--url", "http://127.0.0.1:9", PUSHER_APP_ID="7", WEBHOOK_SECRET="hunter2", HUB_SINKS=sinks)
    )
    assert (code, err) == (1, "")
    lines = {line[6:20].strip(): line for line in out.splitlines()}
    assert lines["sink kept"].startswith("ok ")
    assert lines["sink live"].startswith("FAIL ")
    assert "ends in its channel" in lines["sink live"]
    assert lines["sink hook"].startswith("FAIL ")
    assert lines["pusher"].startswith("FAIL ")
    assert "PUSHER_AUTH_KEY" in lines["pusher"]
    assert lines["webhook"].startswith("FAIL ")
    assert "extra redis" in lines
    assert "extra webhook" in lines
    assert "hunter2" not in out


async def test_doctor_says_that_sinks_are_configured_or_that_there_are_none() -> None:
    pusher = {f"PUSHER_{name}": "x" for name in ("APP_ID", "AUTH_KEY", "AUTH_SECRET")} | {"PUSHER_HOST": "127.0.0.1"}
    _, out, _ = await outcome(
        await hub("doctor", "--url", "http://127.0.0.1:9", WEBHOOK_SECRET=new_secret(), HUB_SINKS="", **pusher)
    )
    assert "ok    pusher         app x at https://127.0.0.1:443" in out
    assert "ok    webhook " in out
    assert "-     sinks " in out
    _, out, _ = await outcome(await hub("doctor", "--url", "http://127.0.0.1:9", HUB_SINKS="nonsense"))
    assert "-     pusher " in out
    assert "-     webhook " in out
    assert "FAIL  sinks          HUB_SINKS: Its part 1 is not NAME=URL." in out
