"""What goes into one webhook."""

from __future__ import annotations

import pytest

from hub.completion import fold
from hub.events import LLMEvent, ToolCallDelta, encode_event
from sinks.outbox import Waiting
from sinks.webhook.payload import Batch, events_of, fitting, freeze

from ..contracts.samples import RandomStream, a_stream, meta, positions, text, unmergeable, words


def waiting(events: list[LLMEvent]) -> list[Waiting]:
    return [Waiting(event, encode_event(event)) for event in events]


def batches(events: list[LLMEvent], *, max_bytes: int = 20_000, max_events: int = 500) -> list[Batch]:
    found = []
    while events:
        count = fitting(waiting(events), max_bytes=max_bytes, max_events=max_events)
        found.append(freeze(events[:count], 0.0))
        events = events[count:]
    return found


def test_neighbouring_deltas_are_one_event() -> None:
    (batch,) = batches([meta(0), *words(200)])
    events = events_of(batch.body)
    assert [event.type for event in events] == ["meta", "text_delta"]
    assert events[1].span == 200


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("max_bytes", [600, 1500])
def test_a_batch_is_as_large_as_told_at_most_and_nothing_is_lost(seed: int, max_bytes: int) -> None:
    events = RandomStream(seed).events
    bodies = [batch.body for batch in batches(events, max_bytes=max_bytes)]
    received = [event for body in bodies for event in events_of(body)]
    assert positions(received) == positions(events)
    assert fold(received) == fold(events)
    assert all(len(body) <= max_bytes or len(events_of(body)) == 1 for body in bodies)


def test_the_bound_is_nearly_used() -> None:
    sizes = [len(batch.body) for batch in batches(words(4000), max_bytes=2000)]
    assert max(sizes) <= 2000
    assert min(sizes[:-1]) > 1000


def test_an_escaped_text_is_measured_as_it_is_sent() -> None:
    events: list[LLMEvent] = [text(seq, '\x00\n"😀') for seq in range(1, 400)]
    assert all(len(batch.body) <= 1000 for batch in batches(events, max_bytes=1000))


def test_log_probabilities_are_measured_too() -> None:
    events: list[LLMEvent] = [text(seq, "a", logprobs=[{"token": "a" * 50, "logprob": -1}]) for seq in range(1, 100)]
    assert all(len(batch.body) <= 1000 for batch in batches(events, max_bytes=1000))


def test_arguments_of_a_tool_are_merged_and_measured() -> None:
    events: list[LLMEvent] = [
        ToolCallDelta(stream_id="str_1", seq=seq, index=0, arguments='{"a') for seq in range(1, 300)
    ]
    bodies = [batch.body for batch in batches(events, max_bytes=1000)]
    assert 1 < len(bodies) < 5
    assert all(len(body) <= 1000 and len(events_of(body)) == 1 for body in bodies)


def test_an_event_larger_than_a_batch_has_one_for_itself() -> None:
    sizes = [len(events_of(batch.body)) for batch in batches([meta(0), text(1, "x" * 9000), text(2)], max_bytes=500)]
    assert sizes == [1, 1, 1]


def test_a_batch_has_as_many_events_as_told_at_most() -> None:
    assert [len(events_of(batch.body)) for batch in batches(unmergeable(10), max_events=4)] == [4, 4, 2]


def test_a_batch_is_of_one_stream() -> None:
    events = a_stream("a") + a_stream("b", stream_id="str_2")
    assert [events_of(batch.body) for batch in batches(events)] == [a_stream("a"), a_stream("b", stream_id="str_2")]


def test_each_batch_has_an_id_of_its_own() -> None:
    ids = {batch.id for batch in batches(unmergeable(50), max_events=1)}
    assert len(ids) == 50
    assert all(each.startswith("msg_") for each in ids)
