"""The commands, as a person runs them: real processes, real signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from hub.events import decode_event
from hub.testing import Gate, Reset, ScriptedEndpoint, chat_reply, check_grammar, raw_reply, status_reply
from hub.upstream.wire.sse import SSEDecoder

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def environment(**variables: str) -> dict[str, str]:
    """Ours without whatever configures an endpoint here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "OPENAI_", "HUB_"))}
    return {**kept, "HUB_NO_DOTENV": "1", "HUB_STORE": "memory", "PYTHONUNBUFFERED": "1", **variables}


async def hub(*arguments: str, cwd: Path | None = None, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hub",
        *arguments,
        env=environment(**variables),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def outcome(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def serving(*arguments: str, **variables: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await hub("serve", "--port", "0", *arguments, **variables)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(40):
            banner = (await process.stdout.readline()).decode()
        assert "http://" in banner, (banner, await outcome(process))
        yield process, banner.split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint() as endpoint:
        yield endpoint


async def test_serve_says_where_it_listens_and_who_answers(endpoint: ScriptedEndpoint) -> None:
    async with (
        serving("--base-url", endpoint.base_url, "--model", "some-model") as (_, url),
        httpx2.AsyncClient(base_url=url) as http,
    ):
        info = (await http.get("/v1/info")).json()
        page = await http.get("/")
    assert (info["model"], info["source"]) == ("some-model", "endpoint")
    assert page.status_code == 200


async def test_serve_asks_the_endpoint_for_its_model_where_none_is_named(endpoint: ScriptedEndpoint) -> None:
    async with serving(LLM_BASE_URL=endpoint.base_url) as (_, url), httpx2.AsyncClient(base_url=url) as http:
        assert (await http.get("/v1/info")).json()["model"] == "scripted"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "HUB_API_KEYS"),
        (["--store", "carrier-pigeon://"], "carrier-pigeon"),
        (["--api-key-env", "NOT_SET_ANYWHERE", "--base-url", "http://localhost:1/v1"], "NOT_SET_ANYWHERE"),
        (["--base-url", "https://models.example/v1"], "OPENAI_API_KEY"),
        (["--base-url", "nonsense"], "base URL"),
        (["--host", "203.0.113.1", "--insecure"], "203.0.113.1"),
        (["--host", "a" * 80, "--insecure"], "host's name"),
    ],
)
async def test_serve_refuses_what_makes_no_sense_with_a_sentence(arguments: list[str], words: str) -> None:
    code, _, err = await outcome(await hub("serve", "--port", "0", *arguments))
    assert code == 1
    assert words in err
    assert "Traceback" not in err


async def test_a_bad_variable_is_named(endpoint: ScriptedEndpoint) -> None:
    code, _, err = await outcome(await hub("serve", LLM_TEMPERATURE="warm"))
    assert code == 1
    assert "LLM_TEMPERATURE" in err
    assert "Traceback" not in err


async def test_sigterm_lets_running_streams_finish(endpoint: ScriptedEndpoint) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply(["Hello", gate, " world"], usage=True))
    async with (
        serving("--base-url", endpoint.base_url, "--model", "m", HUB_DRAIN_TIMEOUT="10") as (process, url),
        httpx2.AsyncClient(base_url=url, timeout=20) as http,
        asyncio.timeout(30),
    ):
        stream_id = (await http.post("/v1/streams", json=HELLO)).json()["stream_id"]
        await gate.reached()
        process.send_signal(signal.SIGTERM)
        while (await http.get("/healthz")).status_code != 503:
            pass
        refused = await http.post("/v1/streams", json=HELLO)
        reading = asyncio.ensure_future(http.get(f"/v1/streams/{stream_id}/events"))
        gate.open()
        body = (await reading).content
        code = await process.wait()
    events = [decode_event(frame.data) for frame in SSEDecoder().feed(body)]
    check_grammar(events)
    assert events[-1].type == "done"
    assert events[-1].status == "completed"
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    assert code == 0


async def test_what_does_not_finish_in_time_ends_as_interrupted(endpoint: ScriptedEndpoint) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
    async with (
        serving("--base-url", endpoint.base_url, "--model", "m", HUB_DRAIN_TIMEOUT="0.2") as (process, url),
        httpx2.AsyncClient(base_url=url, timeout=20) as http,
        asyncio.timeout(30),
    ):
        stream_id = (await http.post("/v1/streams", json=HELLO)).json()["stream_id"]
        await gate.reached()
        async with http.stream("GET", f"/v1/streams/{stream_id}/events") as response:
            process.send_signal(signal.SIGTERM)
            body = await response.aread()  # ends in order: a cut connection would raise
        code = await process.wait()
    events = [decode_event(frame.data) for frame in SSEDecoder().feed(body)]
    check_grammar(events)
    assert [event.code for event in events if event.type == "error"] == ["interrupted"]
    assert code == 0


async def test_chat_streams_to_standard_output(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(chat_reply("Hello wide world", usage=True))
    code, out, err = await outcome(await hub("chat", "Hi", "--base-url", endpoint.base_url, "--model", "m"))
    assert (code, out) == (0, "Hello wide world\n")
    assert "tokens in" in err
    assert "cost unknown" in err


async def test_chat_prints_events_as_json(endpoint: ScriptedEndpoint) -> None:
    code, out, _ = await outcome(await hub("chat", "Hi", "--json", "--base-url", endpoint.base_url, "--model", "m"))
    events = [decode_event(line) for line in out.splitlines()]
    check_grammar(events)
    assert code == 0


async def test_chat_tells_a_failure_in_a_sentence(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(status_reply(401, "Incorrect API key provided"))
    code, _, err = await outcome(await hub("chat", "Hi", "--base-url", endpoint.base_url, "--model", "m"))
    assert code == 1
    assert "Incorrect API key" in err
    assert err.startswith("hub: ")
    assert "Traceback" not in err


async def test_chat_ends_a_begun_line_before_it_tells_of_a_failure(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(chat_reply(["Hello", Reset()]))
    code, out, err = await outcome(await hub("chat", "Hi", "--base-url", endpoint.base_url, "--model", "m"))
    assert (code, out) == (1, "Hello\n")
    assert err.startswith("hub: ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("chat <&-", "Nothing to ask"),
        (r"printf '\377' | PYTHONUTF8=1 {hub} chat", "encoding"),
        ("chat Hi >/dev/full", "No space left"),
        ("doctor >/dev/full", "No space left"),
        ("--help >/dev/full", "No space left"),
    ],
)
async def test_unusable_standard_streams_are_told_in_a_sentence(
    endpoint: ScriptedEndpoint, line: str, words: str
) -> None:
    command = f"{sys.executable} -m hub"
    code, out, err = await shell(line.format(hub=command) if "{hub}" in line else f"{command} {line}", endpoint)
    assert (code, out) == (1, "")
    assert words in err
    assert err.startswith("hub: ")
    assert err.count("\n") == 1


async def test_what_the_terminal_can_not_show_becomes_a_question_mark(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(chat_reply("漢字 in kanji"))
    code, out, _ = await shell(f"PYTHONIOENCODING=latin-1 {sys.executable} -m hub chat 漢字 2>/dev/null", endpoint)
    assert (code, out) == (0, "?? in kanji\n")


async def shell(line: str, endpoint: ScriptedEndpoint) -> tuple[int, str, str]:
    variables = environment(LLM_BASE_URL=endpoint.base_url, LLM_MODEL="m")
    del variables["PYTHONUNBUFFERED"]  # what is buffered has to fail as well
    process = await asyncio.create_subprocess_shell(
        line, env=variables, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    return await outcome(process)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--temperature", "3", "from 0 to 2"),
        ("--temperature", "nan", "from 0 to 2"),
        ("--max-tokens", "-1", "0 or more"),
    ],
)
async def test_chat_options_out_of_range_are_wrong_usage(option: str, value: str, words: str) -> None:
    code, _, err = await outcome(await hub("chat", "Hi", f"{option}={value}"))
    assert code == 2
    assert words in err


async def test_a_retry_is_told_only_where_it_is_asked_for(endpoint: ScriptedEndpoint) -> None:
    options = ("chat", "Hi", "--base-url", endpoint.base_url, "--model", "m")
    endpoint.enqueue(status_reply(503, "busy"), chat_reply("Hello"))
    code, out, err = await outcome(await hub(*options, "--verbose"))
    assert (code, out) == (0, "Hello\n")
    assert "try 1 failed" in err
    endpoint.enqueue(status_reply(503, "busy"), chat_reply("Hello"))
    code, out, err = await outcome(await hub(*options))
    assert (code, out) == (0, "Hello\n")
    assert "attempt" not in err


async def test_interrupting_chat_stops_the_answer_in_order(endpoint: ScriptedEndpoint) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply(["Hello", gate]))
    process = await hub("chat", "Hi", "--json", "--base-url", endpoint.base_url, "--model", "m")
    await gate.reached()
    assert process.stdout is not None
    first = [await process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    code, out, _ = await outcome(process)
    events = [decode_event(line) for line in [*first, *out.encode().splitlines()]]
    check_grammar(events)
    assert events[-1].type == "done"
    assert events[-1].status == "cancelled"
    assert code == 130


async def test_tail_follows_a_stream_to_its_end(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(chat_reply("Hello wide world", usage=True))
    async with (
        serving("--base-url", endpoint.base_url, "--model", "m", HUB_API_KEYS="secret") as (_, url),
        httpx2.AsyncClient(base_url=url, headers={"Authorization": "Bearer secret"}) as http,
    ):
        stream_id = (await http.post("/v1/streams", json=HELLO)).json()["stream_id"]
        code, out, _ = await outcome(await hub("tail", stream_id, "--url", url, HUB_API_KEY="secret"))
        assert (code, out) == (0, "Hello wide world\n")
        code, _, err = await outcome(await hub("tail", stream_id, "--url", url))
        assert code == 1
        assert "key" in err
        code, _, err = await outcome(await hub("tail", "str_none", "--url", url, HUB_API_KEY="secret"))
        assert code == 1
        assert "str_none" in err


@pytest.mark.parametrize("command", [("tail", "x"), ("doctor",)])
async def test_an_address_that_is_none_is_told_in_a_sentence(command: tuple[str, ...]) -> None:
    urls = ("http://[::1", "http://127.0.0.1:99999", "foo", "ftp://x", "http://", "http://a..b")
    processes = [await hub(*command, "--url", url) for url in urls]
    for url, (code, out, err) in zip(urls, await asyncio.gather(*map(outcome, processes)), strict=True):
        assert (code, out) == (1, ""), url
        assert "http://host:port" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("command", [("tail", "x"), ("doctor",)])
async def test_a_key_that_can_not_be_sent_is_named(command: tuple[str, ...]) -> None:
    code, _, err = await outcome(await hub(*command, "--url", "http://127.0.0.1:9", HUB_API_KEY="schlüssel"))
    assert code == 1
    assert "HUB_API_KEY" in err
    assert "schl" not in err
    assert err.count("\n") == 1


async def test_another_server_at_the_address_is_no_hub(endpoint: ScriptedEndpoint) -> None:
    other = endpoint.base_url.removesuffix("/v1")
    page = raw_reply(b"<html>", content_type="text/html")
    endpoint.enqueue(page)
    code, out, err = await outcome(await hub("tail", "x", "--url", other))
    assert (code, out) == (1, "")
    assert "no hub" in err
    endpoint.enqueue(page, page)
    code, out, err = await outcome(await hub("doctor", "--url", other))
    assert (code, err) == (1, "")
    assert "no hub" in out


async def test_doctor_says_what_answers_and_what_does_not(endpoint: ScriptedEndpoint) -> None:
    endpoint_options = ("--base-url", endpoint.base_url, "--model", "scripted")
    code, out, _ = await outcome(await hub("doctor", "--ask", "--url", "http://127.0.0.1:9", *endpoint_options))
    assert code == 0
    assert "scripted" in out
    assert "none runs" in out
    code, out, _ = await outcome(await hub("doctor", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"))
    assert code == 1
    assert "refused" in out


async def test_doctor_tells_of_a_missing_key() -> None:
    code, out, _ = await outcome(await hub("doctor", "--base-url", "https://models.example/v1"))
    assert code == 1
    assert "OPENAI_API_KEY" in out


async def test_help_names_every_command() -> None:
    code, out, _ = await outcome(await hub("--help"))
    assert code == 0
    assert all(command in out for command in ("serve", "chat", "tail", "doctor"))


async def test_help_loads_neither_the_sdk_nor_the_server() -> None:
    script = "import sys, hub.cli; print([m for m in ('openai', 'starlette', 'uvicorn', 'httpx2') if m in sys.modules])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    code, out, err = await outcome(process)
    assert (code, json.loads(out.replace("'", '"'))) == (0, []), err
