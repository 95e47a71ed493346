"""`hub serve --workers N`: several web processes on one port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from hub.answerer import Answering, EndpointChoice, open_answerer
from hub.config import Settings
from hub.errors import ConfigurationError
from hub.server.children import Children
from hub.server.serve import address, check_exposure, listen
from hub.streams.opening import is_shared

__all__ = ("serve_by_several",)


async def serve_by_several(
    settings: Settings,
    choice: EndpointChoice,
    announce: Callable[[str, Answering], None],
    *,
    arguments: Sequence[str],
) -> None:
    """Listen, and have several processes serve until SIGTERM or SIGINT.

    Args:
        settings: Everything configured.
        choice: What the command line says about the endpoint.
        announce: Called once the socket listens, with its address and who answers.
        arguments: The command line of each process.

    Raises:
        ConfigurationError: A setting can't be used, or the processes end as soon as they begin.
    """
    hub_settings = settings.hub
    if not is_shared(hub_settings.store):
        raise ConfigurationError(
            f"{hub_settings.workers} web processes need a store that they share: HUB_STORE=redis://host:6379, or "
            "--store. One process serves thousands of subscribers with any store."
        )
    check_exposure(hub_settings)
    listener = listen(hub_settings.host, hub_settings.port)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        answering, environment = await _answering(stack, settings, choice)
        several = f"{hub_settings.workers} web processes. {answering.notice}"
        announce(address(listener), replace(answering, notice=several))
        children = Children(
            arguments,
            hub_settings.workers,
            listener,
            environment={"HUB_STORE": str(hub_settings.store), **environment},
            drain_timeout=hub_settings.drain_timeout,
        )
        await children.run()


async def _answering(
    stack: AsyncExitStack, settings: Settings, choice: EndpointChoice
) -> tuple[Answering, dict[str, str]]:
    """Who answers, and what the processes are told of it: of one model on this machine they share the server."""
    if settings.hub.generations == "workers":
        return Answering("", None, "workers", "Workers answer: start some with `hub work`."), {}
    if settings.hub.app is not None:
        return Answering("", None, "application", f"{settings.hub.app} answers."), {}
    client, answering = await open_answerer(stack, settings, choice)
    if answering.source == "endpoint":
        return answering, {"LLM_MODEL": answering.model}
    return answering, {"LLM_BASE_URL": client.base_url, "LLM_API_KEY": "EMPTY", "LLM_MODEL": answering.model}
