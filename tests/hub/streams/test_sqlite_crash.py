"""A process that writes is killed at any moment; what its readers were told is there when it comes back."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from itertools import takewhile
from pathlib import Path

from hub.streams.sqlite import SqliteStreamStore
from hub.testing import check_grammar

from ...contracts.samples import positions
from .crashing_writer import MAX_PIECES, whole_stream

ROUNDS = 20


def told_by_a_killed_writer(path: Path, name: str, lines: int) -> Counter[str]:
    """How many events of each stream were told by a process that was killed after so many lines, or soon after."""
    command = [sys.executable, "-m", "tests.hub.streams.crashing_writer", str(path), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.read().splitlines(keepends=True)
    told: Counter[str] = Counter()
    for line in said:
        if line.endswith(b"\n"):
            stream_id, seq = line.decode().split()
            assert int(seq) == told[stream_id]
            told[stream_id] += 1
    return told


async def test_nothing_a_reader_was_told_is_lost_or_doubled_when_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    rand = random.Random(7)
    told: Counter[str] = Counter()
    for number in range(ROUNDS):
        told += told_by_a_killed_writer(path, str(number), rand.randrange(1, 1_500))

    store = SqliteStreamStore(path)
    infos = {info.stream_id: info for info in await store.list(limit=100_000)}
    assert told.keys() <= infos.keys()
    interrupted = 0
    for stream_id, info in infos.items():
        events = (await store.open(stream_id)).events
        check_grammar(events)
        assert positions(events) == list(range(info.last_seq + 1))
        assert info.status == events[-1].status
        written = list(takewhile(lambda event: event.type != "snapshot", events))
        if info.status == "completed":
            assert events == whole_stream(stream_id, len(events) - 3)
        elif info.last_seq > len(events):
            interrupted += 1
            contents = [event for event in written if event.type != "usage"]
            assert contents == whole_stream(stream_id, MAX_PIECES)[: len(contents)]
        else:
            written = []  # it was made, and nothing had been said in it
        assert told[stream_id] <= len(written)
    await store.aclose()
    assert interrupted >= ROUNDS
