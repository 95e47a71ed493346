"""One embedding call: its inputs cut into requests, sent side by side, and put together again in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from hub.embeddings import FLOAT_BYTES, Embeddings
from hub.errors import EndpointError
from hub.result import TokenUsage
from hub.upstream import failures
from hub.upstream.embedding.body import EmbeddingBody
from hub.upstream.embedding.inputs import EmbeddingInputs, cut
from hub.upstream.embedding.limits import RequestLimits, after_refusal, is_about_one_input, refused_for
from hub.upstream.retry import RetryPolicy

__all__ = ("Ask", "Batch", "OnRetry")

log = logging.getLogger(__name__)

Ask: TypeAlias = Callable[[EmbeddingInputs, int], Awaitable[EmbeddingBody]]
"""Sends some inputs in one request and gives their vectors, at the try of that number, from 1; raises `EndpointError`,
and `LimitError` where there is no leave to send it."""

OnRetry: TypeAlias = Callable[[EndpointError, float], None]
"""Is told why a request failed, and after how many seconds it is sent again."""

_CHARS_AT_A_TIME = 50_000
"""So much text is counted before the event loop gets its turn."""


class Batch:
    """The requests that one call needs. It runs once.

    Args:
        inputs: What is to be embedded.
        ask: Sends one request.
        limits: What one request may hold.
        count_tokens: The tokens of a text; called only where they matter.
        retry: When to send one of the requests again.
        rand: Gives a number between 0 and 1, for the retries' jitter.
        on_retry: Is told why a request failed that is sent again, and after how many seconds.

    Attributes:
        learnt: What the requests that were refused for their size have shown of the endpoint's limits.
    """

    def __init__(
        self,
        inputs: EmbeddingInputs,
        ask: Ask,
        *,
        limits: RequestLimits,
        count_tokens: Callable[[str], int],
        retry: RetryPolicy,
        rand: Callable[[], float],
        on_retry: OnRetry | None = None,
    ) -> None:
        self.learnt = RequestLimits()
        self._limits = limits
        self._inputs = inputs
        self._ask = ask
        self._count_tokens = count_tokens
        self._retry = retry
        self._rand = rand
        self._on_retry = on_retry
        self._most_tokens = inputs.most_tokens()
        self._counts: list[int] | None = None
        self._counting = asyncio.Lock()
        self._buffers: list[bytes] = [b""] * len(inputs.items)
        self._model: str | None = None
        self._usage = TokenUsage()

    async def run(self, model: str, *, concurrency: int) -> Embeddings:
        """All vectors; `model` is the name where the endpoint gives none.

        Raises:
            EndpointError: A request failed for good; the others were given up.
            LimitError: One had no leave to be sent; the others were given up.
        """
        turns = asyncio.Semaphore(concurrency)
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in await self._cut(range(len(self._inputs.items))):
                    tasks.create_task(self._embed(part, tasks, turns))
        except BaseExceptionGroup as group:
            failure = group.exceptions[0]
        if failure is not None:
            raise failure
        size = len(self._buffers[0])
        if any(len(buffer) != size for buffer in self._buffers):
            raise failures.malformed("vectors of different lengths in two responses")
        return Embeddings(
            model=self._model or model,
            usage=self._usage,
            dimensions=size // FLOAT_BYTES,
            buffers=tuple(self._buffers),
        )

    async def _embed(self, part: range, tasks: asyncio.TaskGroup, turns: asyncio.Semaphore) -> None:
        """Fill in the part's vectors, or have its own parts do so where it has turned out too large."""
        async with turns:
            parts = await self._cut(part)
            if parts == [part]:
                parts = await self._send(part)
        for each in parts:
            tasks.create_task(self._embed(each, tasks, turns))

    async def _send(self, part: range) -> list[range]:
        """Nothing, once the part's vectors are there; what to send instead where it was refused for its size."""
        try:
            body = await self._send_with_retries(self._inputs.part(part))
        except EndpointError as exc:
            if len(part) == 1 or refused_for(exc) is None:
                raise
            limits = after_refusal(exc, inputs=len(part), tokens=await self._tokens(part))
            self.learnt = self.learnt.lowered_to(limits)
            log.info("the endpoint refused %d inputs in one request (%s); fewer follow", len(part), exc.status)
            return await self._cut(part)
        self._buffers[part.start : part.stop] = body.buffers
        self._model = self._model or body.model
        self._usage += body.usage or await self._estimated_usage(part)
        return []

    async def _send_with_retries(self, inputs: EmbeddingInputs) -> EmbeddingBody:
        attempt = 1
        while True:
            try:
                return await self._ask(inputs, attempt)
            except EndpointError as exc:
                delay = self._retry.delay(exc, attempt, self._rand())
                if delay is None or is_about_one_input(exc):
                    raise
                if self._on_retry is not None:
                    self._on_retry(exc, delay)
            await asyncio.sleep(delay)
            attempt += 1

    async def _cut(self, part: range) -> list[range]:
        limits = self._limits.lowered_to(self.learnt)
        counts = await self._token_counts() if self._most_tokens > limits.max_tokens else None
        return cut(counts, part, max_inputs=limits.max_inputs, max_tokens=limits.max_tokens)

    async def _estimated_usage(self, part: range) -> TokenUsage:
        tokens = await self._tokens(part)
        return TokenUsage(input_tokens=tokens, total_tokens=tokens, estimated=True)

    async def _tokens(self, part: range) -> int:
        counts = await self._token_counts()
        return sum(counts[part.start : part.stop])

    async def _token_counts(self) -> list[int]:
        """The tokens of every input, at least 1; counted once."""
        async with self._counting:
            if self._counts is None:
                counts: list[int] = []
                counted = 0
                for item in self._inputs.items:
                    counts.append(max(1, self._count_tokens(item) if isinstance(item, str) else len(item)))
                    counted += len(item)
                    if counted >= _CHARS_AT_A_TIME:
                        counted = 0
                        await asyncio.sleep(0)
                self._counts = counts
            return self._counts
