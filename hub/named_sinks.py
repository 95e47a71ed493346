"""The sinks that requests may name: each a URL of the operator's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Self

from hub.errors import ConfigurationError, InvalidRequestError
from hub.relaying import Relays, SinkRequest
from hub.sink import OpenableSink
from sinks.opening import SinkConnections, SinkTemplate

__all__ = ("NamedSinks", "open_relays", "parse_sinks")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

# A comma in a URL is not followed by a name, a = and a scheme.
_BETWEEN = re.compile(r",\s*(?=[A-Za-z0-9_-]+\s*=\s*[a-z][a-z0-9+]*:)")

_SAMPLE = {"stream_id": "str_0", "channel": "0"}


class NamedSinks:
    """Opens the sinks of a list by name, on connections that they share. A `SinkOpener`.

    Use it as an async context manager, round the life of the `Relays` that use it.

    Args:
        urls: By name; `sinks.opening` says which URLs there are.

    Raises:
        ConfigurationError: One of them makes no sense, or what it needs is missing; the message names it.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._connections = SinkConnections()
        self._templates: dict[str, SinkTemplate] = {}
        for name, url in urls.items():
            if not _NAME.fullmatch(name):
                raise ConfigurationError(f"The name of a sink has 1 to 64 letters, digits, '-' and '_', not {name!r}.")
            try:
                template = self._templates[name] = SinkTemplate.read(url)
                template.open(_SAMPLE, connections=self._connections)
            except (ConfigurationError, InvalidRequestError) as exc:
                raise ConfigurationError(f"The sink {name}: {exc}") from exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release the connections; a second call does nothing."""
        await self._connections.aclose()

    def check(self, request: SinkRequest, stream_id: str) -> None:
        """As `SinkOpener` says."""
        self.open(request, stream_id)

    def open(self, request: SinkRequest, stream_id: str) -> OpenableSink:
        """As `SinkOpener` says."""
        name, channel = request.name, request.channel
        template = self._templates.get(name)
        if template is None:
            raise InvalidRequestError(f"There is no sink {name[:64]!r} here; there are: {', '.join(self._templates)}.")
        if channel is not None and "channel" not in template.placeholders:
            raise InvalidRequestError(f"The sink {name!r} takes no channel.")
        try:
            return template.open({"stream_id": stream_id, "channel": channel}, connections=self._connections)
        except InvalidRequestError as exc:
            raise InvalidRequestError(f"The sink {name!r}: {exc}") from exc


def parse_sinks(text: str) -> dict[str, str]:
    """The URLs of `HUB_SINKS`, by name: `NAME=URL`, separated by commas. No message repeats a URL.

    Raises:
        ConfigurationError: It is no such list.
    """
    urls: dict[str, str] = {}
    for number, part in enumerate(_BETWEEN.split(text.strip().removesuffix(",")), 1):
        name, equals, url = (each.strip() for each in part.partition("="))
        # A second URL in one is what is left of a part without a proper name.
        if not equals or not _NAME.fullmatch(name) or not re.fullmatch(r"\S+", url) or url.count("://") > 1:
            raise ConfigurationError(
                f"Its part {number} is not NAME=URL. It looks like live=pusher://private-{{stream_id}}, "
                "chat=redis://localhost:6379/chat:{channel}; a space in a URL is %20."
            )
        if name in urls:
            raise ConfigurationError(f"The name {name} is there twice.")
        urls[name] = url
    return urls


async def open_relays(stack: AsyncExitStack, sinks: str | None) -> Relays | None:
    """What carries streams to the sinks of `HUB_SINKS`, entered; `stack` closes it. None where there are none.

    Raises:
        ConfigurationError: They can't be used; the message says which and why.
    """
    if not sinks:
        return None
    try:
        named = NamedSinks(parse_sinks(sinks))
    except ConfigurationError as exc:
        raise ConfigurationError(f"HUB_SINKS: {exc}") from exc
    await stack.enter_async_context(named)
    return await stack.enter_async_context(Relays(named))
