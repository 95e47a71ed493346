"""CPU of an embedding call without a network: 1,000 vectors of 1,536 dimensions, beside the SDK's own."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import httpx2
from openai import AsyncOpenAI

from bench.report import Row, Table
from hub.embeddings import Embeddings
from hub.testing.embeddings import embeddings_reply, fake_vector
from hub.upstream.clocks import Timeouts
from hub.upstream.embedding.embedder import Embedder
from hub.upstream.retry import RetryPolicy

__all__ = ("run",)

MODEL = "text-embedding-3-small"

Work = Callable[[], Awaitable[object]]


def run(quick: bool) -> list[Table]:
    """Vectors as base64 and as numbers, and a request of many inputs."""
    count, rounds = (100, 2) if quick else (1_000, 7)
    texts = [f"The text of document {number}." for number in range(count)]
    encoded, written = _body(count, 1536, base64=True), _body(count, 1536, base64=False)
    many = [f"The text of document {number}." for number in range(2_000)]
    return [
        asyncio.run(_compare(f"{count:,} vectors of 1,536 dimensions as base64", encoded, texts, rounds)),
        # The SDK takes seconds for each round of these.
        asyncio.run(_compare(f"{count:,} vectors of 1,536 dimensions as numbers", written, texts, min(rounds, 3))),
        asyncio.run(_compare("A request of 2,000 inputs, for vectors of 2 dimensions", _body(2_000, 2), many, rounds)),
    ]


def _body(count: int, dimensions: int, *, base64: bool = True) -> bytes:
    vectors = [fake_vector(str(number), dimensions) for number in range(count)]
    (step,) = embeddings_reply(vectors, base64=base64, model=MODEL).steps
    assert isinstance(step, bytes)
    return step


async def _compare(title: str, body: bytes, texts: list[str], rounds: int) -> Table:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"Content-Type": "application/json"})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        sdk = AsyncOpenAI(base_url="http://bench/v1", api_key="EMPTY", max_retries=0, http_client=http)
        embedder = Embedder(sdk, url="http://bench/v1", redact=lambda error: error)

        async def embed() -> Embeddings:
            return await embedder.embed(
                texts, model=MODEL, timeouts=Timeouts(), retry=RetryPolicy(attempts=1), count_tokens=len
            )

        async def lists() -> list[list[float]]:
            return (await embed()).vectors

        async def theirs() -> list[list[float]]:
            response = await sdk.embeddings.create(model=MODEL, input=texts)
            return [item.embedding for item in response.data]

        _check(await lists(), await theirs())
        contenders: dict[str, Work] = {
            "`Embedder.embed()`": embed,
            "the same and its `.vectors`": lists,
            "openai SDK": theirs,
        }
        rows = {name: Row(name) for name in contenders}
        for _ in range(rounds):
            for name, work in contenders.items():
                began_at = time.process_time()
                await work()
                rows[name].add(cpu=(time.process_time() - began_at) * 1e3)
    numpy = "with" if sys.modules.get("numpy") else "without"
    note = f"Like for like are the last two: both end in lists of floats. The SDK ran {numpy} NumPy; ours uses none."
    return Table(title, {"cpu": "CPU, ms"}, list(rows.values()), [note])


def _check(ours: list[list[float]], theirs: list[list[float]]) -> None:
    """Stop where somebody got other numbers; ours are rounded to float32."""
    for mine, other in zip(ours, theirs, strict=True):
        if any(abs(a - b) > 1e-6 for a, b in zip(mine, other, strict=True)):
            raise RuntimeError("ours and the SDK's vectors differ")
