"""A batch through OpenAI's Batch API: the same requests, within a day, at half the price."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from os import PathLike
from pathlib import Path
from typing import Any, Self

from openai.types import Batch

from hub.batch.api_answers import AnswerReader, output_line
from hub.batch.api_calls import BatchApi
from hub.batch.job_file import JobFile, SubmittedPart
from hub.batch.journal import in_thread
from hub.batch.parts import Limits, Partition
from hub.batch.progress import Progress, Report, automatic_report
from hub.batch.requests import parse_request
from hub.client import OpenAIClient
from hub.errors import EndpointError, ErrorCode, InvalidRequestError, endpoint_error
from hub.models.profile import ModelProfile, as_profile
from hub.upstream.failures import safe_text, shortened

__all__ = ("PRICE_FACTOR", "BatchJob")

log = logging.getLogger(__name__)

PRICE_FACTOR = 0.5
"""Half the price (https://help.openai.com/en/articles/9197833-batch-api-faq, read 2026-11-21)."""

POLL_INTERVAL = 5.0
MAX_POLL_INTERVAL = 60.0
_POLL_GROWTH = 1.5

_ENDS = ("completed", "failed", "expired", "cancelled")


class BatchJob:
    """Requests handed to OpenAI's Batch API, and their answers; inside `async with` its file is open and locked.

    What was handed over is in the file, so a later process goes on where this one ended, and nothing is handed over
    twice. A batch holds requests of one model and one URL, 50,000 of them and 200 MB at most; there are as many
    batches as it takes.

    Args:
        client: Whose endpoint, key and model are used; it is not closed.
        path: The job's file. Made where it is missing.
        limits: What one batch may hold.
        price_factor: What of the usual price is paid.
        poll_interval: Seconds before the first look at the batches; each further wait is half as long again.
        max_poll_interval: Seconds between two looks, at most.
        sleep: Waits.

    Raises:
        InvalidRequestError: An argument makes no sense.
    """

    def __init__(
        self,
        client: OpenAIClient,
        path: str | PathLike[str],
        *,
        limits: Limits | None = None,
        price_factor: float = PRICE_FACTOR,
        poll_interval: float = POLL_INTERVAL,
        max_poll_interval: float = MAX_POLL_INTERVAL,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if poll_interval < 0 or max_poll_interval < poll_interval:
            raise InvalidRequestError("poll_interval must be at least 0, and max_poll_interval no less than it.")
        self._client = client
        self._api = BatchApi(client)
        self._limits = limits or Limits()
        self._price_factor = price_factor
        self._poll_interval = poll_interval
        self._max_poll_interval = max_poll_interval
        self._sleep = sleep
        self._file = JobFile(Path(path), base_url=client.base_url)
        self._ended: dict[str, Batch] = {}

    async def __aenter__(self) -> Self:
        try:
            await in_thread(self._file.open)
        except BaseException:
            self._file.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._file.close()

    @property
    def is_submitted(self) -> bool:
        """The endpoint has all requests, from this run or an earlier one."""
        return self._file.is_submitted

    @property
    def has_begun(self) -> bool:
        """Requests were handed over, at least in part."""
        return self._file.has_begun

    @property
    def batch_ids(self) -> list[str]:
        """The endpoint's names for the batches."""
        return [each.batch_id for each in self._file.parts if each.batch_id is not None]

    async def run(
        self,
        requests: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        *,
        progress: Report | None = None,
    ) -> list[dict[str, Any]]:
        """Submit, wait, and collect; arguments and errors as there."""
        await self.submit(requests)
        await self.wait(progress=progress)
        return await self.collect()

    async def submit(self, requests: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]) -> list[str]:
        """Hand the requests to the endpoint, and give the ids of the batches; what it has already is left out.

        Args:
            requests: Bodies (`{"messages": …}`, `{"input": …}`), with a `custom_id` or without; or lines as the API
                has them, with `custom_id`, `url` and `body`. They are sent as they are, with the client's model where
                they name none.

        Raises:
            InvalidRequestError: One is no request, or the file is that of a job with others.
            EndpointError: A call failed. Submit the same again: it goes on from there.
        """
        with Partition(self._limits) as partition:
            async for index, value in _numbered(requests):
                try:
                    request = parse_request(value, index, profile=self._client.profile)
                except InvalidRequestError as exc:
                    raise InvalidRequestError(f"Request {index}: {exc}.") from None
                partition.add(request)
            if not partition.count:
                raise InvalidRequestError("There are no requests: a batch needs at least one.")
            await in_thread(lambda: self._file.begin(partition))
            for part in self._file.parts:
                await self._submit(part)
        return self.batch_ids

    async def wait(self, *, progress: Report | None = None) -> None:
        """Return once every batch has ended, in whatever way.

        Args:
            progress: Is told after each look how many requests are done, and last with `is_over`. By default as in
                `run_batch`.

        Raises:
            InvalidRequestError: Not all requests have been submitted.
            EndpointError: A look failed in a way that the next one would too.
        """
        self._check_submitted()
        self._api.prepare_prices()
        tell = automatic_report() if progress is None else progress
        began_at, interval = time.monotonic(), self._poll_interval
        latest: dict[str, Batch] = dict(self._ended)
        try:
            while True:
                for batch_id in self.batch_ids:
                    if batch_id not in self._ended:
                        await self._look(batch_id, latest)
                if len(self._ended) == len(self.batch_ids):
                    return
                tell(self._progress(latest, began_at))
                await self._sleep(interval)
                interval = min(self._max_poll_interval, interval * _POLL_GROWTH)
        finally:
            tell(self._progress(latest, began_at, is_over=True))

    async def results(self) -> AsyncGenerator[tuple[int, dict[str, Any]], None]:
        """Each answer with its position in the input, in the order of the endpoint's files; waits for no batch.

        Answers are dictionaries as `get_response` gives them, without `params`, and with `custom_id`, `index` and
        `batch_id`; `usage.cost_usd` is at the batch's price, which is `price_factor` of the usual. A request without
        answer has `error`, `status` (`"failed"`) and `error_code`: `total_timeout` where the day ran out,
        `interrupted` where the batch was cancelled.

        Raises:
            InvalidRequestError: Not all requests have been submitted, or a batch is still at work.
            EndpointError: A call failed.
        """
        self._check_submitted()
        for part in self._file.parts:
            batch = await self._batch(part)
            if batch.status not in _ENDS:
                raise InvalidRequestError(f"{batch.id} is still {batch.status}: await wait() before the results.")
            async with aclosing(self._answers(part, batch)) as answers:
                async for answer in answers:
                    yield answer

    async def collect(self) -> list[dict[str, Any]]:
        """All answers in the input's order; see `results`."""
        async with aclosing(self.results()) as results:
            found = {index: result async for index, result in results}
        return [found[index] for index in range(self._file.count)]

    async def cancel(self) -> None:
        """Ask the endpoint to give up every batch that has not ended; what is done of it stays, and is billed."""
        for part in self._file.parts:
            if part.batch_id is not None and (await self._batch(part)).status not in _ENDS:
                await self._api.cancel(part.batch_id)

    async def _submit(self, part: SubmittedPart) -> None:
        if part.batch_id is not None:
            return
        if part.file_id is not None:
            # A run ended between the two calls, and the second may have been heard.
            if (found := await self._api.find(part.file_id)) is not None:
                self._file.created(part, found.id)
                return
        else:
            assert part.part.file is not None
            file_id = await self._api.upload(part.part.file, f"requests-{part.number}.jsonl")
            self._file.uploaded(part, file_id)
        assert part.file_id is not None
        batch = await self._api.create(part.file_id, part.part.url, {"part": str(part.number)})
        self._file.created(part, batch.id)
        log.info("%s has %d requests for %s", batch.id, len(part.part.indices), part.part.model)

    async def _look(self, batch_id: str, latest: dict[str, Batch]) -> None:
        try:
            batch = latest[batch_id] = await self._api.retrieve(batch_id)
        except EndpointError as exc:
            if not exc.retryable:
                raise
            log.warning("%s can't be looked at now: %s", batch_id, exc)
            return
        if batch.status in _ENDS:
            self._ended[batch_id] = batch

    async def _batch(self, part: SubmittedPart) -> Batch:
        assert part.batch_id is not None
        known = self._ended.get(part.batch_id)
        return await self._api.retrieve(part.batch_id) if known is None else known

    async def _answers(self, part: SubmittedPart, batch: Batch) -> AsyncGenerator[tuple[int, dict[str, Any]], None]:
        missing = dict(zip(part.part.custom_ids, part.part.indices, strict=True))
        positions = dict(missing)
        reader = AnswerReader(
            self._profile(part.part.model),
            part.part.url,
            base_url=self._client.base_url,
            price_factor=self._price_factor,
        )
        for file_id in (batch.output_file_id, batch.error_file_id):
            if not file_id:
                continue
            async with aclosing(self._api.lines(file_id)) as lines:
                async for text in lines:
                    line = output_line(text)
                    if (index := missing.pop(line.custom_id, None)) is not None:
                        yield index, _named(reader.read(line), line.custom_id, index, batch.id)
        reasons = _reasons(batch, list(positions))
        for custom_id, index in missing.items():
            error = reasons.get(custom_id) or _no_answer(batch)
            yield index, _named(reader.failed(error, custom_id), custom_id, index, batch.id)

    def _profile(self, model: str) -> ModelProfile:
        profile = self._client.profile
        return profile if model == profile.model_name else as_profile(model)

    def _progress(self, latest: Mapping[str, Batch], began_at: float, *, is_over: bool = False) -> Progress:
        counts = [batch.request_counts for batch in latest.values() if batch.request_counts is not None]
        failed = sum(each.failed or 0 for each in counts)
        return Progress(
            done=sum(each.completed or 0 for each in counts) + failed,
            failed=failed,
            restored=0,
            total=self._file.count,
            elapsed=time.monotonic() - began_at,
            is_over=is_over,
        )

    def _check_submitted(self) -> None:
        if not self.is_submitted:
            raise InvalidRequestError("Not all requests have been submitted: await submit() with all of them first.")


def _named(answer: dict[str, Any], custom_id: str, index: int, batch_id: str) -> dict[str, Any]:
    return {**answer, "custom_id": custom_id, "index": index, "batch_id": batch_id}


def _reasons(batch: Batch, custom_ids: list[str]) -> dict[str, EndpointError]:
    """What the endpoint says against single lines of a batch that it refused; lines count from 1."""
    found = {}
    for each in (batch.errors.data if batch.errors is not None else None) or ():
        if each.line is not None and 1 <= each.line <= len(custom_ids):
            said = shortened(safe_text(each.message or each.code or "This line was refused."))
            found[custom_ids[each.line - 1]] = endpoint_error(said, code="invalid_request")
    return found


def _no_answer(batch: Batch) -> EndpointError:
    said = next((each.message for each in (batch.errors.data if batch.errors else None) or () if each.message), None)
    reason = f": {shortened(safe_text(said))}" if said else "."
    codes: dict[str, ErrorCode] = {"expired": "total_timeout", "cancelled": "interrupted", "completed": "truncated"}
    return endpoint_error(
        f"{batch.id} ended as {batch.status} without an answer to this request{reason}",
        code=codes.get(batch.status, "endpoint_error"),
        retryable=batch.status != "failed",
    )


async def _numbered(requests: Any) -> AsyncGenerator[tuple[int, Any], None]:
    index = 0
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield index, request
            index += 1
    elif isinstance(requests, Iterable) and not isinstance(requests, str | bytes | Mapping):
        for request in requests:
            yield index, request
            index += 1
    else:
        raise InvalidRequestError(f"requests must be an iterable of mappings, not {type(requests).__name__}.")
