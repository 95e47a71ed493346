"""`hub jobs`: what waits for workers, who works, and what was set aside."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from hub.config import Settings
from hub.errors import InvalidRequestError
from hub.events import new_stream_id
from hub.jobs.base import AsideJob, Depth, Survey, WorkerInfo
from hub.jobs.opening import open_job_queue
from hub.jobs.queue import RedisJobQueue
from hub.opening import open_store
from hub.streams.base import StreamStore

__all__ = ("lines", "run")

MAX_SHOWN = 20
"""Jobs set aside that are listed for people; `--json` has more."""

OUTAGE_TIMEOUT = 2.0
"""Seconds for which a server that is away is tried: a person waits."""


def run(options: argparse.Namespace) -> int:
    """Show the queue, or do what was asked for with the jobs that were set aside."""
    settings = Settings.load()
    if options.store is not None:
        settings = settings.model_copy(update={"hub": settings.hub.model_copy(update={"store": options.store})})
    return asyncio.run(_run(options, settings))


async def _run(options: argparse.Namespace, settings: Settings) -> int:
    hub = settings.hub
    async with open_job_queue(hub.store, max_queued=hub.max_queued, outage_timeout=OUTAGE_TIMEOUT) as queue:
        if options.action == "survey":
            found = await queue.survey()
            print(msgspec.json.encode(found).decode() if options.json else "\n".join(lines(found, time.time())))
            return 0
        stream_ids = await _asked_for(options, queue)
        if options.action == "drop":
            return await _drop(stream_ids, queue)
        store = open_store(hub)
        try:
            await store.start()
            return await _retry(stream_ids, queue, store)
        finally:
            await store.aclose()


async def _asked_for(options: argparse.Namespace, queue: RedisJobQueue) -> list[str]:
    if options.all:
        return [job.stream_id for job in reversed((await queue.survey()).aside)]
    if options.stream_id is None:
        raise InvalidRequestError(f"hub jobs {options.action}: name a stream, or pass --all.")
    return [options.stream_id]


async def _drop(stream_ids: list[str], queue: RedisJobQueue) -> int:
    missing = [stream_id for stream_id in stream_ids if not await queue.drop(stream_id)]
    for stream_id in missing:
        _tell_missing(stream_id)
    print(f"{len(stream_ids) - len(missing)} dropped")
    return 1 if missing else 0


async def _retry(stream_ids: list[str], queue: RedisJobQueue, store: StreamStore) -> int:
    """Ask again, each as a stream of its own: the earlier one has ended, and its readers were told so."""
    code = 0
    for stream_id in stream_ids:
        job = await queue.aside(stream_id)
        if job is None:
            _tell_missing(stream_id)
            code = 1
            continue
        anew = new_stream_id()
        model = job.arguments.get("model")
        await queue.announce(anew, job.arguments, priority=job.priority)
        await store.create(anew, model=model if isinstance(model, str) else None)
        await queue.submit(anew, job.arguments, priority=job.priority)
        await queue.drop(stream_id)
        print(f"{_plain(stream_id)} is asked again as {anew}")
    return code


def _tell_missing(stream_id: str) -> None:
    print(f"hub: no job of stream {_plain(stream_id)} was set aside.", file=sys.stderr)


def lines(found: Survey, now: float) -> Iterator[str]:
    """What the queue holds, for people; `now` in Unix seconds."""
    for name, depth in found.depths.items():
        yield f"{name:<10} {_depth(depth)}"
    if found.announced:
        yield f"{'announced':<10} {found.announced:,}"
    running = sum(worker.running for worker in found.workers)
    yield f"{'running':<10} {running:,} on {len(found.workers)} {'worker' if len(found.workers) == 1 else 'workers'}"
    for worker in sorted(found.workers, key=lambda each: each.name):
        yield f"  {_worker(worker, now)}"
    yield f"{'set aside':<10} {len(found.aside):,}"
    for job in found.aside[:MAX_SHOWN]:
        yield f"  {_aside(job)}"
    if len(found.aside) > MAX_SHOWN:
        yield f"  and {len(found.aside) - MAX_SHOWN:,} more, which --json shows"


def _depth(depth: Depth) -> str:
    waiting = f"{depth.waiting:,} queued"
    return waiting if depth.oldest is None else f"{waiting}, the oldest for {_duration(depth.oldest)}"


def _worker(worker: WorkerInfo, now: float) -> str:
    if worker.since is None:
        return f"{_plain(worker.name)}: {worker.running:,} running, no sign of life"
    running = f"{worker.running:,} of {worker.concurrency:,} running"
    return f"{_plain(worker.name)}: {running}, for {_duration(now - worker.since)}"


def _aside(job: AsideJob) -> str:
    at = datetime.fromtimestamp(job.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{_plain(job.stream_id)}  {at}  {job.priority}  {_plain(job.reason)}"


def _duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _plain(text: str) -> str:
    """Text without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
