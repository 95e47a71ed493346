"""What is remembered of an endpoint's limits, and for how long."""

from __future__ import annotations

from hub.upstream.embedding.limits import LearntLimits, RequestLimits

NONE = RequestLimits()
FEW = RequestLimits(max_tokens=125)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_limit_is_remembered_of_its_model() -> None:
    learnt = LearntLimits(Clock())
    learnt.lower("a", FEW)
    learnt.lower("a", RequestLimits(max_inputs=8, max_tokens=500))
    assert learnt.of("a") == RequestLimits(max_inputs=8, max_tokens=125)
    assert learnt.of("b") == NONE


def test_a_limit_is_forgotten_some_minutes_after_it_was_last_lowered() -> None:
    clock = Clock()
    learnt = LearntLimits(clock, ttl=300.0)
    learnt.lower("a", FEW)
    clock.now = 299.0
    learnt.lower("a", NONE)  # a call that found nothing out
    assert learnt.of("a") == FEW
    clock.now = 300.0
    assert learnt.of("a") == NONE
    learnt.lower("a", RequestLimits(max_tokens=1_000))
    assert learnt.of("a") == RequestLimits(max_tokens=1_000)


def test_a_limit_that_is_found_again_is_remembered_anew() -> None:
    clock = Clock()
    learnt = LearntLimits(clock, ttl=300.0)
    learnt.lower("a", FEW)
    clock.now = 299.0
    learnt.lower("a", RequestLimits(max_tokens=60))
    clock.now = 598.0
    assert learnt.of("a") == RequestLimits(max_tokens=60)
