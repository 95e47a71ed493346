"""A sink's URL, read once and opened as often as needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hub.errors import ConfigurationError, InvalidRequestError
from hub.sink import OpenableSink
from sinks.opening.connections import SinkConnections
from sinks.opening.filling import PLACEHOLDER
from sinks.opening.makers import MAKERS, Make

__all__ = ("SinkTemplate", "open_sink")

MAX_VALUE = 164
"""Characters of a value: with a prefix it still fits into a Pusher channel's 200."""

_VALUE = re.compile(rf"[-a-zA-Z0-9_=@,.;:]{{1,{MAX_VALUE}}}")
_VALUES = frozenset(("stream_id", "channel"))


@dataclass(frozen=True, slots=True)
class SinkTemplate:
    """A sink's URL, read.

    Attributes:
        placeholders: The values that it needs to be opened, among `stream_id` and `channel`.
        make: Makes the sink.
    """

    placeholders: frozenset[str]
    make: Make

    @classmethod
    def read(cls, url: str) -> SinkTemplate:
        """The template of a URL. No message repeats it, since it may hold a password.

        Raises:
            ConfigurationError: The URL makes no sense.
        """
        scheme = url.partition(":")[0].lower()
        if scheme not in MAKERS:
            raise ConfigurationError(
                "There is no such sink; there are redis://HOST/CHANNEL, pusher://CHANNEL, file:///PATH and "
                "https://HOST/PATH."
            )
        placeholders = frozenset(PLACEHOLDER.findall(url))
        if unknown := placeholders - _VALUES:
            # What stands before an @ may be a password.
            shown = unknown & frozenset(PLACEHOLDER.findall(url.rpartition("@")[2]))
            named = f"{{{min(shown)[:40]}}}" if shown else "something else in braces"
            raise ConfigurationError(
                f"A sink's URL has {named}, and only {{stream_id}} and {{channel}} can be filled in. "
                "A brace that is meant is written %7B or %7D."
            )
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = None  # and not raised from here: the cause may quote the URL
        if parts is None:
            raise ConfigurationError(f"The URL of a sink {scheme}:… makes no sense.")
        return cls(placeholders, MAKERS[scheme](parts))

    def open(
        self, values: Mapping[str, str | None] | None = None, *, connections: SinkConnections | None = None
    ) -> OpenableSink:
        """The sink with these values filled in, not entered yet.

        Args:
            values: By name. Those that the URL has no place for are passed over.
            connections: What it shares with others; by default it has its own.

        Raises:
            InvalidRequestError: A value is missing, or can't stand there.
            ConfigurationError: Something else that the sink needs is missing or makes no sense.
            MissingExtraError: What it needs is not installed.
        """
        filled = {name: _checked(name, (values or {}).get(name)) for name in self.placeholders}
        return self.make(lambda text: PLACEHOLDER.sub(lambda match: filled[match[1]], text), connections)


def open_sink(url: str, *, stream_id: str | None = None, channel: str | None = None) -> OpenableSink:
    """The sink of a URL, not entered yet; `sinks.opening` says which there are.

    Args:
        url: The URL; an option that its sink doesn't have is refused.
        stream_id: What is filled in for `{stream_id}`.
        channel: What is filled in for `{channel}`.

    Raises:
        ConfigurationError: The URL makes no sense, or something that the sink needs is missing.
        InvalidRequestError: A value is missing, or can't stand there.
        MissingExtraError: What the sink needs is not installed.
    """
    return SinkTemplate.read(url).open({"stream_id": stream_id, "channel": channel})


def _checked(name: str, value: str | None) -> str:
    if value is None:
        raise InvalidRequestError(f"This sink needs a {name}.")
    if not _VALUE.fullmatch(value):
        raise InvalidRequestError(f"A sink's {name} has 1 to {MAX_VALUE} letters, digits and '-_=@,.;:'.")
    return value
