"""Events as Server-Sent Events, read back as the standard says."""

from __future__ import annotations

import pytest

from hub.errors import MalformedEventError
from hub.events import LLMEvent, decode_event
from hub.formats import sse

from ...contracts.samples import RandomStream, one_of_each_type, text

EACH = one_of_each_type()


def read_as_the_standard_says(body: bytes) -> list[tuple[str, str, str]]:
    """Type, data and last event id of each event, by the standard's own steps: lines may end in CR, LF or both."""
    events: list[tuple[str, str, str]] = []
    kind, data, last_id = "", "", ""
    for line in body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((kind or "message", data.removesuffix("\n"), last_id))
            kind, data = "", ""
        elif field == "event":
            kind = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\x00" not in value:
            last_id = value
    return events


@pytest.mark.parametrize("event", EACH, ids=lambda event: event.type)
def test_a_frame_has_the_seq_as_id_the_type_as_event_and_the_json_as_data(event: LLMEvent) -> None:
    ((kind, data, last_id),) = read_as_the_standard_says(sse.frame(event))
    assert last_id == str(event.seq)
    assert decode_event(data) == event
    # A browser would take an event named `error` for a lost connection.
    assert kind == ("message" if event.type == "error" else event.type)


@pytest.mark.parametrize("seed", range(10))
def test_frames_side_by_side_are_read_one_by_one(seed: int) -> None:
    events = RandomStream(seed, snapshots=True).events
    read = read_as_the_standard_says(sse.frames(events))
    assert [decode_event(data) for _, data, _ in read] == events
    assert b"".join(sse.frame(event) for event in events) == sse.frames(events)


@pytest.mark.parametrize("said", ["a\nb", "a\r\nb\r", "\n\nid: 9\ndata: x\n\n", "\x00", "\ufeff", "\u2028", "😀", ""])
def test_no_text_breaks_out_of_its_frame(said: str) -> None:
    frame = sse.frame(text(3, said))
    assert frame.count(b"\n") == 4
    assert b"\r" not in frame
    ((_, data, last_id),) = read_as_the_standard_says(frame)
    assert (decode_event(data), last_id) == (text(3, said), "3")


@pytest.mark.parametrize("seq", [0, 9, 2**53])
def test_an_id_is_short_ascii_that_any_server_takes_back(seq: int) -> None:
    ((_, _, last_id),) = read_as_the_standard_says(sse.frame(text(seq)))
    assert last_id.isascii()
    assert last_id.isdigit()
    assert len(last_id) <= 128


def test_half_a_character_has_no_frame() -> None:
    with pytest.raises(MalformedEventError):
        sse.frame(text(0, "\ud83d"))


def test_a_heartbeat_is_no_event_and_a_retry_is_in_milliseconds() -> None:
    assert read_as_the_standard_says(sse.HEARTBEAT + sse.retry_frame(1.5)) == []
    assert sse.HEARTBEAT.startswith(b":")
    assert sse.retry_frame(1.5) == b"retry: 1500\n\n"
    assert read_as_the_standard_says(sse.HEARTBEAT + sse.frame(text(1)) + sse.HEARTBEAT)[0][2] == "1"


def test_the_headers_keep_caches_and_proxies_from_holding_frames() -> None:
    assert sse.MEDIA_TYPE == "text/event-stream"
    assert "no-transform" in sse.HEADERS["Cache-Control"]
    assert sse.HEADERS["X-Accel-Buffering"] == "no"
