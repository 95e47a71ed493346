"""A hub over a file that may not grow for a while: what a full disk does to streams under way, and to later ones."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import aiohttp
import msgspec

from hub.completion import fold
from hub.result import LLMResult
from hub.testing import ScriptedEndpoint
from tests.faults.checks import check_end, check_events
from tests.faults.endpoint import MODEL, Answering, Question, tokens_of
from tests.faults.harness import environment
from tests.faults.processes import HubProcess
from tests.faults.servers import steady_port
from tests.faults.subscriber import Subscriber
from tests.faults.trial import Outcome

__all__ = ("run_small_disk_round",)

STREAMS = 5
TIMEOUT = 60.0
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


class SmallDisk:
    """`hub serve` with a file whose size has a limit at times.

    Args:
        folder: Where the file is.
        process: The server.
        http: Whom it is asked by.
        url: Where it serves.
        rand: When and how.
    """

    def __init__(self, folder: Path, process: HubProcess, http: aiohttp.ClientSession, url: str, rand: Random) -> None:
        self._folder = folder
        self._process = process
        self._http = http
        self._url = url
        self._rand = rand
        self._count = 0

    async def ask(self) -> tuple[Question, Subscriber]:
        """Begin a stream and its reader, which reads on by itself."""
        self._count += 1
        question = Question(str(self._count), self._rand.randint(40, 200), self._rand.uniform(50, 200))
        content = msgspec.json.encode(question).decode()
        body = {"messages": [{"role": "user", "content": content}]}
        async with self._http.post(f"{self._url}/v1/streams", json=body) as response:
            response.raise_for_status()
            stream_id = (await response.json())["stream_id"]
        return question, Subscriber(self._http, stream_id, [self._url], Random(self._rand.random()))

    async def get(self, stream_id: str) -> LLMResult:
        """A stream's fold as the server has it."""
        async with self._http.get(f"{self._url}/v1/streams/{stream_id}") as response:
            response.raise_for_status()
            return msgspec.json.decode(await response.read(), type=LLMResult)

    def fill(self) -> None:
        """From now on there is room for a few more pages at most."""
        size = max(path.stat().st_size for path in self._folder.glob("streams.db*"))
        limit = size + self._rand.randrange(40_000)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def make_room(self) -> None:
        """There is as much room as ever."""
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, UNLIMITED)


async def run_small_disk_round(folder: Path, seed: str) -> Outcome:
    """Run one round, with a file of its own.

    Args:
        folder: An empty one, or none yet.
        seed: Of everything that is left to chance.
    """
    outcome, rand = Outcome(), Random(seed)
    folder.mkdir(parents=True)  # noqa: ASYNC240 - nothing else runs yet
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(ScriptedEndpoint(handler=Answering()))
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)))
        port = steady_port()
        arguments = ["serve", "--port", str(port), "--base-url", endpoint.base_url, "--model", MODEL]
        process = HubProcess("web", arguments, environment(f"sqlite:///{folder / 'streams.db'}"), folder / "process")
        stack.push_async_callback(process.kill)
        try:
            await process.start()
            async with asyncio.timeout(TIMEOUT):
                disk = SmallDisk(folder, process, http, f"http://127.0.0.1:{port}", rand)
                outcome.wrong += await _fill_and_make_room(disk, process, rand, outcome)
        except (TimeoutError, RuntimeError, aiohttp.ClientError) as exc:
            outcome.wrong.append(f"{type(exc).__name__}: {exc}; {' | '.join(list(process.said)[-5:])}")
    return outcome


async def _fill_and_make_room(disk: SmallDisk, process: HubProcess, rand: Random, outcome: Outcome) -> list[str]:
    asked = [await disk.ask() for _ in range(STREAMS)]
    async with asyncio.TaskGroup() as tasks:
        for _, reader in asked:
            tasks.create_task(reader.run())
        await asyncio.sleep(rand.uniform(0.05, 0.6))
        disk.fill()
        await asyncio.sleep(rand.uniform(0.5, 3))
        try:
            outcome_of_late = await disk.ask()
        except aiohttp.ClientResponseError as exc:
            outcome.refusals[exc.status] += 1
        else:
            asked.append(outcome_of_late)
            tasks.create_task(outcome_of_late[1].run())
    disk.make_room()
    wrong = []
    for question, reader in asked:
        wrong += reader.wrong or check_events(reader.events)
        wrong += check_end(fold(reader.events), question.tokens, {"store_unavailable"})
    question, reader = await disk.ask()
    asked.append((question, reader))
    await reader.run()
    wrong += check_events(reader.events) + check_end(fold(reader.events), question.tokens, ())
    await (process.kill() if rand.random() < 0.5 else process.terminate())
    await process.start()
    for question, reader in asked:
        wrong += await _wrong_after_restart(disk, question, reader)
    return wrong


async def _wrong_after_restart(disk: SmallDisk, question: Question, reader: Subscriber) -> list[str]:
    """Each stream has its end in the file too, be it another one than its readers got while the file was full."""
    seen, kept = fold(reader.events), await disk.get(reader.stream_id)
    if seen.status == "completed":
        return [] if kept == seen else [f"{reader.stream_id} is {kept.status} after a restart, and was {seen.status}"]
    tokens_of(kept.text)
    return check_end(kept, question.tokens, {"store_unavailable", "interrupted"})
