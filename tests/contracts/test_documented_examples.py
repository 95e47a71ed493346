"""What docs/events.md, docs/hub.md and docs/sinks.md say is true: their examples run, their tables are complete."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import FunctionType
from typing import Any, get_args

import pytest

from hub.errors import ERROR_CODES
from hub.events import LLMEvent, decode_event, encode_event
from hub.testing import EchoHandler, ScriptedEndpoint, check_grammar

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("events.md", "hub.md", "sinks.md")


def examples(*languages: str) -> list[Any]:
    """The code blocks of these languages, each with the place where it stands."""
    found = []
    for page in PAGES:
        text = (DOCS / page).read_text()
        for block in re.finditer(r"^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if block["language"] in languages:
                line = text.count("\n", 0, block.start()) + 2
                found.append(pytest.param(block["code"], id=f"{page}:{line}"))
    return found


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedEndpoint]:
    """What the examples take for their endpoint: one that says everything back."""
    async with ScriptedEndpoint(handler=EchoHandler(word_delay=0)) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
        yield running


@pytest.mark.parametrize("code", examples("python"))
async def test_an_example_runs(code: str, endpoint: ScriptedEndpoint) -> None:
    compiled = compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with asyncio.timeout(10):
        result = FunctionType(compiled, {"__name__": "example"})()
        if inspect.isawaitable(result):
            await result


@pytest.mark.parametrize("code", examples("json", "jsonl", "jsonl stream"))
def test_an_example_event_is_one(code: str) -> None:
    for line in code.splitlines():
        assert encode_event(decode_event(line)).decode() == line


@pytest.mark.parametrize("code", examples("jsonl stream"))
def test_an_example_stream_keeps_to_the_grammar(code: str) -> None:
    check_grammar([decode_event(line) for line in code.splitlines()])


def first_column(heading: str) -> list[str]:
    """The code words in the first column of the table below a heading of docs/events.md."""
    section = (DOCS / "events.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [word for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_every_error_code_is_listed() -> None:
    assert first_column("The codes of an `error`") == list(ERROR_CODES)


def test_every_type_is_listed_with_its_members() -> None:
    assert first_column("The types") == [cls.type for cls in get_args(LLMEvent)]
    table = (DOCS / "events.md").read_text().partition("## The types\n")[2].partition("\n## ")[0]
    for cls in get_args(LLMEvent):
        row = next(line for line in table.splitlines() if line.startswith("|") and f"`{cls.type}`" in line)
        members = set(cls.__struct_fields__) - {"stream_id", "seq", "span"}
        assert members <= set(re.findall(r"`(\w+)`", row))
