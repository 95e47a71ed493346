"""Bytes to SSE frames, tolerant of what real endpoints send. Pure: feed it what a read gave.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html (read 2026-11-21). Deviations, each because
an endpoint needs it: an `error` field is a frame (llama.cpp before 2026), and a last frame without its blank line
is delivered by `flush` (llama.cpp's `[DONE]`).
"""

from __future__ import annotations

import msgspec

__all__ = ("Frame", "FrameTooLongError", "SSEDecoder")

BOM = b"\xef\xbb\xbf"
MAX_COMMENT_BYTES = 65_536


class FrameTooLongError(ValueError):
    """A frame grew past the bound without an end in sight."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event of an SSE body: its data, and its name where it has one."""

    data: bytes
    event: str = ""


class SSEDecoder:
    """Takes the body as it arrives and gives the frames it completes.

    Line ends may be LF, CRLF or CR, also split over reads. What is held is bounded by `max_frame_bytes`, and a
    comment of any length is passed over without being held.
    """

    def __init__(self, max_frame_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._compact_at = MAX_COMMENT_BYTES
        self._begun = False
        self._after_cr = False
        self._in_comment = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete, in order.

        Raises:
            FrameTooLongError: More than `max_frame_bytes` came without completing a frame.
        """
        if not self._begun:
            data = self._begin(data)
        if data and (self._after_cr or b"\r" in data):
            data = self._unify_line_ends(data)
        if self._in_comment:
            data = self._skip_comment(data)
        if not data:
            return []
        parts = self._parts
        if b"\n\n" not in data and not (parts and data[0] == 10 and parts[-1][-1] == 10):
            self._hold(data)
            return []
        if parts:
            parts.append(data)
            data = b"".join(parts)
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        self._parts, self._held_bytes, self._compact_at = [], 0, MAX_COMMENT_BYTES
        if rest:
            self._hold(rest)
        frames = []
        for block in blocks:
            # The shape that nearly every frame has; anything else takes the line-by-line way.
            if block[:6] == b"data: " and b"\n" not in block:
                frames.append(Frame(block[6:]))
            elif block and (frame := _parse(block)) is not None:
                frames.append(frame)
        return frames

    def flush(self) -> list[Frame]:
        """The frame that the end of the body completes, if any."""
        block = b"".join(self._parts)
        self._parts, self._held_bytes = [], 0
        frame = _parse(block)
        return [] if frame is None else [frame]

    def _begin(self, data: bytes) -> bytes:
        data = b"".join((*self._parts, data))
        self._parts = []
        if len(data) < len(BOM) and BOM.startswith(data):
            self._parts = [data] if data else []
            return b""
        self._begun = True
        return data.removeprefix(BOM)

    def _unify_line_ends(self, data: bytes) -> bytes:
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
            if not data:
                return data
        self._after_cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _hold(self, data: bytes) -> None:
        self._parts.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= self._compact_at:
            held = self._drop_comments(b"".join(self._parts))
            self._parts, self._held_bytes = ([held] if held else []), len(held)
            # Doubling keeps the joining linear in what a long frame brings.
            self._compact_at = max(MAX_COMMENT_BYTES, 2 * len(held))
        if self._held_bytes > self._max_frame_bytes:
            raise FrameTooLongError(f"a frame of more than {self._max_frame_bytes} bytes")

    def _drop_comments(self, held: bytes) -> bytes:
        lines = held.split(b"\n")
        last = lines.pop()
        kept = b"".join(line + b"\n" for line in lines if line[:1] != b":")
        self._in_comment = last[:1] == b":"
        return kept if self._in_comment else kept + last

    def _skip_comment(self, data: bytes) -> bytes:
        end = data.find(b"\n")
        if end < 0:
            return b""
        self._in_comment = False
        # What is held ends with a line end, so a blank line after the comment still ends the frame before it.
        return data[end + 1 :]


def _parse(block: bytes) -> Frame | None:
    """The frame of a block of lines; None where it has neither data nor an error."""
    data: list[bytes] = []
    event = ""
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
        elif name == b"error":
            data.append(value)
            event = "error"
    if not data:
        return None
    return Frame(b"\n".join(data), event)
