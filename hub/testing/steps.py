"""How the steps of a `Reply` are carried out, whether over a socket or without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import TypeAlias, assert_never

from hub.testing.replies import Gate, Hang, Pause, Reply, Step

__all__ = ("Wait", "head_fields", "phrase", "sliced", "wait")

Wait: TypeAlias = Pause | Gate | Hang
"""The steps that send nothing and end nothing."""


async def wait(step: Wait) -> None:
    """Wait as the step says."""
    match step:
        case Pause():
            await asyncio.sleep(step.seconds)
        case Gate():
            await step.pass_through()
        case Hang():
            await asyncio.get_running_loop().create_future()
        case _:
            assert_never(step)


def sliced(steps: Sequence[Step], size: int | None) -> Iterator[Step]:
    """The steps with bytes cut to `size`; empty bytes go, since as a chunk they would end the body."""
    for step in steps:
        if not isinstance(step, bytes):
            yield step
        elif step:
            width = len(step) if size is None else size
            yield from (step[start : start + width] for start in range(0, len(step), width))


def head_fields(reply: Reply, *, keep_alive: bool) -> dict[str, str]:
    """The headers of a reply, with those that tell its framing where it doesn't bring them itself."""
    framing: dict[str, str] = {} if keep_alive else {"Connection": "close"}
    if reply.framing == "chunked":
        framing["Transfer-Encoding"] = "chunked"
    elif reply.framing == "length":
        framing["Content-Length"] = str(sum(len(step) for step in reply.steps if isinstance(step, bytes)))
    given = {name.lower() for name in reply.headers}
    return {**reply.headers, **{name: value for name, value in framing.items() if name.lower() not in given}}


def phrase(status: int) -> str:
    """The words beside a status, also where HTTP knows no such status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Scripted"
