"""Who counts as dead: by this process's own clock, and never for an outage's sake."""

from __future__ import annotations

from hub.jobs.silence import Silence

LEASE = 3.0


def silence() -> Silence:
    return Silence(LEASE, max_gap=2.0)


def test_a_worker_that_says_nothing_new_for_the_lease_is_found() -> None:
    watch = silence()
    for at in (0.0, 1.0, 2.0):
        assert watch.look(at, {"a": "1"}) == []
    assert watch.look(3.0, {"a": "1"}) == [("a", "1")]


def test_a_worker_is_found_within_five_seconds_of_its_last_word() -> None:
    watch = silence()
    watch.look(0.0, {"a": "1"})
    # It says its last word just after this look, and is heard at the next.
    found_at = next(at for at in range(1, 10) if watch.look(float(at), {"a": "2"}))
    assert found_at <= 5


def test_each_new_word_gives_the_whole_time_again() -> None:
    watch = silence()
    for at in range(20):
        assert watch.look(float(at), {"a": str(at // 2)}) == []


def test_a_word_may_be_anything_but_the_last_one() -> None:
    watch = silence()
    for at in range(20):
        assert watch.look(float(at), {"a": str(at % 2)}) == []


def test_after_an_outage_everyone_has_the_whole_time_again() -> None:
    watch = silence()
    for at in (0.0, 1.0, 2.0):
        watch.look(at, {"a": "1"})
    for at in (10.0, 11.0, 12.0):
        assert watch.look(at, {"a": "1"}) == []
    assert watch.look(13.0, {"a": "1"}) == [("a", "1")]


def test_one_that_comes_back_is_a_new_one() -> None:
    watch = silence()
    watch.look(0.0, {"a": "1"})
    watch.look(1.0, {})
    watch.look(2.0, {"a": "1"})
    assert watch.look(3.5, {"a": "1"}) == []


def test_workers_are_watched_each_for_itself() -> None:
    watch = silence()
    for at in range(4):
        found = watch.look(float(at), {"silent": "1", "heard": str(at)})
    assert found == [("silent", "1")]
