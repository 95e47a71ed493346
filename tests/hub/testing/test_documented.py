"""docs/testing.md is true: its examples run, the tests in them pass, and it names everything there is."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import hub.testing
from hub.testing import EchoHandler, ScriptedEndpoint

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[ScriptedEndpoint]:
    """What the examples take for the real endpoint."""
    async with ScriptedEndpoint(handler=EchoHandler(word_delay=0)) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.chdir(tmp_path)
        yield running


def found_in(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    FunctionType(compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)()
    return {name: value for name, value in names.items() if name.startswith("test_")}


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
async def test_an_example_passes(code: str, endpoint: ScriptedEndpoint) -> None:
    found = found_in(code)
    assert found or "conftest" in PAGE.read_text().partition(code)[0][-120:]
    for test in found.values():
        assert inspect.iscoroutinefunction(test)
        await test()


async def test_the_recorded_example_asks_the_endpoint_once(endpoint: ScriptedEndpoint) -> None:
    (code,) = (block for block in BLOCKS if "recorded(" in block)
    for _ in range(2):
        await found_in(code)["test_a_real_answer"]()
    assert len(endpoint.requests) == 1


HELPERS = {"Answer", "Framing", "Handler", "Piece", "Reaction", "Step", "FakeCall", "RecordedRequest", "Reply"}
SMALL = {"Ending", "chat_chunk", "response_event", "embeddings_answer", "EchoHandler"}


def test_every_tool_is_named() -> None:
    words = set(re.findall(r"\w+", PAGE.read_text()))
    assert set(hub.testing.__all__) - HELPERS - SMALL <= words
