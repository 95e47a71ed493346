"""The file of streams on a disk that is really full: a small one in memory, mounted where the system lets us."""

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
from hub.errors import StoreError
from hub.streams.sqlite import SqliteStreamStore
from hub.testing import collect
from tests.contracts.samples import a_stream

async def main(folder):
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(3_000_000))
    events = a_stream(*(f"{n} " + "x" * 20_000 for n in range(60)))
    store = SqliteStreamStore(folder / "streams.db")
    epoch = await store.create("str_1")
    log = await store.open("str_1")
    kept = 0
    try:
        for event in events:
            await store.append("str_1", [event], epoch=epoch)
            kept += 1
    except StoreError as exc:
        print(exc)
    assert 0 < kept < len(events) and log.events == events[:kept]
    ballast.unlink()
    await store.append("str_1", events[kept:], epoch=epoch)
    await store.aclose()
    store = SqliteStreamStore(folder / "streams.db")
    assert await collect((await store.open("str_1")).read()) == events
    await store.aclose()

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no namespaces here")
def test_the_store_says_that_the_disk_is_full_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
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
    assert (done.returncode, done.stderr) == (0, "")
    assert "the disk is full. Make room" in done.stdout
