"""`hub work`."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib.metadata import version

from hub.answerer import EndpointChoice
from hub.cli.event_loop import run as run_command
from hub.config import Settings
from hub.jobs.opening import open_job_queue
from hub.named_sinks import open_relays
from hub.opening import open_generator, open_store
from hub.worker import Worker

__all__ = ("run",)


def run(options: argparse.Namespace) -> int:
    """Work until told to stop, then drain."""
    settings = Settings.load()
    given = {name: getattr(options, name) for name in ("store", "concurrency")}
    given = {name: value for name, value in given.items() if value is not None}
    settings = settings.model_copy(update={"hub": settings.hub.model_copy(update=given)})
    choice = EndpointChoice(options.base_url, options.model, options.api_key_env)
    return run_command(_work(settings, choice, options.name))


async def _work(settings: Settings, choice: EndpointChoice, name: str | None) -> None:
    hub = settings.hub
    async with AsyncExitStack() as stack:
        queue = await stack.enter_async_context(open_job_queue(hub.store, max_queued=hub.max_queued))
        store = open_store(hub)
        stack.push_async_callback(store.aclose)
        generator, answering = await open_generator(stack, settings, choice)
        await store.start()
        worker = Worker(
            generator,
            store,
            queue,
            concurrency=hub.concurrency,
            max_attempts=hub.max_attempts,
            coalesce_delay=hub.coalesce_delay,
            relays=await open_relays(stack, hub.sinks),
            name=name,
        )
        stop, hurry = asyncio.Event(), asyncio.Event()
        with _listening(stop, hurry):
            async with worker:
                print(
                    f"llm-stream-hub {version('llm-stream-hub')}  worker {worker.name}\n{answering.notice}", flush=True
                )
                await stop.wait()
                await _drain(worker, hub.drain_timeout, hurry)


async def _drain(worker: Worker, timeout: float, hurry: asyncio.Event) -> None:
    """Let what runs end, until the time is over or somebody can't wait."""
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(worker.drain(timeout)), tasks.create_task(hurry.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


@contextmanager
def _listening(stop: asyncio.Event, hurry: asyncio.Event) -> Iterator[None]:
    """Set `stop` at the first SIGTERM or SIGINT, `hurry` at the second; a third one is not listened to: it kills."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def told() -> None:
        if stop.is_set():
            hurry.set()
            for number in numbers:
                loop.remove_signal_handler(number)
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
