"""`hub batch`: the requests of a file answered into another, safe to stop and to start again.

Beside the output stands its checkpoint, `OUT.checkpoint`, which has each answer as soon as it is there; the output
itself is written from it at the end of each run, in the input's order. With `--api-batch` there is `OUT.batch` too,
while the endpoint has requests. An output that no run of ours wrote is replaced with `--force` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hub.answerer import EndpointChoice, open_answerer
from hub.batch.checkpoint import Checkpoint
from hub.batch.journal import in_thread
from hub.batch.openai_batch import MAX_POLL_INTERVAL, BatchJob
from hub.batch.progress import Progress, automatic_report
from hub.batch.request_file import RequestFile
from hub.batch.requests import BatchRequest
from hub.batch.runner import iter_batch
from hub.cli.batch_files import Output, check_input, counting
from hub.client import OpenAIClient
from hub.config import Settings
from hub.errors import EndpointError, InvalidRequestError
from hub.response import embeddings_response, failed_response

__all__ = ("run",)

_KEY_CHARS = 16
"""Of a line's key, what goes into the name under which the Batch API gets it."""


def run(options: argparse.Namespace) -> int:
    """Answer every line of the input that has no answer yet."""
    if "-" in (options.input, options.output):
        raise InvalidRequestError(
            "The input is read more than once, and the output has its checkpoint beside it, so neither can be a "
            "standard stream: name files (./- where one is called so)."
        )
    source, target = Path(options.input), Path(options.output)
    if source.resolve() == target.resolve():
        raise InvalidRequestError("The output must be another file than the input.")
    output = Output(target, force=options.force)
    output.claim()
    try:
        return asyncio.run(_batch(options, source, output))
    except asyncio.CancelledError:  # while the input was checked, or again while the output was written
        return 130


async def _batch(options: argparse.Namespace, source: Path, output: Output) -> int:
    async with AsyncExitStack() as stack:
        choice = EndpointChoice(options.base_url, options.model, options.api_key_env)
        client, answering = await open_answerer(stack, Settings.load(), choice)
        if answering.source != "endpoint":
            print(answering.notice, file=sys.stderr)
        requests = RequestFile(source, client.profile)
        stopping = _Stopping()
        with counting(source) as show:
            await check_input(requests, show)
        stopping.in_order()
        checkpoint = Checkpoint(output.checkpoint_path, about=client.model, name_item=requests.name_of)
        work = _Work(client, requests, checkpoint, retry_failed=options.retry_failed)
        if options.api_batch:
            await work.by_api(output.job_path, options.poll_interval, stopping)
        else:
            await work.directly(options.concurrency, stopping)
        async with checkpoint:
            summary = await in_thread(partial(output.write, checkpoint, requests))
    print(f"· {summary}", file=sys.stderr)
    if stopping.event.is_set():
        print(f"· stopped; the same command does the {requests.count - summary.done} that are left", file=sys.stderr)
        return 130
    return 1 if summary.failed or summary.done < requests.count else 0


class _Stopping:
    """An interruption ends the run at once; after `in_order` the first one lets what is under way be done."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._task = asyncio.current_task()
        self._ends_at_once = True
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._interrupt)
            except NotImplementedError:  # Windows: Ctrl-C then ends the run at once, and loses nothing that was done
                return

    def in_order(self) -> None:
        """From now on the run ends when what is under way is done, and interrupted again, at once."""
        self._ends_at_once = False

    def at_once(self) -> None:
        """From now on the first interruption ends the run: nothing under way would be lost."""
        self._ends_at_once = True

    def _interrupt(self) -> None:
        if (self.event.is_set() or self._ends_at_once) and self._task is not None:
            self.event.set()
            self._task.cancel()
        elif not self.event.is_set():
            print("\nhub: finishing what is under way; once more stops at once", file=sys.stderr)
            self.event.set()


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done, in either way."""

    client: OpenAIClient
    requests: RequestFile
    checkpoint: Checkpoint
    retry_failed: bool = field(kw_only=True)

    async def directly(self, concurrency: int, stopping: _Stopping) -> None:
        """Ask for each answer by itself."""
        items = ((key, partial(_ask, self.client, request)) for key, request in self.requests)
        show = automatic_report()

        def report(progress: Progress) -> None:
            show(replace(progress, total=self.requests.count))

        results = iter_batch(
            items,
            concurrency=concurrency,
            checkpoint=self.checkpoint,
            retry_failed=self.retry_failed,
            stop=stopping.event,
            progress=report,
        )
        try:
            async for _ in results:
                pass
        except asyncio.CancelledError:
            if not stopping.event.is_set():
                raise
            _go_on()
        finally:
            await results.aclose()

    async def by_api(self, path: Path, poll_interval: float, stopping: _Stopping) -> None:
        """Hand everything to the endpoint's Batch API, or go on with what an earlier run handed over."""
        try:
            left = await self._left()
            begun = await in_thread(path.exists)
            while left or begun:
                longest = max(MAX_POLL_INTERVAL, poll_interval)
                async with BatchJob(self.client, path, poll_interval=poll_interval, max_poll_interval=longest) as job:
                    if not job.is_submitted:
                        if not left:
                            break
                        await job.submit(self._lines(left))
                    if stopping.event.is_set():
                        return
                    stopping.at_once()
                    print(f"· {', '.join(job.batch_ids)}: waiting; Ctrl-C stops the waiting alone", file=sys.stderr)
                    await job.wait()
                    await self._keep(job)
                await in_thread(path.unlink)
                left, begun = (await self._left() if begun else set()), False
        except asyncio.CancelledError:
            if not stopping.event.is_set():
                raise
            _go_on()

    async def _left(self) -> set[int]:
        async with self.checkpoint as checkpoint:
            left = {
                request.index
                for key, request in self.requests
                if not checkpoint.holds(request.index, key, even_failed=not self.retry_failed)
            }
            checkpoint.check_end(self.requests.count)
        return left

    def _lines(self, left: set[int]) -> Iterator[dict[str, Any]]:
        for key, request in self.requests:
            if request.index in left:
                custom_id = f"line-{request.index}-{key[:_KEY_CHARS]}"
                yield {"custom_id": custom_id, "url": request.url, "body": dict(request.body)}

    async def _keep(self, job: BatchJob) -> None:
        known = [(key, request.custom_id) for key, request in self.requests]
        async with self.checkpoint as checkpoint:
            async for _, result in job.results():
                _, number, beginning = result["custom_id"].split("-")
                index = int(number)
                if index >= len(known) or not known[index][0].startswith(beginning):
                    raise InvalidRequestError(
                        f"Line {index + 1} of {self.requests.path} is another than the one that was handed over: put "
                        "the file back as it was, or delete the .batch file to begin anew."
                    )
                key, custom_id = known[index]
                if not checkpoint.holds(index, key, even_failed=False):
                    named = {"index": index, "custom_id": custom_id, "identifier": custom_id}
                    checkpoint.put(index, key, {**result, **named})


async def _ask(client: OpenAIClient, request: BatchRequest) -> dict[str, Any]:
    """The answer as `get_response` gives it, without what stands in the input."""
    body = dict(request.body)
    if request.url == "/v1/embeddings":
        named: dict[str, Any] = {"identifier": request.custom_id, "stream_id": ""}
        try:
            response = embeddings_response(await client.embedding(**body), params={}, **named)
        except EndpointError as exc:
            response = failed_response(exc, params={}, **named)
        response["stream_id"] = None
    else:
        if request.is_url_given:
            body["api"] = "chat" if request.url == "/v1/chat/completions" else "responses"
        response = await client.get_response(identifier=request.custom_id, **body)
    del response["params"]
    return response


def _go_on() -> None:
    """The cancellation was ours: the rest of the task does its work."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
