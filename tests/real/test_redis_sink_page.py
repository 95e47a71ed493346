"""The examples of docs/sinks-redis.md run."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from hub.testing import EchoHandler, ScriptedEndpoint
from tests.real.cache_support import needs
from tests.real.redis_server import RedisServer, redis_binaries

PAGE = Path(__file__).parents[2] / "docs" / "sinks-redis.md"


def examples() -> list[Any]:
    text = PAGE.read_text()
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [pytest.param(block[1], id=f"line {text.count(chr(10), 0, block.start()) + 2}") for block in blocks]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(next(iter(redis_binaries().values()))) as running:
        yield running


@needs(redis_binaries(), "a server of the Redis protocol")
@pytest.mark.parametrize("code", examples())
async def test_an_example_runs(server: RedisServer, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    compiled = compile(code, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with ScriptedEndpoint(handler=EchoHandler(word_delay=0)) as endpoint, asyncio.timeout(10):
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
        monkeypatch.setenv("REDIS_URL", server.url)
        await FunctionType(compiled, {"__name__": "page"})()
