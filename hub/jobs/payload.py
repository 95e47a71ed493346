"""Jobs and workers as Redis keeps them, and back; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hub.errors import InvalidRequestError, StoreError
from hub.jobs.base import PRIORITIES, AsideJob, Depth, Job, Priority, Survey, WorkerInfo

__all__ = ("consumer_name", "decode_job", "encode_job", "read_key", "said", "survey")

_BEGUN = 3
"""As many queues hold what a worker has had; they are told as one."""


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


def decode_job(key: str, value: bytes, lost: int) -> Job:
    """The job of a key and its value.

    Raises:
        StoreError: It is none.
    """
    stream_id, created_at = read_key(key)
    priority, _, arguments = value.partition(b" ")
    try:
        decoded = msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.DecodeError as exc:
        raise StoreError(f"The job of stream {stream_id!r} can't be read.") from exc
    return Job(stream_id, decoded, _priority(priority), lost, created_at)


def read_key(key: str) -> tuple[str, float | None]:
    """The stream whose job has that key, as `job_key` makes them, and when the stream was made."""
    stream_id, space, created_at = key.rpartition(" ")
    if not space:
        return key, None
    return stream_id, float(created_at) if created_at else None


def consumer_name(worker: str, incarnation: str) -> str:
    """What a worker is called on the server: like no other, also where it is called like one that was lost."""
    return f"{worker} {incarnation}"


def said(beats: int, since: float, concurrency: int) -> str:
    """A worker's sign of life, another one each time."""
    return f"{beats} {since:.3f} {concurrency}"


def survey(reply: Sequence[Any]) -> Survey:
    """What the script's `survey` has found."""
    now, depths, announced, workers, aside = reply
    time = float(now)
    begun = [_depth(time, *depth) for depth in depths[:_BEGUN]]
    oldest = max((depth.oldest for depth in begun if depth.oldest is not None), default=None)
    queues = {"again": Depth(sum(depth.waiting for depth in begun), oldest)}
    queues |= {name: _depth(time, *depth) for name, depth in zip(PRIORITIES, depths[_BEGUN:], strict=True)}
    return Survey(
        queues,
        announced,
        tuple(_worker(*worker) for worker in workers),
        tuple(_aside(*job) for job in aside),
    )


def _depth(now: float, waiting: int, oldest: bytes) -> Depth:
    return Depth(waiting, max(0.0, now - float(oldest)) if oldest else None)


def _worker(consumer: bytes, words: bytes, running: int) -> WorkerInfo:
    name = consumer.decode().rpartition(" ")[0] or consumer.decode()
    parts = words.split()
    if len(parts) != 3:
        return WorkerInfo(name, None, None, running)
    return WorkerInfo(name, float(parts[1]), int(parts[2]), running)


def _aside(stream_id: bytes, at: bytes, why: bytes, priority: bytes) -> AsideJob:
    lost, reason = msgspec.json.decode(why) if why else (0, "")
    return AsideJob(stream_id.decode(), float(at), str(reason), int(lost), _priority(priority))


def _priority(word: bytes) -> Priority:
    return next((each for each in PRIORITIES if each.encode() == word), "normal")
