"""What is said of a Redis that can't be used."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - redis-py's name

from hub.limits.ledger import Ledger
from hub.limits.outage import MAX_WORDS, Outage
from hub.models.profile import RateLimits
from tests.hub.limits.support import ManualClock


def said_of(exc: Exception, caplog: pytest.LogCaptureFixture) -> str:
    """The one warning at the beginning of an outage."""
    clock = ManualClock()
    outage = Outage(RateLimits(tkn_per_min=1), interval=60.0, clock=clock, share=0.125, retry_interval=1.0)
    with caplog.at_level(logging.WARNING, "hub.limits.outage"):
        for _ in range(2):
            outage.begin(exc, Ledger(60.0, clock.time))
    (record,) = caplog.records
    return record.getMessage()


def test_a_refusal_is_told_in_the_servers_words(caplog: pytest.LogCaptureFixture) -> None:
    said = said_of(ResponseError("WRONGTYPE Operation against a key\nholding the wrong kind of value"), caplog)
    assert said.startswith(
        "Redis refuses the rate limit's commands "
        "(ResponseError: WRONGTYPE Operation against a key holding the wrong kind of value): this process keeps to"
    )


def test_a_server_that_is_away_is_told_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    said = said_of(ConnectionError("Error 111 connecting to 127.0.0.1:6379."), caplog)
    assert said.startswith("Redis is away (ConnectionError: Error 111 connecting to 127.0.0.1:6379.):")


def test_an_error_without_words_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert said_of(TimeoutError(), caplog).startswith("Redis is away (TimeoutError):")


def test_long_words_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    assert len(said_of(ResponseError("x" * 10_000), caplog)) < MAX_WORDS + 200
