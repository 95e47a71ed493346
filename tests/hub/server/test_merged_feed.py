"""Several logs as one feed: ids that name every position, bounded pieces, turns for all."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from hub.errors import PositionError
from hub.events import Done, LLMEvent, Meta, Snapshot, TextDelta, decode_event
from hub.server.feed import MAX_WRITE_BYTES, Cursor
from hub.server.merged_feed import MergedFeed
from hub.server.positions import parse_positions
from hub.streams.log import StreamLog
from hub.upstream.wire.sse import SSEDecoder


def make_log(stream_id: str, texts: list[str], *, closed: bool = True) -> StreamLog:
    log = StreamLog(stream_id, created_at=0.0)
    events: list[LLMEvent] = [Meta(stream_id=stream_id, seq=0, model="m")]
    events += [TextDelta(stream_id=stream_id, seq=seq, text=text) for seq, text in enumerate(texts, 1)]
    if closed:
        events.append(Done(stream_id=stream_id, seq=len(events), status="completed", finish_reason="stop"))
    log.append(events)
    return log


def pieces(feed: MergedFeed, cursor: Cursor) -> Iterator[bytes]:
    while cursor != feed.head():
        piece, cursor = feed.next_piece(cursor)
        yield piece


def events_in(piece: bytes) -> list[LLMEvent]:
    return [decode_event(frame.data) for frame in SSEDecoder().feed(piece)]


def ids_in(piece: bytes) -> list[str]:
    return [line[4:].decode() for line in piece.split(b"\n") if line.startswith(b"id: ")]


def test_each_id_says_where_the_reader_then_stands_in_all_streams() -> None:
    feed = MergedFeed((make_log("a", ["x"]), make_log("b", []), make_log("c", ["y", "z"])))
    seen = {log.stream_id: -1 for log in feed.logs}
    for piece in pieces(feed, feed.begin([-1, -1, -1])):
        for event, joined in zip(events_in(piece), ids_in(piece), strict=True):
            seen[event.stream_id] = event.seq
            assert parse_positions(joined) == list(seen.values())
    assert seen == {"a": 2, "b": 1, "c": 3}


def test_a_block_has_one_id_line_and_is_else_what_the_log_has() -> None:
    log = make_log("a", ["x\ny"])
    feed = MergedFeed((log, make_log("b", [])))
    piece, _ = feed.next_piece(feed.begin([1, 1]))
    assert piece == b"id: 2.1\n" + log.frames[2].partition(b"\n")[2]


def test_an_id_resumes_behind_every_event_it_counts() -> None:
    feed = MergedFeed((make_log("a", ["x"] * 5), make_log("b", ["y"] * 3), make_log("c", [])))
    (whole,) = pieces(feed, feed.begin([-1, -1, -1]))
    events, ids = events_in(whole), ids_in(whole)
    for read, joined in enumerate(ids, 1):
        positions = parse_positions(joined)
        assert positions is not None
        rest = [event for piece in pieces(feed, feed.begin(positions)) for event in events_in(piece)]
        for log in feed.logs:
            whole_log = [event for event in events[:read] + rest if event.stream_id == log.stream_id]
            assert whole_log == log.events


def test_pieces_are_bounded_and_every_waiting_stream_gets_its_turn() -> None:
    dice = random.Random(11)
    for _ in range(20):
        count = dice.randint(2, 8)
        feed = MergedFeed(
            tuple(
                make_log(
                    str(n), ["x" * dice.choice([1, 100, 20_000, 40_000, 90_000]) for _ in range(dice.randint(1, 60))]
                )
                for n in range(count)
            )
        )
        cursor = feed.begin([-1] * count)
        waited = dict.fromkeys(range(count), 0)
        seen: list[LLMEvent] = []
        while cursor != feed.head():
            before = cursor
            piece, cursor = feed.next_piece(cursor)
            events = events_in(piece)
            assert len(piece) <= MAX_WRITE_BYTES or len(events) == 1
            seen += events
            for number in range(count):
                is_waiting = before[1 + number] < len(feed.logs[number].frames)
                waited[number] = waited[number] + 1 if is_waiting and before[1 + number] == cursor[1 + number] else 0
                assert waited[number] < count
        for log in feed.logs:
            assert [event for event in seen if event.stream_id == log.stream_id] == log.events


def test_a_burst_leaves_room_for_what_the_others_say() -> None:
    feed = MergedFeed((make_log("burst", ["x" * 500] * 5_000), make_log("quiet", ["hello"])))
    first = next(pieces(feed, feed.begin([-1, -1])))
    assert [event.type for event in events_in(first) if event.stream_id == "quiet"] == ["meta", "text_delta", "done"]


def test_streams_that_all_burst_have_equal_shares_of_a_piece() -> None:
    feed = MergedFeed(tuple(make_log(str(number), ["x" * 500] * 200) for number in range(4)))
    first = next(pieces(feed, feed.begin([-1] * 4)))
    counts = [sum(event.stream_id == log.stream_id for event in events_in(first)) for log in feed.logs]
    assert min(counts) > 20
    assert max(counts) - min(counts) <= 1


def test_snapshots_stand_for_what_each_reader_lacks_and_come_first() -> None:
    feed = MergedFeed((make_log("a", ["x", "y"]), make_log("b", [], closed=False), make_log("c", ["z"])))
    whole = b"".join(pieces(feed, feed.begin([0, -1, 1], snapshot=True)))
    events = events_in(whole)
    first, second, *rest = events
    assert isinstance(first, Snapshot)
    assert (first.stream_id, first.result.text, first.span, first.reason) == ("a", "xy", 2, "requested")
    assert isinstance(second, Snapshot)
    assert (second.stream_id, second.seq, second.span) == ("b", 0, 1)
    assert [(event.stream_id, event.type) for event in rest] == [("a", "done"), ("c", "done")]
    assert ids_in(whole) == ["2.~.1", "2.0.1", "3.0.1", "3.0.2"]


def test_a_stream_without_events_has_no_snapshot_to_give() -> None:
    feed = MergedFeed((StreamLog("a", created_at=0.0), make_log("b", [])))
    assert [event.type for event in events_in(b"".join(pieces(feed, feed.begin([-1, 1], snapshot=True))))] == []


def test_a_position_inside_a_merged_event_gets_a_declared_gap() -> None:
    log = make_log("a", [], closed=False)
    log.append([TextDelta(stream_id="a", seq=4, span=4, text="abcd")])
    feed = MergedFeed((log, make_log("b", [])))
    (event,) = events_in(b"".join(pieces(feed, feed.begin([2, 1]))))
    assert isinstance(event, Snapshot)
    assert (event.reason, event.seq, event.span) == ("gap", 4, 2)


def test_a_position_beyond_the_end_is_refused() -> None:
    feed = MergedFeed((make_log("a", []), make_log("b", [])))
    with pytest.raises(PositionError):
        feed.begin([0, 2])


def test_it_is_closed_when_the_last_of_its_logs_is() -> None:
    late = make_log("b", [], closed=False)
    feed = MergedFeed((make_log("a", []), late))
    assert not feed.is_closed
    late.append([Done(stream_id="b", seq=1, status="completed", finish_reason="stop")])
    assert feed.is_closed


def test_feeds_over_the_same_logs_in_the_same_order_are_equal() -> None:
    a, b = make_log("a", []), make_log("b", [])
    assert MergedFeed((a, b)) == MergedFeed((a, b))
    assert hash(MergedFeed((a, b))) == hash(MergedFeed((a, b)))
    assert MergedFeed((a, b)) != MergedFeed((b, a))


def test_growth_of_any_log_wakes_until_nobody_watches() -> None:
    a, b = make_log("a", [], closed=False), make_log("b", [], closed=False)
    woken: list[None] = []
    unwatch = MergedFeed((a, b)).watch(lambda: woken.append(None))
    for log in (a, b):
        log.append([TextDelta(stream_id=log.stream_id, seq=1, text="x")])
    assert len(woken) == 2
    unwatch()
    a.append([TextDelta(stream_id="a", seq=2, text="y")])
    assert len(woken) == 2
