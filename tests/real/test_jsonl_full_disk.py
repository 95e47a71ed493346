"""A JSONLSink on a disk that is really full: a small one in memory, mounted where the system lets us."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

SCRIPT = """
import asyncio, sys
from pathlib import Path
from hub.completion import fold
from hub.errors import SinkUnavailableError
from hub.sink import FanOut, pump
from sinks.jsonl import JSONLSink, read_events
from sinks.memory import MemorySink
from tests.contracts.samples import a_stream, source

async def main(folder):
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(3_000_000))
    events = a_stream(*(f"{n} " + "x" * 20_000 for n in range(60)))
    path, kept = folder / "x.jsonl", MemorySink()
    async with JSONLSink(path, max_delay=0) as sink, FanOut(sink, kept) as both:
        await pump(source(events), both)
        await both.aclose()
        (failure,) = [error for _, error in both.failures]
        assert isinstance(failure, SinkUnavailableError)
        print(failure)
    assert kept.events == events
    written = list(read_events(path))
    assert 0 < len(written) < len(events) and written == events[:len(written)]
    assert path.read_bytes().endswith(b"\\n")
    ballast.unlink()
    async with JSONLSink(path) as sink:
        for event in events[len(written):]:
            await sink.send(event)
    assert list(read_events(path)) == events

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no namespaces here")
def test_a_full_disk_fails_this_sink_alone_and_leaves_whole_lines(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=4m tmpfs {tmp_path}"
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*namespace, mount], capture_output=True, check=False).returncode:
        pytest.skip("a file system can't be mounted here")
    done = subprocess.run(
        [*namespace, f'{mount} && exec "$0" -c "$1" {tmp_path}', sys.executable, SCRIPT],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "the disk is full. Make room" in done.stdout
