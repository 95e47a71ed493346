"""Jobs as Redis keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import InvalidRequestError, StoreError
from hub.jobs.base import PRIORITIES, Depth, Job
from hub.jobs.payload import decode_job, encode_job, said, survey

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["messages", "model", "stop"]), JSON), st.sampled_from(PRIORITIES))
def test_a_job_comes_back_as_it_was(arguments: dict[str, Any], priority: Any) -> None:
    assert decode_job("str_1", encode_job(arguments, priority), 2) == Job("str_1", arguments, priority, 2)


@pytest.mark.parametrize("arguments", [{"a": object()}, {"a": "\ud83d"}, {"a": float}])
def test_what_is_no_json_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        encode_job(arguments, "normal")


@pytest.mark.parametrize("value", [b"", b"high", b"high {", b"high []", b"high \xff"])
def test_what_is_no_job_is_an_error_of_the_store(value: bytes) -> None:
    with pytest.raises(StoreError):
        decode_job("str_1", value, 0)


def test_two_signs_of_life_are_never_the_same() -> None:
    assert said(1, 5.0, 10) != said(2, 5.0, 10)


def test_a_survey_names_each_queue_and_whoever_has_jobs() -> None:
    depths = [[0, b""], [3, b"95.0"], [1, b"93.0"], [2, b"90.0"], [0, b""], [1, b"101.0"]]
    workers = [[b"my one 3fa2", said(3, 50.0, 10).encode(), 4], [b"ghost", b"", 1]]
    aside = [[b"str_9", b"70.5", b'[3,"It broke."]', b"low"], [b"str_8", b"60", b"", b""]]
    found = survey([b"100.0", depths, 7, workers, aside])
    assert found.depths == {
        "again": Depth(4, 7.0),
        "high": Depth(2, 10.0),
        "normal": Depth(0, None),
        "low": Depth(1, 0.0),
    }
    assert found.announced == 7
    assert [(each.name, each.since, each.concurrency, each.running) for each in found.workers] == [
        ("my one", 50.0, 10, 4),
        ("ghost", None, None, 1),
    ]
    assert [(each.stream_id, each.reason, each.lost, each.priority) for each in found.aside] == [
        ("str_9", "It broke.", 3, "low"),
        ("str_8", "", 0, "normal"),
    ]
