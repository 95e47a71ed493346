"""Jobs and workers as Redis keeps them, and back; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hub.errors import InvalidRequestError, StoreError
from hub.jobs.base import PRIORITIES, AsideJob, Depth, Job, Priority, Survey, WorkerInfo

__all__ = ("decode_job", "encode_job", "said", "survey")

_QUEUES = ("again", *PRIORITIES)


def encode_job(arguments: Mapping[str, Any], priority: Priority) -> bytes:
    """The value of a job: its priority, a space, its arguments as JSON.

    Raises:
        InvalidRequestError: The priority is unknown, or the arguments can't be written as JSON.
    """
    if priority not in PRIORITIES:
        raise InvalidRequestError(f"priority is one of {', '.join(PRIORITIES)}.")
    try:
        return priority.encode() + b" " + msgspec.json.encode(dict(arguments))
    except (TypeError, ValueError) as exc:
        raise InvalidRequestError(f"A worker in another process can't be given these arguments: {exc}") from exc


def decode_job(stream_id: str, value: bytes, lost: int) -> Job:
    """The job of a value.

    Raises:
        StoreError: It is none.
    """
    priority, _, arguments = value.partition(b" ")
    try:
        decoded = msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.DecodeError as exc:
        raise StoreError(f"The job of stream {stream_id!r} can't be read.") from exc
    return Job(stream_id, decoded, _priority(priority), lost)


def said(beats: int, since: float, concurrency: int) -> str:
    """A worker's sign of life, another one each time."""
    return f"{beats} {since:.3f} {concurrency}"


def survey(reply: Sequence[Any]) -> Survey:
    """What the script's `survey` has found."""
    now, depths, announced, workers, aside = reply
    time = float(now)
    return Survey(
        {name: _depth(time, *depth) for name, depth in zip(_QUEUES, depths, strict=True)},
        announced,
        tuple(_worker(*worker) for worker in workers),
        tuple(_aside(*job) for job in aside),
    )


def _depth(now: float, waiting: int, oldest: bytes) -> Depth:
    return Depth(waiting, max(0.0, now - float(oldest)) if oldest else None)


def _worker(name: bytes, words: bytes, running: int) -> WorkerInfo:
    parts = words.split()
    if len(parts) != 3:
        return WorkerInfo(name.decode(), None, None, running)
    return WorkerInfo(name.decode(), float(parts[1]), int(parts[2]), running)


def _aside(stream_id: bytes, at: bytes, why: bytes, priority: bytes) -> AsideJob:
    lost, reason = msgspec.json.decode(why) if why else (0, "")
    return AsideJob(stream_id.decode(), float(at), str(reason), int(lost), _priority(priority))


def _priority(word: bytes) -> Priority:
    return next((each for each in PRIORITIES if each.encode() == word), "normal")
