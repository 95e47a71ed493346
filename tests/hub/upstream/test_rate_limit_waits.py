"""What is told of a call that waits for its rate limit: in its failure, in the log, and to observers."""

from __future__ import annotations

import asyncio
import logging

import pytest

from hub.models.profile import ModelProfile, RateLimits
from hub.observe import Call, Observer, Outcome
from hub.testing import status_reply
from hub.upstream.clocks import Timeouts
from tests.hub.limits.support import ManualClock

from .limits_support import answered, ask, client_at, limiter_of, scripted, waiting
from .support import MovedClock, within


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_a_further_try_that_waited_to_the_end_is_told_from_the_first_one_that_was_sent(
    clock: ManualClock,
) -> None:
    loop_clock, limiter = MovedClock(), limiter_of(clock, requests=1)
    client = client_at(scripted(status_reply(500)), limiter, timeouts=Timeouts(total_timeout=30.0))
    call = ask(client)
    while not limiter.waiting:
        await loop_clock.pass_by(0.5)
    await loop_clock.pass_by(31.0)
    error = (await within(call)).error
    assert error is not None
    assert error.message == "The request still waited for its rate limit after 30.0 s; try 2 was not sent."


async def test_a_wait_is_told_in_the_log_while_it_lasts_once_for_all_that_wait(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    loop_clock, limiter = MovedClock(), limiter_of(clock, requests=1)
    client = client_at(scripted(), limiter)
    with caplog.at_level(logging.INFO, "hub.upstream.quota"):
        await answered(client)
        calls = [ask(client) for _ in range(3)]
        await waiting(limiter, 3)
        await loop_clock.pass_by(0.5)
        assert caplog.messages == []
        await loop_clock.pass_by(1.0)
        assert caplog.messages == ["requests wait for their rate limit (your own limiter) and are not sent yet"]
        await loop_clock.pass_by(10.0)
        calls.append(ask(client))
        await waiting(limiter, 4)
        await loop_clock.pass_by(1.1)
        assert len(caplog.messages) == 2
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_wait_in_the_log_names_the_model_and_the_endpoint(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    loop_clock = MovedClock()
    client = client_at(scripted(), model=ModelProfile(model_name="m-1", rate_limits=RateLimits(req_per_min=1)))
    with caplog.at_level(logging.INFO, "hub.upstream.quota"):
        await answered(client)
        call = ask(client)
        await ManualClock().settle()
        await loop_clock.pass_by(1.1)
    assert caplog.messages == [
        "requests wait for their rate limit (m-1 at http://scripted/v1) and are not sent yet",
    ]
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


class Ended(Observer):
    """Keeps the calls that are over."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def on_end(self, call: Call, outcome: Outcome) -> None:
        self.calls.append(call)


async def test_observers_hear_how_long_a_call_waited_for_its_rate_limit(clock: ManualClock) -> None:
    loop_clock, limiter, observer = MovedClock(), limiter_of(clock, requests=1), Ended()
    client = client_at(scripted(), limiter, observers=[observer])
    await answered(client)
    second = ask(client)
    await waiting(limiter)
    await loop_clock.pass_by(60.0)
    await clock.advance(61.0)
    await within(second)
    first_wait, second_wait = (call.rate_limit_seconds for call in observer.calls)
    assert first_wait == pytest.approx(0.0, abs=0.5)
    assert second_wait == pytest.approx(60.0, abs=0.5)


async def test_observers_hear_of_a_wait_that_was_given_up_too(clock: ManualClock) -> None:
    loop_clock, limiter, observer = MovedClock(), limiter_of(clock, requests=1), Ended()
    client = client_at(scripted(), limiter, observers=[observer])
    await answered(client)
    second = ask(client)
    await waiting(limiter)
    await loop_clock.pass_by(20.0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert observer.calls[-1].rate_limit_seconds == pytest.approx(20.0, abs=0.5)
