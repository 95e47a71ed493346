"""The end of a command that runs for long, whatever its application leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from hub.cli.work import _listening

from .test_cli import environment, outcome

RESISTING = """
import asyncio, sys, time
from hub.cli.event_loop import run

async def swallow():
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass

async def command():
    {0}
    await asyncio.sleep(0)
    print("done")
    {1}

sys.exit(run(command()))
"""


async def ended(first: str, last: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RESISTING.format(first, last)),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(15):
            return await outcome(process)
    finally:
        if process.returncode is None:
            process.kill()


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ('task = asyncio.create_task(swallow(), name="generation str_1")', "generation str_1 doesn't stop"),
        ("task = asyncio.create_task(asyncio.to_thread(time.sleep, 1000))", "a thread doesn't end"),
    ],
    ids=["task", "thread"],
)
async def test_what_doesn_t_stop_holds_no_process_up(first: str, words: str) -> None:
    code, out, err = await ended(first, "pass")
    assert (code, out) == (0, "done\n")
    assert words in err
    assert "Traceback" not in err


async def test_a_command_that_fails_is_told_as_ever() -> None:
    code, _, err = await ended("pass", "raise KeyError(5)")
    assert code == 1
    assert "KeyError" in err


async def test_a_worker_is_told_to_stop_to_hurry_and_then_no_more() -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    with _listening(stop, hurry):
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await stop.wait()
        assert not hurry.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(5):
            await hurry.wait()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
