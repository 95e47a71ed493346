"""The log of faults: each kind is said, none drowns the others."""

from __future__ import annotations

import pytest

from hub.cache.faults import CacheFault, FaultLog
from hub.errors import CacheError


def test_a_kind_of_fault_is_logged_once_in_an_interval_with_the_number_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    report = FaultLog(interval=60.0, clock=lambda: now)
    for _ in range(5):
        report(CacheFault("get", "k", CacheError("The cache is away.")))
    report(CacheFault("put", "k", CacheError("The cache is away.")))
    report(CacheFault("get", "k", TimeoutError("no answer")))
    now = 61.0
    report(CacheFault("get", "k", CacheError("The cache is away.")))
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(")")[0] for message in messages] == [
        "the cache failed (get, CacheError",
        "the cache failed (put, CacheError",
        "the cache failed (get, TimeoutError",
        "the cache failed (get, CacheError",
    ]
    assert "(0 more" in messages[0]
    assert "(4 more" in messages[3]
