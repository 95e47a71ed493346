"""Two tries at once, of which the first to say something goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hub.upstream.attempt import Attempt
from hub.upstream.endpoint import Sending

__all__ = ("Race", "race")


@dataclass(frozen=True, slots=True)
class Race:
    """How it ended: who goes on, and who was left, its connection closed."""

    winner: Attempt
    loser: Attempt | None


async def race(
    first: Attempt,
    second: Callable[[], Awaitable[Attempt | None]],
    sending: Callable[..., Sending],
    *,
    delay: float,
) -> Race:
    """Try, and where nothing has been said after `delay` seconds, try a second time beside it, if there is a `second`.

    A try that fails before the other has said anything leaves the field to the other. A try that fails before the
    delay is over is the only one: whether another follows is for the retries to say.
    """
    attempts = [first]
    try:
        # The group owns the tries: cancelled, it ends them and waits until both have.
        async with asyncio.TaskGroup() as group:
            tries = {group.create_task(first.open_to_content(sending(first.target))): first}
            done, _ = await asyncio.wait(tries, timeout=delay)
            if not done and (other := await second()) is not None:
                attempts.append(other)
                tries[group.create_task(other.open_to_content(sending(other.target, beside=True)))] = other
            pending = set(tries)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                said = next((task for task in done if tries[task].failure is None), None)
                if said is not None or not pending:
                    break
            for task in pending:
                task.cancel()
        last = said or next(iter(done))
        winner = tries[last]
        loser = next((attempt for attempt in attempts if attempt is not winner), None)
        if loser is not None:
            await loser.release()
        return Race(winner, loser)
    except BaseException:
        for attempt in attempts:
            await attempt.release()
        raise
