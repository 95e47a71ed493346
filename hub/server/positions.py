"""Positions in several streams as one `id`: joined by `.` in the order of the streams, `~` before the first event."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ("MAX_ID_BYTES", "MAX_STREAMS", "could_outgrow", "format_position", "parse_position", "parse_positions")

MAX_ID_BYTES = 128
"""What a joined id may weigh: it stands in every frame."""

POSITION_DIGITS = 8
"""The room each position is given: a stream's 64 MB of frames have fewer than a hundred million positions."""

MAX_STREAMS = (MAX_ID_BYTES + 1) // (POSITION_DIGITS + 1)
"""Streams whose joined positions are sure to fit."""

MAX_DIGITS = 18


def could_outgrow(last_seqs: Sequence[int]) -> bool:
    """Whether the joined positions of streams that are so far now could grow beyond `MAX_ID_BYTES`."""
    digits = sum(max(POSITION_DIGITS, len(str(seq))) for seq in last_seqs)
    return digits + len(last_seqs) - 1 > MAX_ID_BYTES


def format_position(position: int) -> bytes:
    """One position of an id: `~` for -1, which is before the first event."""
    return b"%d" % position if position >= 0 else b"~"


def parse_position(text: str) -> int | None:
    """A position as a reader says it: a number from 0, or -1; None where it is neither."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(text) > MAX_DIGITS or int(text) < -1:
        return None
    return int(text)


def parse_positions(text: str) -> list[int] | None:
    """The positions of a joined id, in its order; None where it is none. `-1` is read as `~` is."""
    positions = [-1 if part == "~" else parse_position(part) for part in text.split(".")]
    known = [position for position in positions if position is not None]
    return known if len(known) == len(positions) else None
