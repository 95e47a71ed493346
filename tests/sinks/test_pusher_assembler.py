"""Large events go in parts that fit, and a reader has every event once and in order, whatever comes how."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from hub.completion import fold
from hub.errors import MalformedEventError, SequenceGapError
from hub.events import LLMEvent, Snapshot, TextDelta, ToolResult, decode_event, encode_event, merge
from hub.result import LLMResult
from sinks.pusher import Assembler
from sinks.pusher.messages import MIN_EVENT_BYTES, messages_of

from ..contracts.samples import STREAM, RandomStream, a_stream, done, meta, text

ALPHABET = ("a", '"', "\\", "\\\\", "\n", "\x00", "é", "ש", "漢", "😀", "\u2028", "{", "\x7f")


def parts_of(event: LLMEvent, max_bytes: int = MIN_EVENT_BYTES, chunk_id: str = "id") -> list[str]:
    messages = messages_of(encode_event(event), event.type, max_bytes=max_bytes, chunk_id=chunk_id)
    assert all(len(message.data) <= max_bytes for message in messages)
    return [message.data.decode() for message in messages]


def read(*data: str, reader: Assembler | None = None) -> list[LLMEvent]:
    reader = reader or Assembler()
    return [event for each in data for event in reader.add(each)]


@pytest.mark.parametrize("seed", range(20))
def test_an_event_of_any_text_and_size_is_the_same_after_its_parts_are_joined(seed: int) -> None:
    chance = random.Random(seed)
    said = "".join(chance.choices(ALPHABET, k=chance.choice((3_000, 5_000, 30_000))))
    event = chance.choice((text(0, said), ToolResult(stream_id=STREAM, seq=0, id="c", name="f", output=said)))
    max_bytes = chance.randrange(MIN_EVENT_BYTES, 3_000)
    data = parts_of(event, max_bytes)
    assert len(data) > 1
    assert read(*data) == [event]


@pytest.mark.parametrize("piece", ["\\", '"', "😀", "\x00", "a\\"])
def test_a_cut_falls_into_no_character_and_no_escape_sequence(piece: str) -> None:
    for shift in range(8):
        event = text(0, "x" * shift + piece * 4_000)
        data = parts_of(event)
        assert read(*data) == [event]
        assert "".join(json.loads(each)["data"] for each in data) == encode_event(event).decode()


def test_an_event_that_just_fits_goes_whole() -> None:
    event = text(0, "x" * 5_000)
    size = len(encode_event(event))
    (message,) = messages_of(encode_event(event), "text_delta", max_bytes=size, chunk_id="id")
    assert (message.name, message.data) == ("text_delta", encode_event(event))
    assert len(messages_of(encode_event(event), "text_delta", max_bytes=size - 1, chunk_id="id")) == 2


def test_parts_say_what_they_are() -> None:
    messages = messages_of(encode_event(text(0, "x" * 2_000)), "text_delta", max_bytes=1_000, chunk_id="5f0c-1")
    assert {message.name for message in messages} == {"chunk"}
    heads = [{key: value for key, value in json.loads(message.data).items() if key != "data"} for message in messages]
    assert heads == [{"type": "chunk", "id": "5f0c-1", "index": index, "count": 3} for index in range(3)]


def test_parts_may_come_twice_and_in_any_order() -> None:
    event = text(0, "x" * 5_000)
    data = parts_of(event)
    random.Random(1).shuffle(data)
    assert read(*data, *data) == [event]


def test_parts_of_several_events_may_mix() -> None:
    first, second = text(0, "a" * 3_000), TextDelta(stream_id="str_2", seq=0, text="b" * 3_000)
    mixed = [each for pair in zip(parts_of(first), parts_of(second, chunk_id="other"), strict=True) for each in pair]
    assert read(*mixed) == [first, second]


@pytest.mark.parametrize("seed", range(10))
def test_events_that_come_twice_and_out_of_order_are_read_once_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    events = RandomStream(seed).events
    data = [encode_event(event).decode() for event in events]
    arrived = sorted([*data, *chance.sample(data, len(data) // 2)], key=lambda each: chance.random())
    got = read(*arrived)
    assert got == events
    assert fold(got) == fold(events)


def test_streams_of_one_channel_do_not_touch_one_another() -> None:
    first, second = a_stream("a", "b"), a_stream("c", "d", stream_id="str_2")
    mixed = [encode_event(event).decode() for pair in zip(first, second, strict=True) for event in pair]
    got = read(*mixed)
    assert [event for event in got if event.stream_id == STREAM] == first
    assert [event for event in got if event.stream_id == "str_2"] == second


def test_a_late_reader_is_told_what_is_missing_and_goes_on_from_a_snapshot() -> None:
    events = a_stream("a", "b", "c", "d")
    reader = Assembler()
    assert reader.missing(STREAM) is None
    assert read(*(encode_event(event).decode() for event in events[3:5]), reader=reader) == []
    assert reader.missing(STREAM) == (0, 2)
    result = fold(events[:3])
    snapshot = Snapshot(stream_id=STREAM, seq=2, result=result, reason="requested")
    assert reader.add_event(snapshot) == [snapshot, *events[3:5]]
    assert reader.missing(STREAM) is None


def test_a_snapshot_that_is_older_than_what_was_read_is_passed_over() -> None:
    reader = Assembler()
    events = a_stream("a", "b")
    read(*(encode_event(event).decode() for event in events[:3]), reader=reader)
    result = LLMResult(stream_id=STREAM, last_seq=1, status="running")
    assert reader.add_event(Snapshot(stream_id=STREAM, seq=1, result=result, reason="requested")) == []


def test_an_event_that_merges_known_with_unknown_waits_for_a_snapshot_of_all_of_it() -> None:
    reader = Assembler()
    read(*(encode_event(event).decode() for event in (meta(0), text(1, "a"), text(2, "b"))), reader=reader)
    assert reader.add_event(text(4, "bcd", span=3)) == []
    assert reader.missing(STREAM) == (3, 4)
    result = LLMResult(stream_id=STREAM, last_seq=4, status="running", text="abcd")
    snapshot = Snapshot(stream_id=STREAM, seq=4, result=result, reason="requested")
    assert reader.add_event(done(5)) == []
    assert reader.add_event(snapshot) == [snapshot, done(5)]


def test_single_events_up_to_its_end_stand_for_one_that_merges_known_with_unknown() -> None:
    events = a_stream("a", "b", "c", "d", "e")
    reader = Assembler()
    snapshot = Snapshot(stream_id=STREAM, seq=2, result=fold(events[:3]), reason="requested")
    reader.add_event(snapshot)
    assert reader.add_event(merge(events[1:5])) == []
    assert reader.add_event(events[5]) == []
    assert reader.missing(STREAM) == (3, 4)
    assert [read for event in events[3:5] for read in reader.add_event(event)] == events[3:6]
    assert reader.missing(STREAM) is None
    assert [read for event in events[6:] for read in reader.add_event(event)] == events[6:]


def test_a_reader_knows_how_far_it_is_in_each_stream() -> None:
    reader = Assembler()
    assert (reader.position(STREAM), reader.is_done(STREAM)) == (-1, False)
    events = a_stream("a", "b")
    for event in events[:-1]:
        reader.add_event(event)
        assert (reader.position(STREAM), reader.is_done(STREAM)) == (event.seq, False)
    reader.add_event(TextDelta(stream_id="str_2", seq=9, text="a"))
    assert reader.position("str_2") == -1
    reader.add_event(events[-1])
    assert (reader.position(STREAM), reader.is_done(STREAM)) == (events[-1].seq, True)


@pytest.mark.parametrize("done_comes_first", [True, False])
def test_a_snapshot_of_the_whole_does_not_stand_for_the_end(done_comes_first: bool) -> None:
    events = a_stream("a", "b")
    reader = Assembler()
    snapshot = Snapshot(stream_id=STREAM, seq=events[-1].seq, result=fold(events), reason="requested")
    arriving = [events[-1], snapshot] if done_comes_first else [snapshot, events[-1]]
    assert [event for each in arriving for event in reader.add_event(each)] == [snapshot, events[-1]]
    assert reader.add_event(events[-1]) == []
    assert reader.missing(STREAM) is None


def test_a_repeat_after_the_end_is_known() -> None:
    reader = Assembler(max_streams=2)
    events = a_stream("a")
    data = [encode_event(event).decode() for event in events]
    assert read(*data, *data, reader=reader) == events


def test_ended_streams_are_forgotten_before_running_ones() -> None:
    reader = Assembler(max_streams=2)
    reader.add_event(meta(0))
    for number in range(5):
        for event in a_stream("a", stream_id=f"other_{number}"):
            reader.add_event(event)
    assert reader.add_event(text(1)) == [text(1)]


def test_a_reader_does_not_wait_with_more_than_it_may() -> None:
    reader = Assembler(max_waiting=3)
    for seq in (2, 3, 4):
        assert reader.add_event(text(seq)) == []
    with pytest.raises(SequenceGapError) as caught:
        reader.add_event(text(5))
    assert (caught.value.expected, caught.value.got) == (0, 2)


def part_of(id_: str, index: int, count: int, data: str = "") -> bytes:
    return msgspec.json.encode({"type": "chunk", "id": id_, "index": index, "count": count, "data": data})


def test_parts_that_were_never_completed_make_room() -> None:
    reader = Assembler(max_waiting=10)
    for number in range(30):
        reader.add(parts_of(text(0, "x" * 3_000), chunk_id=f"lost-{number}")[0])
    assert read(*parts_of(text(0, "y" * 9_000)), reader=reader) == [text(0, "y" * 9_000)]
    assert len(reader._parts) <= 10


def test_a_sender_does_not_choose_how_much_waits() -> None:
    reader = Assembler(max_waiting=10, max_part_bytes=10_000)
    for number in range(30):
        reader.add(part_of(f"lost-{number % 3}", number // 3, 100_000))
    assert len(reader._parts) <= 10
    for number in range(3):
        reader.add(part_of("lost", number, 100_000, "x" * 3_000))
    with pytest.raises(MalformedEventError, match="more than 10,000 bytes"):
        reader.add(part_of("lost", 3, 100_000, "x" * 3_000))
    assert len(reader._parts) == 0
    assert read(*parts_of(text(0, "y" * 9_000)), reader=reader) == [text(0, "y" * 9_000)]


def test_an_event_may_have_more_parts_than_events_may_wait() -> None:
    assert read(*parts_of(text(0, "y" * 9_000)), reader=Assembler(max_waiting=1)) == [text(0, "y" * 9_000)]


def test_a_part_that_disagrees_with_its_event_is_malformed_and_the_event_is_read() -> None:
    reader = Assembler()
    parts = parts_of(text(0, "y" * 3_000), chunk_id="a")
    reader.add(parts[0])
    for index, count in ((0, 2), (5, 10), (len(parts), len(parts))):
        with pytest.raises(MalformedEventError, match=f"Part {index} of {count}"):
            reader.add(part_of("a", index, count))
    assert read(*parts[1:], reader=reader) == [text(0, "y" * 3_000)]


def test_a_part_that_comes_again_weighs_once() -> None:
    reader = Assembler(max_part_bytes=10_000)
    for _ in range(100):
        assert reader.add(part_of("a", 0, 2, "x" * 3_000)) == []
    assert len(reader._parts) == 1


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "plain",
        b"\xff",
        '{"type":"chunk"}',
        '{"type":"chunk","id":"a","index":2,"count":2,"data":""}',
        '{"type":"chunk","id":"a","index":0,"count":1,"data":"no event"}',
        '{"type":"chunk","id":"a","index":-1,"count":1,"data":""}',
        '{"type":"unknown","seq":1}',
    ],
)
def test_what_is_no_message_of_ours_is_malformed(data: Any) -> None:
    with pytest.raises(MalformedEventError):
        Assembler().add(data)


def test_a_whole_event_is_the_plain_json_of_events() -> None:
    (message,) = messages_of(encode_event(text(3, "hé")), "text_delta", max_bytes=1_000, chunk_id="id")
    assert decode_event(message.data) == text(3, "hé")
