"""`hub batch`, as a person runs it: real processes, real signals, stopped and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.testing import EchoHandler, Gate, ScriptedEndpoint, chat_reply, status_reply
from hub.testing.batches import BatchHandler


async def hub_batch(endpoint: ScriptedEndpoint, *arguments: str) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "OPENAI_", "HUB_"))}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "hub", "batch", *arguments, "--base-url", endpoint.base_url, "--model", "m"),
        env={**kept, "HUB_NO_DOTENV": "1", "PYTHONUNBUFFERED": "1", "LLM_ATTEMPTS": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def outcome(process: asyncio.subprocess.Process) -> tuple[int, str]:
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert out == b""
    assert b"Traceback" not in err, err.decode()
    return process.returncode, err.decode()


async def done(endpoint: ScriptedEndpoint, *arguments: str) -> tuple[int, str]:
    return await outcome(await hub_batch(endpoint, *arguments))


def asking(*words: str) -> list[dict[str, Any]]:
    return [{"custom_id": word, "messages": [{"role": "user", "content": word}]} for word in words]


class Files:
    """An input and an output."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "in.jsonl"
        self.target = folder / "out.jsonl"
        self.names = (str(self.source), str(self.target))

    def write(self, *requests: Any) -> None:
        self.source.write_text("".join(json.dumps(each) + "\n" for each in requests))

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.target.read_text().splitlines()]

    def left(self) -> list[str]:
        return sorted(path.name for path in self.source.parent.iterdir())


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint(handler=BatchHandler(EchoHandler(word_delay=0))) as running:
        yield running


def asked(endpoint: ScriptedEndpoint) -> list[str]:
    return [
        request.json()["messages"][-1]["content"]
        for request in endpoint.requests
        if request.path == "/v1/chat/completions"
    ]


async def test_answers_come_in_the_order_of_the_requests(endpoint: ScriptedEndpoint, files: Files) -> None:
    words = [f"word{number}" for number in range(12)]
    files.write(*asking(*words))
    code, err = await done(endpoint, *files.names)
    assert code == 0
    answers = files.answers()
    assert [each["custom_id"] for each in answers] == words
    assert [each["index"] for each in answers] == list(range(12))
    assert [each["output"].split()[-1] for each in answers] == words
    assert "12 done" in err
    assert "tokens in" in err


async def test_the_same_command_again_asks_nothing(endpoint: ScriptedEndpoint, files: Files) -> None:
    files.write(*asking("a", "b"))
    await done(endpoint, *files.names)
    before = files.answers()
    assert (await done(endpoint, *files.names))[0] == 0
    assert len(asked(endpoint)) == 2
    assert files.answers() == before


async def test_new_lines_at_the_end_are_done_alone(endpoint: ScriptedEndpoint, files: Files) -> None:
    files.write(*asking("a"))
    await done(endpoint, *files.names)
    files.write(*asking("a", "b"))
    assert (await done(endpoint, *files.names))[0] == 0
    assert asked(endpoint) == ["a", "b"]
    assert len(files.answers()) == 2


async def test_a_changed_line_is_another_input(endpoint: ScriptedEndpoint, files: Files) -> None:
    files.write(*asking("a", "b"))
    await done(endpoint, *files.names)
    files.write(*asking("a", "c"))
    code, err = await done(endpoint, *files.names)
    assert code == 1
    assert "another input (line 2 (custom_id 'c') is another than the one that was done)" in err
    assert sorted(asked(endpoint)) == ["a", "b"]


async def test_ctrl_c_finishes_what_is_under_way_and_the_next_run_does_the_rest(
    endpoint: ScriptedEndpoint, files: Files
) -> None:
    words = [f"word{number}" for number in range(8)]
    files.write(*asking(*words))
    gate = Gate()
    endpoint.enqueue(chat_reply("first"), chat_reply(["sec", gate, "ond"]), chat_reply(["thi", gate, "rd"]))
    process = await hub_batch(endpoint, *files.names, "--concurrency", "2")
    async with asyncio.timeout(30):
        await gate.reached(2)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b"once more" not in await process.stderr.readline():
            pass
    gate.open()
    code, err = await outcome(process)
    assert code == 130
    assert "5 that are left" in err
    assert {each["output"] for each in files.answers()} == {"first", "second", "third"}
    assert (await done(endpoint, *files.names))[0] == 0
    assert sorted(asked(endpoint)) == words
    assert [each["custom_id"] for each in files.answers()] == words


async def test_ctrl_c_twice_stops_at_once(endpoint: ScriptedEndpoint, files: Files) -> None:
    files.write(*asking("a", "b", "c"))
    gate = Gate()
    endpoint.enqueue(chat_reply("first"), chat_reply([gate, "never"]))
    process = await hub_batch(endpoint, *files.names, "--concurrency", "1")
    async with asyncio.timeout(30):
        await gate.reached()
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        while b"once more" not in await process.stderr.readline():
            pass
    process.send_signal(signal.SIGINT)
    code, _ = await outcome(process)
    assert code == 130
    assert [each["output"] for each in files.answers()] == ["first"]


async def test_a_process_that_is_killed_loses_nothing_that_was_answered(
    endpoint: ScriptedEndpoint, files: Files
) -> None:
    files.write(*asking("a", "b", "c"))
    gate = Gate()
    endpoint.enqueue(chat_reply("first"), chat_reply([gate, "never"]))
    process = await hub_batch(endpoint, *files.names, "--concurrency", "1")
    async with asyncio.timeout(30):
        await gate.reached()
    process.kill()
    await process.communicate()
    assert (await done(endpoint, *files.names))[0] == 0
    assert sorted(asked(endpoint)) == ["a", "b", "b", "c"]
    assert [each["output"].split()[-1] for each in files.answers()] == ["first", "b", "c"]


async def test_failures_are_lines_and_are_asked_again_where_that_is_wanted(
    endpoint: ScriptedEndpoint, files: Files
) -> None:
    files.write(*asking("a", "b"))
    endpoint.enqueue(status_reply(400, "Not like this."))
    code, err = await done(endpoint, *files.names, "--concurrency", "1")
    assert code == 1
    assert "1 failed" in err
    first, second = files.answers()
    assert (first["custom_id"], first["status"], first["error_code"]) == ("a", "failed", "invalid_request")
    assert second["status"] == "completed"
    assert (await done(endpoint, *files.names))[0] == 1
    assert len(asked(endpoint)) == 2
    assert (await done(endpoint, *files.names, "--retry-failed"))[0] == 0
    assert asked(endpoint) == ["a", "b", "a"]


async def test_lines_of_the_api_s_own_form_and_of_embeddings_are_served(
    endpoint: ScriptedEndpoint, files: Files
) -> None:
    files.write(
        {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "Hello"}},
        {"custom_id": "b", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": ["x", "y"]}},
        {"input": "Hello"},
    )
    assert (await done(endpoint, *files.names))[0] == 0
    response, vectors, third = files.answers()
    assert response["output"].endswith("Hello")
    assert len(vectors["output"]) == 2
    assert third["custom_id"] is None


@pytest.mark.parametrize("more", [(), ("--api-batch",)])
async def test_a_line_that_is_no_request_is_named_and_nothing_is_sent(
    more: tuple[str, ...], endpoint: ScriptedEndpoint, files: Files
) -> None:
    files.write(*asking("a"), {"prompt": "x"}, 5)
    code, err = await done(endpoint, *files.names, *more)
    assert code == 1
    assert "line 2: a request has messages or input" in err
    assert "line 3" in err
    assert endpoint.requests == []
    assert files.left() == ["in.jsonl"]


async def test_a_custom_id_given_twice_is_refused_and_nothing_is_sent(endpoint: ScriptedEndpoint, files: Files) -> None:
    files.write(*asking("a", "b", "a"))
    code, err = await done(endpoint, *files.names)
    assert code == 1
    assert "line 3: custom_id 'a' was there before" in err
    assert endpoint.requests == []


async def test_an_output_that_no_run_wrote_is_replaced_with_force_alone(
    endpoint: ScriptedEndpoint, files: Files
) -> None:
    files.write(*asking("a"))
    put(files.target, b"precious")
    code, err = await done(endpoint, *files.names)
    assert code == 1
    assert "--force" in err
    assert endpoint.requests == []
    assert files.left() == ["in.jsonl", "out.jsonl"]
    assert files.target.read_text() == "precious"
    assert (await done(endpoint, *files.names, "--force"))[0] == 0
    assert len(files.answers()) == 1
    files.write(*asking("a", "b"))
    assert (await done(endpoint, *files.names))[0] == 0
    assert [each["custom_id"] for each in files.answers()] == ["a", "b"]


@pytest.mark.parametrize("more", [(), ("--api-batch",)])
async def test_somebody_s_file_in_the_checkpoint_s_place_is_kept(
    more: tuple[str, ...], endpoint: ScriptedEndpoint, files: Files
) -> None:
    files.write(*asking("a"))
    checkpoint = files.target.with_name("out.jsonl.checkpoint")
    put(checkpoint, b'{"precious": 1}')
    code, err = await done(endpoint, *files.names, "--force", *more)
    assert code == 1
    assert "no checkpoint of a batch" in err
    assert endpoint.requests == []
    assert checkpoint.read_text() == '{"precious": 1}'


async def test_ctrl_c_while_the_input_is_checked_ends_at_once(endpoint: ScriptedEndpoint, files: Files) -> None:
    put(files.source, b'{"input": "Why is the sky blue?"}\n' * 500_000)
    process = await hub_batch(endpoint, *files.names)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        assert b"checking every line" in await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    code, err = await outcome(process)
    assert (code, err) == (130, "")
    assert endpoint.requests == []
    assert files.left() == ["in.jsonl"]


@pytest.mark.parametrize("names", [("-", "out"), ("in", "-")])
async def test_standard_streams_are_refused_in_words(names: tuple[str, str], endpoint: ScriptedEndpoint) -> None:
    code, err = await done(endpoint, *names)
    assert code == 1
    assert "name files" in err


async def test_two_runs_at_once_are_refused(endpoint: ScriptedEndpoint, files: Files) -> None:
    files.write(*asking("a"))
    gate = Gate()
    endpoint.enqueue(chat_reply([gate, "first"]))
    process = await hub_batch(endpoint, *files.names)
    async with asyncio.timeout(30):
        await gate.reached()
    code, err = await done(endpoint, *files.names)
    assert code == 1
    assert "in use by another run" in err
    gate.open()
    assert (await outcome(process))[0] == 0


@pytest.mark.parametrize(("source", "words"), [("missing.jsonl", "can't be read"), ("out.jsonl", "another file")])
async def test_an_input_that_makes_no_sense_is_told(
    source: str, words: str, endpoint: ScriptedEndpoint, files: Files
) -> None:
    code, err = await done(endpoint, str(files.source.with_name(source)), str(files.target))
    assert code == 1
    assert words in err


async def test_the_batch_api_gives_the_same_lines(endpoint: ScriptedEndpoint, files: Files) -> None:
    files.write(*asking("a", "b", "c"))
    code, err = await done(endpoint, *files.names, "--api-batch", "--poll-interval", "0")
    assert code == 0
    assert "batch_1" in err
    assert [each["custom_id"] for each in files.answers()] == ["a", "b", "c"]
    assert [each["output"].split()[-1] for each in files.answers()] == ["a", "b", "c"]
    assert [each["index"] for each in files.answers()] == [0, 1, 2]
    assert files.left() == ["in.jsonl", "out.jsonl", "out.jsonl.checkpoint"]
    assert asked(endpoint) == []


def creations(endpoint: ScriptedEndpoint) -> int:
    return sum(request.method == "POST" and request.path == "/v1/batches" for request in endpoint.requests)


async def test_a_stopped_wait_goes_on_with_the_same_batch(endpoint: ScriptedEndpoint, files: Files) -> None:
    files.write(*asking("a", "b"))
    process = await hub_batch(endpoint, *files.names, "--api-batch", "--poll-interval", "3600")
    async with asyncio.timeout(30):
        await endpoint.received(3)  # the file, the batch, the first look
    process.send_signal(signal.SIGINT)
    code, err = await outcome(process)
    assert code == 130
    assert "2 that are left" in err
    assert (await done(endpoint, *files.names, "--api-batch", "--poll-interval", "0"))[0] == 0
    assert creations(endpoint) == 1
    assert len(files.answers()) == 2


async def test_a_batch_of_the_api_is_of_what_is_left_alone(endpoint: ScriptedEndpoint, files: Files) -> None:
    files.write(*asking("a"))
    await done(endpoint, *files.names)
    files.write(*asking("a", "b"))
    assert (await done(endpoint, *files.names, "--api-batch", "--poll-interval", "0"))[0] == 0
    assert (await done(endpoint, *files.names, "--api-batch", "--poll-interval", "0"))[0] == 0
    assert creations(endpoint) == 1
    assert [each["output"].split()[-1] for each in files.answers()] == ["a", "b"]
    assert "batch_id" in files.answers()[1]
    assert "batch_id" not in files.answers()[0]


async def test_a_line_changed_while_the_batch_was_at_work_gets_no_other_line_s_answer(
    endpoint: ScriptedEndpoint, files: Files
) -> None:
    files.write(*asking("a", "b"))
    process = await hub_batch(endpoint, *files.names, "--api-batch", "--poll-interval", "3600")
    async with asyncio.timeout(30):
        await endpoint.received(3)
    process.send_signal(signal.SIGINT)
    await outcome(process)
    files.write(*asking("a", "c"))
    code, err = await done(endpoint, *files.names, "--api-batch", "--poll-interval", "0")
    assert code == 1
    assert "Line 2" in err
    files.write(*asking("a", "b"))
    assert (await done(endpoint, *files.names, "--api-batch", "--poll-interval", "0"))[0] == 0
    assert creations(endpoint) == 1
    assert [each["output"].split()[-1] for each in files.answers()] == ["a", "b"]
