"""Checkpoints: what is done is not done again, another input is refused, and no accident costs more than it must."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hub.batch import Checkpoint, CheckpointError, iter_batch, quiet, run_batch
from hub.embeddings import Embeddings
from hub.errors import InvalidRequestError
from hub.result import LLMResult


class Counted:
    """Work that counts how often it is done."""

    def __init__(self) -> None:
        self.done: list[int] = []

    async def double(self, number: int) -> int:
        self.done.append(number)
        await asyncio.sleep(0)
        return 2 * number

    def items(self, count: int) -> list[Callable[[], Awaitable[int]]]:
        return [partial(self.double, number) for number in range(count)]

    def keyed(self, *keys: str) -> list[tuple[str, Callable[[], Awaitable[int]]]]:
        return [(key, partial(self.double, number)) for number, key in enumerate(keys)]


def read(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def share(path: Path) -> None:
    path.chmod(0o640)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.checkpoint"


@pytest.fixture
def work() -> Counted:
    return Counted()


async def some(count: int, path: Path, work: Counted) -> None:
    """A run that is stopped once `count` items are done."""
    stop = asyncio.Event()

    def after(index: int, result: Any) -> None:
        if index + 1 == count:
            stop.set()

    await run_batch(work.items(9), concurrency=1, checkpoint=path, stop=stop, on_result=after, progress=quiet)
    assert len(work.done) == count


async def test_a_continued_run_does_the_rest_alone(path: Path, work: Counted) -> None:
    await some(4, path, work)
    results = await run_batch(work.items(9), checkpoint=path, progress=quiet)
    assert results == [2 * number for number in range(9)]
    assert sorted(work.done) == list(range(9))


async def test_coroutines_of_what_is_done_are_closed_unrun(path: Path, work: Counted) -> None:
    await some(4, path, work)
    coros = [work.double(number) for number in range(9)]
    assert await run_batch(coros, checkpoint=path, progress=quiet) == [2 * number for number in range(9)]
    assert sorted(work.done) == list(range(9))


async def test_an_iteration_gives_what_is_done_as_well(path: Path, work: Counted) -> None:
    await some(4, path, work)
    found = dict([each async for each in iter_batch(work.items(9), checkpoint=path, progress=quiet)])
    assert found == {number: 2 * number for number in range(9)}


async def test_a_cancelled_run_keeps_what_was_done(path: Path, work: Counted) -> None:
    hangs = asyncio.Event()
    reached = asyncio.Event()

    def three(index: int, result: Any) -> None:
        if index == 2:
            reached.set()

    items = [*work.items(3), hangs.wait]
    running = asyncio.ensure_future(run_batch(items, concurrency=2, checkpoint=path, on_result=three, progress=quiet))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    hangs.set()
    assert await run_batch([*work.items(3), hangs.wait], checkpoint=path, progress=quiet) == [0, 2, 4, True]
    assert sorted(work.done) == [0, 1, 2]


async def test_an_input_that_has_grown_goes_on(path: Path, work: Counted) -> None:
    await run_batch(work.items(3), checkpoint=path, progress=quiet)
    assert await run_batch(work.items(5), checkpoint=path, progress=quiet) == [0, 2, 4, 6, 8]
    assert sorted(work.done) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("keys", [("a", "x"), ("b", "a"), ("x", "b")])
async def test_other_keys_are_another_input(keys: tuple[str, str], path: Path, work: Counted) -> None:
    await run_batch(work.keyed("a", "b"), checkpoint=path, progress=quiet)
    with pytest.raises(InvalidRequestError, match="another input"):
        await run_batch(work.keyed(*keys), checkpoint=path, progress=quiet)
    assert len(work.done) == 2


async def test_an_input_with_fewer_items_is_another_one(path: Path, work: Counted) -> None:
    await run_batch(work.items(3), checkpoint=path, progress=quiet)
    with pytest.raises(InvalidRequestError, match="ends after 2 items"):
        await run_batch(work.items(2), checkpoint=path, progress=quiet)


async def test_items_with_keys_and_without_are_other_inputs(path: Path, work: Counted) -> None:
    await run_batch(work.keyed("a"), checkpoint=path, progress=quiet)
    with pytest.raises(InvalidRequestError, match="have keys"):
        await run_batch(work.items(1), checkpoint=path, progress=quiet)


async def test_a_checkpoint_about_something_else_is_refused(path: Path, work: Counted) -> None:
    await run_batch(work.items(1), checkpoint=Checkpoint(path, about="gpt-5.1"), progress=quiet)
    with pytest.raises(InvalidRequestError, match="gpt-5"):
        await run_batch(work.items(1), checkpoint=Checkpoint(path, about="gpt-5"), progress=quiet)


async def test_a_file_that_is_no_checkpoint_is_left_alone(path: Path, work: Counted) -> None:
    write(path, b'{"my": "notes"}\n')
    with pytest.raises(CheckpointError, match="no checkpoint"):
        await run_batch(work.items(1), checkpoint=path, progress=quiet)
    assert read(path) == b'{"my": "notes"}\n'


FOREIGN = {
    "one line of JSON without end": b'{"precious": "one line"}',
    "text without an end": b"first line\nlast line without end",
    "an image": bytes(range(1, 10)) + bytes(200),
    "lines of its own": b"a\nb\n",
    "a training run's settings": b'{"checkpoint":1,"loss":0.25}',
    "somebody else's line and a rest": b'{"checkpoint":"model.pt","keyed":true}\nrest',
    "a line without end and without bound": b"x" * 2_000_000,
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
async def test_a_file_of_somebody_else_s_keeps_every_byte(content: bytes, path: Path, work: Counted) -> None:
    write(path, content)
    with pytest.raises(CheckpointError, match="is no checkpoint of a batch: name another file"):
        await run_batch(work.items(1), checkpoint=path, progress=quiet)
    assert read(path) == content
    assert work.done == []


async def test_what_a_link_leads_to_keeps_every_byte(path: Path, work: Counted) -> None:
    target = path.with_name("target")
    write(target, b"secret")
    link(path, target)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        await run_batch(work.items(1), checkpoint=path, progress=quiet)
    assert read(target) == b"secret"


async def test_a_checkpoint_about_something_else_keeps_a_torn_line(path: Path, work: Counted) -> None:
    await run_batch(work.items(2), checkpoint=Checkpoint(path, about="gpt-5.1"), progress=quiet)
    torn = read(path)[:-3]
    write(path, torn)
    with pytest.raises(InvalidRequestError, match="gpt-5"):
        await run_batch(work.items(2), checkpoint=Checkpoint(path, about="gpt-5"), progress=quiet)
    assert read(path) == torn


async def test_a_device_is_no_checkpoint(work: Counted) -> None:
    with pytest.raises(CheckpointError, match="no ordinary file"):
        await run_batch(work.items(1), checkpoint=os.devnull, progress=quiet)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
async def test_a_new_checkpoint_is_its_owner_s_alone(path: Path, work: Counted) -> None:
    await run_batch(work.items(1), checkpoint=path, progress=quiet)
    assert mode(path) == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
async def test_a_checkpoint_that_is_shared_stays_so(path: Path, work: Counted) -> None:
    await run_batch(work.items(1), checkpoint=path, progress=quiet)
    share(path)
    await run_batch(work.items(2), checkpoint=path, progress=quiet)
    assert mode(path) == 0o640


async def test_another_input_is_told_in_the_caller_s_words(path: Path, work: Counted) -> None:
    await run_batch(work.keyed("a"), checkpoint=path, progress=quiet)
    named = Checkpoint(path, name_item=lambda index: f"page {index + 1}")
    with pytest.raises(InvalidRequestError, match="page 1 is another than the one that was done"):
        await run_batch(work.keyed("b"), checkpoint=named, progress=quiet)


async def test_two_runs_on_one_file_are_refused(path: Path, work: Counted) -> None:
    async with Checkpoint(path):
        with pytest.raises(CheckpointError, match="in use by another run"):
            await run_batch(work.items(1), checkpoint=path, progress=quiet)
    assert await run_batch(work.items(1), checkpoint=path, progress=quiet) == [0]


@pytest.mark.parametrize("lost", range(1, 40, 3))
async def test_a_torn_last_line_costs_its_item_alone(lost: int, path: Path, work: Counted) -> None:
    await some(4, path, work)
    write(path, read(path)[:-lost])
    assert await run_batch(work.items(9), checkpoint=path, progress=quiet) == [2 * number for number in range(9)]
    assert sorted(work.done) == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8]
    assert all(json.loads(line) for line in read(path).splitlines())


async def test_a_last_line_that_is_damaged_costs_its_item_alone(path: Path, work: Counted) -> None:
    await some(4, path, work)
    write(path, read(path) + bytes(100) + b"\n")
    assert await run_batch(work.items(9), checkpoint=path, progress=quiet) == [2 * number for number in range(9)]
    assert sorted(work.done) == list(range(9))


async def test_a_damaged_line_in_the_middle_is_named(path: Path, work: Counted) -> None:
    await some(4, path, work)
    lines = read(path).splitlines(keepends=True)
    write(path, b"".join([*lines[:2], b"damaged\n", *lines[3:]]))
    with pytest.raises(CheckpointError, match="Line 3"):
        await run_batch(work.items(9), checkpoint=path, progress=quiet)


@pytest.mark.parametrize("size", [0, 24, -1, None])
async def test_a_torn_first_line_begins_anew(size: int | None, path: Path, work: Counted) -> None:
    await run_batch(work.items(2), checkpoint=path, progress=quiet)
    header = read(path).splitlines()[0]
    work.done.clear()
    write(path, header[:size])
    assert await run_batch(work.items(2), checkpoint=path, progress=quiet) == [0, 2]
    assert sorted(work.done) == [0, 1]


async def test_a_folder_that_is_missing_is_told(tmp_path: Path, work: Counted) -> None:
    coros = [work.double(1)]
    with pytest.raises(CheckpointError, match="can't be opened"):
        await run_batch(coros, checkpoint=tmp_path / "missing" / "file", progress=quiet)
    assert coros[0].cr_frame is None


async def test_failures_are_results_and_stay(path: Path) -> None:
    tries = 0

    async def fails() -> int:
        nonlocal tries
        tries += 1
        raise ValueError("no")

    first = await run_batch([fails], checkpoint=path, progress=quiet)
    assert await run_batch([fails], checkpoint=path, progress=quiet) == first
    assert tries == 1


async def test_failures_are_tried_again_where_that_is_wanted(path: Path, work: Counted) -> None:
    async def fails() -> int:
        raise ValueError("no")

    await run_batch([partial(work.double, 1), fails], checkpoint=path, progress=quiet)
    items = [partial(work.double, 1), partial(work.double, 2)]
    assert await run_batch(items, checkpoint=path, retry_failed=True, progress=quiet) == [2, 4]
    assert await run_batch(items, checkpoint=path, progress=quiet) == [2, 4]
    assert work.done == [1, 2]


class City(BaseModel):
    name: str


@dataclass
class Point:
    x: float


@pytest.mark.parametrize(
    ("result", "as_json"),
    [
        (City(name="Paris"), {"name": "Paris"}),
        ([City(name="Paris")], [{"name": "Paris"}]),
        ({"a": (1, 2), "b": None}, {"a": [1, 2], "b": None}),
        (Point(1.5), {"x": 1.5}),
        ("text", "text"),
        (None, None),
    ],
)
async def test_a_result_comes_as_json_from_the_run_and_from_the_checkpoint(
    result: Any, as_json: Any, path: Path
) -> None:
    async def give() -> Any:
        return result

    assert await run_batch([give], checkpoint=path, progress=quiet) == [as_json]
    assert await run_batch([give], checkpoint=path, progress=quiet) == [as_json]


async def test_an_llm_result_and_vectors_come_as_dictionaries(path: Path) -> None:
    async def answer() -> LLMResult:
        return LLMResult(stream_id="str_1", last_seq=3, status="completed", text="Hello")

    async def embed() -> Embeddings:
        return Embeddings.from_vectors([[1.0, 0.5]], model="m")

    answered, embedded = await run_batch([answer, embed], checkpoint=path, progress=quiet)
    assert (answered["text"], answered["status"]) == ("Hello", "completed")
    assert (embedded["vectors"], embedded["model"], embedded["usage"]["input_tokens"]) == ([[1.0, 0.5]], "m", 0)


async def test_a_result_that_json_cannot_hold_is_refused(path: Path) -> None:
    async def give() -> object:
        return object()

    with pytest.raises(InvalidRequestError, match="object can't be kept in a checkpoint"):
        await run_batch([give], checkpoint=path, progress=quiet)


@pytest.mark.parametrize(
    ("interval", "synced"),
    [(0.0, [True] * 5), (2.0, [False, True, False, True, False]), (100.0, [False] * 5)],
)
async def test_the_disk_is_waited_for_at_the_interval(interval: float, synced: list[bool], path: Path) -> None:
    now = 0.0
    found = []
    async with Checkpoint(path, fsync_interval=interval, clock=lambda: now) as checkpoint:
        for index in range(5):
            now += 1.0
            checkpoint.put(index, None, index)
            found.append(await checkpoint.sync())
    assert found == synced


async def test_items_of_a_checkpoint_come_in_the_input_s_order(path: Path) -> None:
    async with Checkpoint(path) as checkpoint:
        for index in (2, 0, 1, 0):
            checkpoint.put(index, f"key {index}", {"at": index})
        assert [(done.index, done.key, done.result) for done in checkpoint.items()] == [
            (index, f"key {index}", {"at": index}) for index in range(3)
        ]


async def test_a_negative_interval_is_refused(path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="fsync_interval"):
        Checkpoint(path, fsync_interval=-1)
