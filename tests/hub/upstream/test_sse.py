"""Framing: what an event stream's bytes may look like, and what is held of them."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from hub.upstream.wire.sse import Frame, FrameTooLongError, SSEDecoder

from .support import slicings


def frames_of(body: bytes) -> list[Frame]:
    """The frames of a body, the same in whatever slices it arrives, empty ones among them."""
    decoded = []
    for slices in slicings(body, count=8):
        decoder = SSEDecoder()
        frames = [frame for piece in slices for frame in decoder.feed(piece)]
        decoded.append(frames + decoder.flush())
    assert all(frames == decoded[0] for frames in decoded)
    return decoded[0]


def data_of(body: bytes) -> list[bytes]:
    return [frame.data for frame in frames_of(body)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_each_kind_of_line_end_ends_lines_and_frames(end: bytes) -> None:
    lines = [b"data: one", b"", b": comment", b"data: two", b"data: more", b"", b"", b"data: three", b"", b""]
    assert data_of(end.join(lines)) == [b"one", b"two\nmore", b"three"]


def test_line_ends_of_every_kind_may_be_mixed() -> None:
    assert data_of(b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r\ndata: e\n\n") == [b"a\nb\nc", b"d", b"e"]


def test_an_empty_read_between_cr_and_lf_ends_no_line() -> None:
    decoder = SSEDecoder()
    pieces = (b"data: a\r", b"", b"\ndata: b\r\n\r\n")
    assert [frame.data for piece in pieces for frame in decoder.feed(piece)] == [b"a\nb"]


def test_a_space_after_the_colon_is_left_out_once_and_may_be_missing() -> None:
    assert data_of(b'data:{"a":1}\n\ndata: {"a":2}\n\ndata:  x\n\n') == [b'{"a":1}', b'{"a":2}', b" x"]


def test_lines_of_data_are_joined_by_a_line_end() -> None:
    assert data_of(b'data: {"a":\ndata: 1}\n\n') == [b'{"a":\n1}']


def test_a_byte_order_mark_is_skipped() -> None:
    assert data_of(b"\xef\xbb\xbfdata: first\n\ndata: \xef\xbb\xbfkept\n\n") == [b"first", b"\xef\xbb\xbfkept"]


def test_a_last_frame_without_its_blank_line_is_delivered_by_the_flush() -> None:
    assert data_of(b"data: a\n\ndata: [DONE]") == [b"a", b"[DONE]"]


def test_a_field_called_error_is_a_frame_of_that_name() -> None:
    assert frames_of(b'error: {"code":500}\n\n') == [Frame(b'{"code":500}', "error")]


def test_the_name_of_an_event_comes_with_its_data() -> None:
    assert frames_of(b"event: error\ndata: {}\n\nevent: ping\n\nevent: a\ndata: b\n\n") == [
        Frame(b"{}", "error"),
        Frame(b"b", "a"),
    ]


def test_comments_ids_retries_and_unknown_fields_make_no_frame() -> None:
    assert data_of(b": x\n\nid: 1\n\nretry: 5\n\nfoo: bar\n\n:\n\ndata\n\n") == [b""]


def test_a_blank_line_between_comments_and_data_changes_nothing() -> None:
    assert data_of(b": a\n\n\n\n: b\ndata: x\n: c\ndata: y\n\n") == [b"x\ny"]


def test_a_comment_a_megabyte_long_is_passed_over_and_not_held() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: a\n: ")
    tracemalloc.start()
    for _ in range(1_000):
        assert decoder.feed(b"." * 1_024) == []
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 200_000
    assert [frame.data for frame in decoder.feed(b"\ndata: b\n\n")] == [b"a\nb"]


def test_a_long_comment_between_two_frames_joins_neither() -> None:
    body = b"data: a\n\n: " + b"." * 200_000 + b"\n\ndata: b\n\n"
    for size in (1_000, 65_536, len(body)):
        decoder = SSEDecoder()
        frames = [frame for at in range(0, len(body), size) for frame in decoder.feed(body[at : at + size])]
        assert [frame.data for frame in frames] == [b"a", b"b"]


def test_a_comment_after_a_long_frame_is_dropped_as_early_as_any() -> None:
    decoder = SSEDecoder(max_frame_bytes=1_000_000)
    for piece in (b"data: ", *[b"x" * 1_000] * 900, b"\n\n"):
        decoder.feed(piece)
    for _ in range(3_000):
        assert decoder.feed(b": " + b"." * 1_000) == []


def test_endless_comment_lines_are_not_held() -> None:
    decoder = SSEDecoder(max_frame_bytes=100_000)
    for _ in range(2_000):
        assert decoder.feed(b": keep-alive, for ever and ever, without any blank line\n") == []


@pytest.mark.parametrize("line", [b"x" * 1_000, b"data: x\n" * 125], ids=["one endless line", "endless lines"])
def test_a_frame_without_end_is_given_up_at_the_bound(line: bytes) -> None:
    decoder = SSEDecoder(max_frame_bytes=100_000)
    for _ in range(100):
        decoder.feed(line)
    with pytest.raises(FrameTooLongError):
        decoder.feed(line)


def test_a_long_frame_in_small_pieces_takes_time_in_proportion() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: ")
    for _ in range(200_000):  # four megabytes in pieces of twenty bytes: joined at each, it would take minutes
        decoder.feed(b"x" * 20)
    assert len(decoder.feed(b"\n\n")[0].data) == 4_000_000


def test_random_streams_decode_the_same_in_any_slices() -> None:
    rand = random.Random(7)
    pieces = [
        b"data: a",
        b"data:b",
        b"event: e",
        b": c",
        b"\n",
        b"\n\n",
        b"\r\n",
        b"\r",
        b"\r\n\r\n",
        b"error: x",
        b"\xff",
    ]
    for _ in range(300):
        frames_of(b"".join(rand.choices(pieces, k=rand.randrange(1, 25))))
