"""The sink that writes one event a line into a file."""

from __future__ import annotations

from os import PathLike
from typing import Literal, Self, get_args

from hub.errors import ConfigurationError
from hub.events import LLMEvent, encode_event
from sinks.jsonl.file import JSONLFile, checked_path
from sinks.jsonl.writer import LineWriter
from sinks.outbox import Outbox, Waiting

__all__ = ("Fsync", "JSONLSink")

Fsync = Literal["never", "end", "always"]

_EAGER_BYTES = 65_536


class JSONLSink:
    """Appends every event to a file, one a line, as its JSON.

    `send` does not wait for the file but in two cases: with `done`, which returns once the stream is in the file, and
    while `max_held_bytes` are held. What gathers while one write is under way, and for up to `max_delay` seconds, goes
    in one further write, in a thread of the file's own, for which the end of the process does not wait. A write that
    fails ends the sink: the next `send` raises it, else `aclose`.

    Streams may follow each other through one sink, and several sinks may have one file, in one process or in many:
    whole lines stand between whole lines. A last line without end, left by a process that was killed, is cut off when
    the file is next written to, with a warning; `read_events` passes it over.

    Use it as an async context manager.

    Args:
        path: The file. Made where it is missing, for its owner alone to read; its folder is not. A file that holds
            something else than events is refused and left as it is.
        max_bytes: Size at which the file rotates: it gets a number behind its name (`x.jsonl.000001`), and a new one
            begins. None for never. A single larger line has a file for itself.
        max_files: How many files are kept, the one without number included; the oldest are deleted. None for all.
        fsync: When to wait for the disk: `"never"`, at the `"end"` (with `done` and when closed), or `"always"`
            (after each write). A line that is written outlives the process in any case; this is for power cuts.
        max_delay: Seconds that an event may wait for others.
        max_held_bytes: Bytes of events held for the file, after which `send` waits.
        close_timeout: Seconds that `aclose` waits for the file.

    Raises:
        ConfigurationError: An argument makes no sense.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        max_bytes: int | None = None,
        max_files: int | None = None,
        fsync: Fsync = "end",
        max_delay: float = 0.05,
        max_held_bytes: int = 8_000_000,
        close_timeout: float = 10.0,
    ) -> None:
        self.path = checked_path(path)
        if max_bytes is not None and max_bytes < 1:
            raise ConfigurationError(
                f"max_bytes must be 1 or more, or None for a file that never rotates, not {max_bytes}."
            )
        if max_files is not None and (max_files < 1 or max_bytes is None):
            raise ConfigurationError(f"max_files must be 1 or more beside max_bytes, or None for all, not {max_files}.")
        if fsync not in get_args(Fsync):
            raise ConfigurationError(f'fsync must be "never", "end" or "always", not {fsync!r}.')
        if max_delay < 0 or max_held_bytes < 1 or close_timeout <= 0:
            raise ConfigurationError("max_delay must be 0 or more, max_held_bytes and close_timeout above 0.")
        self._fsync = fsync
        file = JSONLFile(self.path, max_bytes=max_bytes, max_files=max_files, is_durable=fsync != "never")
        self._writer = LineWriter(file)
        self._outbox = Outbox(
            str(self.path),
            self._write,
            release=self._writer.close,
            max_delay=max_delay,
            eager_bytes=_EAGER_BYTES,
            max_bytes=max_held_bytes,
            close_timeout=close_timeout,
        )

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            SinkError: It can't be opened, or holds something else.
        """
        await self._outbox.__aenter__()
        try:
            await self._writer.open()
        except BaseException:
            await self._outbox.aclose()
            raise
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        await self._outbox.__aexit__(exc_type, *exc_info)

    async def send(self, event: LLMEvent) -> None:
        """Hold the event for the next write; a `done`, until it is written.

        Raises:
            MalformedEventError: Its text has half a character. The event is left out, and the sink stays usable.
            SinkError: The file takes no more.
            ClosedError: The sink is closed, or was not entered.
        """
        await self._outbox.put(event, encode_event(event) + b"\n")
        if event.type == "done":
            await self._outbox.flush()

    async def aclose(self) -> None:
        """Write what is held and close the file; a second call does nothing.

        Raises:
            SinkError: The file did not take it, and no `send` has said so.
        """
        await self._outbox.aclose()

    async def _write(self, group: list[Waiting]) -> None:
        ends = any(each.event.type == "done" for each in group)
        sync = self._fsync == "always" or (self._fsync == "end" and ends)
        await self._writer.append([each.data for each in group], sync=sync)
