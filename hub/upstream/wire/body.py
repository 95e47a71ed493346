"""The body of an answer, whatever it turns out to be: an event stream, one JSON value, a page. Pure."""

from __future__ import annotations

from hub.upstream import failures
from hub.upstream.wire.sse import Frame, FrameTooLongError, SSEDecoder

__all__ = ("BodyDecoder",)

MAX_WHOLE_BODY_BYTES = 64 * 1024 * 1024

_BLANKS = b"\xef\xbb\xbf \t\r\n"
"""A byte order mark counts as blank; blank lines come first where a server queues (DeepSeek)."""

_NOT_A_STREAM = (b"{", b"[", b"<", b'"')
_STREAM = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")


class BodyDecoder:
    """Tells a stream from one whole value by how it begins, which no content type misstates, and gives its frames.

    Attributes:
        is_whole: It is no stream; `finish` gives all of it as one frame.
        is_empty: Nothing but blanks came.
    """

    def __init__(self) -> None:
        self.is_whole = False
        self.is_empty = True
        self._is_stream = False
        self._sse = SSEDecoder()
        self._whole = bytearray()
        self._beginning = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete.

        Raises:
            EndpointError: It has grown beyond what an answer may hold; its code says in which way.
        """
        if not self._is_stream:
            data = self._recognise(data)
            if not data:
                return []
        try:
            return self._sse.feed(data)
        except FrameTooLongError as exc:
            raise failures.malformed(str(exc)) from exc

    def finish(self) -> list[Frame]:
        """What the end of the body completes."""
        return [Frame(bytes(self._whole))] if self.is_whole else self._sse.flush()

    def looks_like_a_stream(self) -> bool:
        """Whether what came first is a field of an event stream or a comment."""
        return self._beginning.startswith(_STREAM)

    def _recognise(self, data: bytes) -> bytes:
        """What of these bytes belongs to a stream."""
        if self.is_empty:
            data = data.lstrip(_BLANKS)
            if not data:
                return b""
            self.is_empty = False
            self.is_whole = data.startswith(_NOT_A_STREAM)
        if not self.is_whole:
            self._beginning += data[: len(b"event:")]
            self._is_stream = len(self._beginning) >= len(b"event:")
            return data
        self._whole += data
        if len(self._whole) > MAX_WHOLE_BODY_BYTES:
            raise failures.not_a_stream(f"more than {MAX_WHOLE_BODY_BYTES} bytes in one piece")
        return b""
