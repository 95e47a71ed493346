"""Which logs stay in memory when nobody holds them."""

from __future__ import annotations

import gc
import weakref

from hub.streams.log import StreamLog
from hub.streams.recent import RecentLogs

from ...contracts.samples import a_stream


def a_log(stream_id: str, size_bytes: int) -> StreamLog:
    log = StreamLog(stream_id, created_at=0.0)
    log.append(a_stream("x" * size_bytes, stream_id=stream_id))
    return log


def kept_of(recent: RecentLogs, sizes: dict[str, int], again: str = "") -> list[str]:
    """Which logs of these sizes stay in memory; one of them is used again after two."""
    logs: dict[str, weakref.ref[StreamLog]] = {}
    for number, (stream_id, size_bytes) in enumerate(sizes.items()):
        log = a_log(stream_id, size_bytes)
        recent.keep(log)
        logs[stream_id] = weakref.ref(log)
        del log
        if number == 1 and again and (used := logs[again]()) is not None:
            recent.keep(used)
            del used
    gc.collect()
    return [stream_id for stream_id, log_ref in logs.items() if log_ref() is not None]


def test_those_used_last_stay() -> None:
    assert kept_of(RecentLogs(10_000), dict.fromkeys("abcd", 4_000)) == ["c", "d"]


def test_the_one_used_last_stays_however_large_it_is() -> None:
    assert kept_of(RecentLogs(10_000), {"a": 1_000, "b": 50_000}) == ["b"]


def test_using_one_again_makes_it_the_last() -> None:
    assert kept_of(RecentLogs(10_000), dict.fromkeys("abc", 4_000), again="a") == ["a", "c"]


def test_one_that_is_dropped_makes_room() -> None:
    recent = RecentLogs(10_000)
    recent.keep(a_log("gone", 4_000))
    recent.drop("gone")
    recent.drop("never")
    assert kept_of(recent, dict.fromkeys("ab", 4_000)) == ["a", "b"]
