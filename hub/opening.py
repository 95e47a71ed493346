"""Puts a hub together as the settings say: its store, who generates, and whether here or in workers elsewhere."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from pydantic import SecretStr

from hub.answerer import Answering, EndpointChoice, open_answerer
from hub.application import open_application
from hub.config import HubSettings, Settings
from hub.errors import ConfigurationError, StoreError
from hub.hub import Hub, Workforce
from hub.jobs.opening import open_job_queue
from hub.jobs.remote import RemoteWorkers
from hub.named_sinks import open_relays
from hub.recording import Generator
from hub.streams.base import StreamStore
from hub.streams.memory import MemoryStreamStore
from hub.streams.opening import default_path, is_shared, open_stream_store
from hub.worker import Worker

__all__ = ("Opened", "open_generator", "open_hub", "open_store")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A hub, who answers, and sentences about it for people."""

    hub: Hub
    answering: Answering


async def open_hub(stack: AsyncExitStack, settings: Settings, choice: EndpointChoice) -> Opened:
    """The hub that the settings describe, entered; `stack` closes it and all that had to be opened for it.

    Raises:
        ConfigurationError: What is configured can't be used.
        StoreError: The store can't be used.
    """
    hub_settings = settings.hub
    store = open_store(hub_settings)
    if not is_shared(hub_settings.store):
        if hub_settings.generations == "workers":
            raise ConfigurationError(
                "HUB_GENERATIONS=workers needs a store that processes share: HUB_STORE=redis://host:6379."
            )
        generator, answering = await open_generator(stack, settings, choice)
        relays = await open_relays(stack, hub_settings.sinks)
        store, notice = await _started(store, hub_settings)
        # Memory is never behind; what takes long there is the process, and it has nothing to wait for.
        delay = 0.0 if isinstance(store, MemoryStreamStore) else hub_settings.coalesce_delay
        hub = Hub(generator, store, max_streams=hub_settings.max_streams, coalesce_delay=delay, relays=relays)
        await stack.enter_async_context(hub)
        return Opened(hub, replace(answering, notice=f"{answering.notice}{notice}"))
    return await _open_shared(stack, settings, choice, store)


def open_store(settings: HubSettings) -> StreamStore:
    """The store that is configured, else the file in the user's data folder. Nothing is opened or connected yet."""
    return open_stream_store(
        settings.store or "sqlite://",
        retention_ttl=settings.retention_ttl,
        retention_bytes=settings.retention_bytes,
    )


async def open_generator(
    stack: AsyncExitStack, settings: Settings, choice: EndpointChoice
) -> tuple[Generator, Answering]:
    """Who generates: the application that HUB_APP names, else a client of the endpoint."""
    settings = _sharing_flights(settings)
    if settings.hub.app is None:
        return await open_answerer(stack, settings, choice)
    generator = await stack.enter_async_context(open_application(settings.hub.app, settings))
    model = choice.model or settings.llm.model or settings.hub.app
    answering = Answering(model, settings.hub.model_list() or None, "application", f"{settings.hub.app} answers.")
    return generator, answering


def _sharing_flights(settings: Settings) -> Settings:
    """The settings, where equal calls of all processes with the same store are one, unless something else is set."""
    url = settings.hub.store
    if url is None or not is_shared(url) or settings.cache.flights is not None:
        return settings
    return settings.model_copy(update={"cache": settings.cache.model_copy(update={"flights": SecretStr(url)})})


async def _open_shared(stack: AsyncExitStack, settings: Settings, choice: EndpointChoice, store: StreamStore) -> Opened:
    hub_settings = settings.hub
    queue = await stack.enter_async_context(open_job_queue(hub_settings.store, max_queued=hub_settings.max_queued))
    relays = await open_relays(stack, hub_settings.sinks)
    if hub_settings.generations == "workers":
        workforce: Workforce = RemoteWorkers(queue)
        model = choice.model or settings.llm.model
        answering = Answering(
            model or "", hub_settings.model_list() or None, "workers", "Workers answer: start some with `hub work`."
        )
        hub = await stack.enter_async_context(Hub(None, store, workforce=workforce, relays=relays))
        return Opened(hub, answering)
    generator, answering = await open_generator(stack, settings, choice)
    worker = Worker(
        generator,
        store,
        queue,
        concurrency=hub_settings.max_streams,
        max_attempts=hub_settings.max_attempts,
        coalesce_delay=hub_settings.coalesce_delay,
        relays=relays,
    )
    hub = await stack.enter_async_context(Hub(None, store, workforce=worker, relays=relays))
    await stack.enter_async_context(worker)
    return Opened(hub, answering)


async def _started(store: StreamStore, settings: HubSettings) -> tuple[StreamStore, str]:
    """The store, ready; where nobody chose one and the file can't be used, memory, and a sentence about it."""
    try:
        await store.start()
    except StoreError as exc:
        await store.aclose()
        if settings.store is not None:
            raise
        log.warning("%s", exc)
        memory = MemoryStreamStore(retention_ttl=settings.retention_ttl, retention_bytes=settings.retention_bytes)
        return memory, f" Streams are kept in memory: {default_path()} can't be used ({exc})"
    return store, ""
