"""Copies of logs that others write, and batches for them: what can be told without a server."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("redis")

from hub.completion import Completion, fold
from hub.errors import MalformedEventError, SequenceGapError
from hub.events import ApprovalRequest, LLMEvent, Meta, Snapshot, ToolResult, decode_event, merge
from hub.streams.log import StreamLog
from hub.streams.redis.batch import Batch, batches_from, next_batch, status_after
from hub.streams.redis.copies import is_other
from hub.streams.redis.copy import close, decode_lines, extend, fill, resync
from hub.streams.redis.scripts import Keys, stream_of
from tests.contracts.samples import RandomStream, a_stream, done, meta, positions, text


def a_log(*events: LLMEvent) -> StreamLog:
    log = StreamLog("str_1", created_at=0.0)
    log.append(events)
    return log


# Copies


def test_a_copy_takes_what_it_lacks_and_passes_over_what_it_has() -> None:
    events = a_stream(*"abc")
    log = a_log(*events[:2])
    assert extend(log, events[:1])
    assert extend(log, events[1:4])
    assert log.events == events[:4]
    assert extend(log, events)
    assert log.events == events


def test_a_hole_is_seen_and_nothing_is_added() -> None:
    events = a_stream(*"abc")
    log = a_log(*events[:2])
    assert not extend(log, events[3:])
    assert log.events == events[:2]


def test_a_take_over_behind_the_copy_s_last_event_is_fitted_to_it() -> None:
    events = a_stream(*"abc")
    log = a_log(*events[:4])
    first = Snapshot(stream_id="str_1", seq=70_000, span=69_999, result=fold(events[:2]), reason="takeover")
    assert extend(log, [first, text(70_001)])
    fitted = log.events[4]
    assert isinstance(fitted, Snapshot)
    assert (fitted.seq, fitted.seq - fitted.span, fitted.result) == (70_000, 3, first.result)
    assert log.events[5] == text(70_001)


def test_a_merged_event_that_can_t_be_cut_is_refused() -> None:
    events = a_stream(*"abc")
    log = a_log(*events[:3])
    with pytest.raises(SequenceGapError):
        extend(log, [merge(events[1:4])])
    assert log.events == events[:3]


def test_what_is_gone_is_declared_with_what_is_known() -> None:
    log = a_log(meta(0), text(1, "Hello"))
    fill(log, 9)
    fill(log, 9)
    gap = log.events[-1]
    assert isinstance(gap, Snapshot)
    assert (gap.reason, gap.seq, gap.span, gap.result.text, gap.result.last_seq) == ("gap", 9, 8, "Hello", 9)
    assert positions(log.events) == list(range(10))


def test_a_copy_without_its_end_ends_as_the_stream_did() -> None:
    log = a_log(meta(0))
    close(log, "failed", 5)
    close(log, "failed", 5)
    assert positions(log.events) == list(range(5))
    assert (log.is_closed, log.status) == (True, "failed")


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_copy_goes_on_from_another_telling_by_one_snapshot(is_whole: bool) -> None:
    events = a_stream(*"abcdef")
    fresh = a_log(events[0], merge(events[1:6]), *events[6:] if is_whole else [])
    log = a_log(*events[:3])
    resync(log, fresh)
    resync(log, fresh)
    assert positions(log.events) == list(range(fresh.last_seq + 1))
    assert log.result().text == fresh.result().text
    assert log.is_closed == fresh.is_closed


# Batches


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_is_what_the_log_would_add(seed: int) -> None:
    rand = random.Random(seed)
    events = RandomStream(seed, snapshots=True).events
    log, other = a_log(), a_log()
    while not log.is_closed:
        begin = max(0, log.last_seq + 1 - rand.randrange(3))
        given = events[begin : begin + rand.randrange(1, 9)]
        batch = next_batch(log, given)
        other.append(given)
        if batch is None:
            assert other.events == log.events
            continue
        log.append(batch.events)
        assert log.events == other.events
        check(batch, log)
    assert next_batch(log, events) is None


def check(batch: Batch, log: StreamLog) -> None:
    assert decode_lines(batch.body) == batch.events == [decode_event(line) for line in batch.body.split(b"\n")]
    assert (batch.status, batch.last_seq, batch.is_last) == (log.status, log.last_seq, log.is_closed)
    if batch.seqs:
        assert batch.seqs == b" ".join(b"%d" % event.seq for event in batch.events)
    else:
        assert [event.seq for event in batch.events] == list(range(batch.first_seq, batch.last_seq + 1))


def test_holes_and_what_has_no_json_make_no_batch() -> None:
    log = a_log(meta(0))
    for events in ([text(2)], [text(1), text(3)], [text(3, span=2)]):
        with pytest.raises(SequenceGapError):
            next_batch(log, events)
    with pytest.raises(MalformedEventError):
        next_batch(log, [text(1, "\ud83d")])


def test_positions_are_sent_where_an_event_stands_for_several() -> None:
    batch = next_batch(a_log(meta(0)), [text(3, span=3), text(4), done(5)])
    assert batch is not None
    assert (batch.first_seq, batch.last_seq, batch.seqs, batch.is_last) == (1, 5, b"3 4 5", True)


def test_a_log_is_written_anew_in_pieces_that_make_up_the_whole() -> None:
    events = a_stream(*(f"{n}" * 100 for n in range(2_000)))
    log = a_log(*events)
    batches = list(batches_from(log, 3))
    assert [event for batch in batches for event in batch.events] == events[3:]
    assert len(batches) >= 4
    assert [batch.is_last for batch in batches] == [False] * (len(batches) - 1) + [True]
    assert batches[-1].status == "completed"


def an_agent_s_stream(seed: int) -> list[LLMEvent]:
    """Steps, calls that wait for a person, and their results, at random."""
    rand = random.Random(seed)
    events: list[LLMEvent] = []
    asked: list[str] = []
    for seq in range(40):
        at = {"stream_id": "str_1", "seq": seq}
        kind = rand.randrange(5)
        if seq == 0 or kind == 0:
            events.append(Meta(**at, step=seq))  # type: ignore[arg-type]
            asked = []
        elif kind == 1:
            asked.append(f"call_{seq}")
            events.append(ApprovalRequest(**at, id=asked[-1], name="f", arguments="{}"))  # type: ignore[arg-type]
        elif kind == 2 and asked:
            call = asked.pop(rand.randrange(len(asked)))
            events.append(ToolResult(**at, id=call, name="f", output=""))  # type: ignore[arg-type]
        else:
            events.append(text(seq))
    return events


@pytest.mark.parametrize("seed", range(50))
def test_the_status_is_known_before_the_events_are_in_the_log(seed: int) -> None:
    events = an_agent_s_stream(seed)
    rand = random.Random(seed)
    log, completion = a_log(), Completion("str_1")
    index = 0
    while index < len(events):
        batch = events[index : index + rand.randrange(1, 8)]
        for event in batch:
            completion.add(event)
        assert status_after(log, batch) == completion.status
        log.append(batch)
        index += len(batch)


# Names


@pytest.mark.parametrize("stream_id", ["str_1", "a:b", "}{", "é"])
def test_a_channel_names_its_stream(stream_id: str) -> None:
    keys = Keys(stream_id)
    assert stream_of(keys.batches) == (stream_id, "batches")
    assert stream_of(keys.control) == (stream_id, "control")


def test_a_copy_without_a_word_is_of_whichever_stream_is_there() -> None:
    stream = StreamLog("str_1", created_at=1.0)
    assert not is_other(stream, 2.0)
    assert stream.created_at == 2.0
    stream.append([meta(0)])
    assert is_other(stream, 3.0)
    assert stream.created_at == 2.0
