"""How far a reader of several streams is in each."""

from __future__ import annotations

import msgspec
import pytest

from hub.events import LLMEvent, Snapshot
from hub.result import LLMResult
from sinks.redis.positions import MAX_STREAMS, Place, Positions
from tests.contracts.samples import STREAM, meta, text


def at(seq: int) -> Positions:
    positions = Positions()
    positions.take(STREAM, seq)
    return positions


@pytest.mark.parametrize(
    ("last", "event", "place"),
    [
        (-1, meta(0), Place.NEXT),
        (-1, text(1), Place.BEYOND),
        (-1, text(2, span=3), Place.NEXT),
        (4, text(5), Place.NEXT),
        (4, text(7, span=3), Place.NEXT),
        (4, text(4), Place.REPEAT),
        (4, text(0), Place.REPEAT),
        (4, text(6), Place.BEYOND),
        (4, text(6, span=3), Place.BEYOND),  # stands for position 4 as well, which is there
    ],
)
def test_an_event_stands_where_its_span_says(last: int, event: LLMEvent, place: Place) -> None:
    assert at(last).place(event) is place


@pytest.mark.parametrize(("seq", "place"), [(4, Place.REPEAT), (5, Place.NEXT), (70_000, Place.NEXT)])
def test_a_snapshot_stands_for_all_before_it(seq: int, place: Place) -> None:
    result = LLMResult(stream_id=STREAM, last_seq=seq, status="running", model="m", text="")
    assert at(4).place(Snapshot(stream_id=STREAM, seq=seq, result=result, reason="takeover")) is place


def test_each_stream_has_its_own_position() -> None:
    positions = at(4)
    assert positions.place(msgspec.structs.replace(meta(0), stream_id="str_2")) is Place.NEXT
    assert (positions.last(STREAM), positions.last("str_2")) == (4, -1)


def test_the_stream_that_was_silent_for_longest_is_forgotten_first() -> None:
    positions = Positions()
    for n in range(MAX_STREAMS):
        positions.take(f"str_{n}", 0)
    positions.take("str_0", 1)
    positions.take("one more", 0)
    assert (positions.last("str_0"), positions.last("str_1"), positions.last("str_2")) == (1, -1, 0)
