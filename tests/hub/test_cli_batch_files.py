"""The files of `hub batch`: the input's check can be left at any time, and no output but its own is replaced."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from itertools import count
from pathlib import Path

import pytest

from hub import ModelProfile
from hub.batch import Checkpoint, CheckpointError
from hub.batch.request_file import RequestFile
from hub.cli.batch_files import Output, check_input, counting
from hub.errors import InvalidRequestError

ANSWER = {"status": "completed", "output": "Hello"}


class Asked(ModelProfile):
    model_name = "asked-for-batch-files"


@pytest.fixture
def source(tmp_path: Path) -> RequestFile:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"custom_id": str(number), "input": "x"}) + "\n" for number in range(5)))
    return RequestFile(path, Asked())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def leads_to(path: Path) -> Path:
    return path.readlink()


def content(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_long_check_tells_how_far_it_is(source: RequestFile) -> None:
    shown: list[int] = []
    await check_input(source, shown.append, clock=map(float, count()).__next__)
    assert shown == [1, 2, 3, 4, 5]
    assert source.count == 5


async def test_a_short_check_tells_nothing(source: RequestFile) -> None:
    shown: list[int] = []
    await check_input(source, shown.append, clock=lambda: 0.0)
    assert shown == []
    assert source.count == 5


async def test_a_check_that_is_cancelled_ends_before_its_end(source: RequestFile) -> None:
    shown: list[int] = []

    async def check() -> None:
        task = asyncio.current_task()
        assert task is not None

        def show(number: int) -> None:
            shown.append(number)
            task.cancel()

        await check_input(source, show, clock=map(float, count()).__next__)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(check())
    assert shown == [1]
    assert source.count == 0


def test_a_long_check_is_told_once_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with counting(Path("in.jsonl")) as show:
        show(1000)
        show(2000)
    assert capsys.readouterr().err == "· checking every line of in.jsonl before the first is sent\n"


async def answered(output: Output, source: RequestFile, *indices: int) -> None:
    """A run that answered some of the requests."""
    async with Checkpoint(output.checkpoint_path) as checkpoint:
        for index in indices:
            checkpoint.put(index, "key", ANSWER)
        output.write(checkpoint, source)


async def test_an_output_of_an_earlier_run_is_replaced(source: RequestFile, target: Path) -> None:
    for indices in ((0,), (1, 2)):
        output = Output(target, force=False)
        output.claim()
        await answered(output, source, *indices)
    assert [json.loads(line)["custom_id"] for line in content(target).splitlines()] == ["0", "1", "2"]


@pytest.mark.parametrize("there", [b"precious", b'{"custom_id": "a"}\n', b'{"custom_id":"a"}\n'])
def test_an_output_without_a_checkpoint_is_refused(there: bytes, target: Path) -> None:
    put(target, there)
    with pytest.raises(InvalidRequestError, match="--force"):
        Output(target, force=False).claim()
    assert content(target) == there


async def test_an_output_put_in_the_place_of_ours_is_refused(source: RequestFile, target: Path) -> None:
    await answered(Output(target, force=False), source, 0)
    put(target, b"precious")
    with pytest.raises(InvalidRequestError, match="--force"):
        Output(target, force=False).claim()


async def test_force_replaces_whatever_is_there(source: RequestFile, target: Path) -> None:
    put(target, b"old")
    output = Output(target, force=True)
    output.claim()
    await answered(output, source, 0)
    assert content(target).startswith(b'{"custom_id":"0","index":0')


async def test_an_empty_output_is_nobody_s(source: RequestFile, target: Path) -> None:
    put(target, b"")
    output = Output(target, force=False)
    output.claim()
    await answered(output, source, 0)
    assert content(target)


async def test_a_file_that_came_meanwhile_is_not_replaced(source: RequestFile, target: Path) -> None:
    output = Output(target, force=False)
    output.claim()
    put(target, b"precious")
    with pytest.raises(InvalidRequestError, match="there already"):
        await answered(output, source, 0)
    assert content(target) == b"precious"


@pytest.mark.parametrize("name", [".", "/"])
def test_a_folder_is_no_output(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="no ordinary file"):
        Output(Path(name), force=True).claim()


async def test_a_link_is_written_through(source: RequestFile, target: Path) -> None:
    real = target.with_name("real.jsonl")
    link(target, real)
    for index in (0, 1):
        output = Output(target, force=False)
        output.claim()
        await answered(output, source, index)
    assert len(content(real).splitlines()) == 2
    assert leads_to(target) == real


async def test_a_folder_that_is_gone_is_told_with_where_the_answers_are(source: RequestFile, target: Path) -> None:
    output = Output(target.parent / "gone" / "out", force=False)
    async with Checkpoint(target) as checkpoint:
        checkpoint.put(0, "key", ANSWER)
        with pytest.raises(CheckpointError, match=r"can't be written.*has the answers"):
            output.write(checkpoint, source)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
async def test_what_is_written_is_its_owner_s_alone(source: RequestFile, target: Path) -> None:
    output = Output(target, force=False)
    await answered(output, source, 0)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (target, output.checkpoint_path)} == {0o600}


async def test_an_input_that_lost_lines_meanwhile_loses_their_names_alone(source: RequestFile, target: Path) -> None:
    output = Output(target, force=False)
    await answered(output, source, 0, 9)
    assert [json.loads(line)["custom_id"] for line in content(target).splitlines()] == ["0", None]
