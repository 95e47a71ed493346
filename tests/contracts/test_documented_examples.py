"""What the pages of docs/ say is true: their examples run, their tables are complete."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import FunctionType
from typing import Any, get_args

import pytest
from openai.resources.chat.completions import AsyncCompletions
from openai.resources.responses import AsyncResponses

from hub import LLM, OpenAIClient
from hub.errors import ERROR_CODES, ErrorCode, InvalidRequestError, endpoint_error
from hub.events import LLMEvent, decode_event, encode_event
from hub.testing import EchoHandler, ScriptedEndpoint, check_grammar, forbid_real_calls
from hub.upstream.forms.translate import to_chat, to_responses
from hub.upstream.route import CoolDown

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (
    "batches.md",
    "caches.md",
    "client.md",
    "configuration.md",
    "embeddings.md",
    "endpoints.md",
    "errors.md",
    "events.md",
    "guarantees.md",
    "hub.md",
    "limits.md",
    "models.md",
    "observability.md",
    "operations.md",
    "sinks-jsonl.md",
    "sinks-webhook.md",
    "sinks-websocket.md",
    "sinks.md",
    "structured-output.md",
)
"""Those whose examples run here; docs/testing.md, sinks-pusher.md and sinks-redis.md have tests of their own."""

LINKED = sorted((*PAGES, "sinks-pusher.md", "sinks-redis.md"))

HELLO = [{"role": "user", "content": "Hello"}]


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
        for client in ("OPENAI", "LLM"):
            monkeypatch.setenv(f"{client}_BASE_URL", running.base_url)
            monkeypatch.setenv(f"{client}_API_KEY", "EMPTY")
        yield running


def run(code: str) -> None:
    """Do what a reader would: run the example as a program, then its functions that it doesn't call itself."""
    names: dict[str, Any] = {"__name__": "example"}
    result = FunctionType(
        compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True), names
    )()
    if inspect.iscoroutine(result):
        asyncio.run(asyncio.wait_for(result, 10))
    for name in uncalled(code):
        asyncio.run(asyncio.wait_for(call(names[name]), 10))


def uncalled(code: str) -> list[str]:
    """The coroutine functions of an example that nothing in it calls."""
    tree = ast.parse(code)
    defined = [node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return [name for name in defined if name not in used]


async def call(function: Any) -> None:
    """Call an example's function with what it asks for, and take all that it gives."""
    async with AsyncExitStack() as stack:
        values: list[Any] = []
        for parameter in inspect.signature(function).parameters.values():
            match parameter.annotation:
                case annotation if annotation in (OpenAIClient, LLM):
                    values.append(await stack.enter_async_context(OpenAIClient("gpt-5.1")))
                case annotation if annotation is str:
                    values.append("Hello")
                case other:
                    raise TypeError(f"The examples' functions get a client or a text, not {other!r}.")
        result = function(*values)
        if inspect.isasyncgen(result):
            async for _ in result:
                pass
        else:
            await result


@pytest.mark.parametrize("code", examples("python"))
async def test_an_example_runs(code: str, endpoint: ScriptedEndpoint) -> None:
    with forbid_real_calls():
        # In a thread of its own, since `asyncio.run` wants a loop of its own.
        await asyncio.to_thread(run, code)


def test_a_function_that_an_example_leaves_to_the_reader_is_called() -> None:
    with pytest.raises(ZeroDivisionError):
        run("async def main() -> None:\n    1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        run("async def pieces():\n    yield 1 / 0\n")
    run("async def main() -> None:\n    await broken(1)\n\nasync def broken(divisor: int) -> None:\n    1 / divisor\n")


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


# Links


def anchor(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", LINKED)
def test_every_link_leads_to_a_page_and_a_heading(page: str) -> None:
    for path, fragment in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", (DOCS / page).read_text()):
        target = DOCS / (path or page)
        assert target.exists(), path
        if fragment:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{path}#{fragment}"


# docs/endpoints.md


def no_counterpart(create: Any, translate: Any) -> list[str]:
    """The SDK's parameters of one API that the other has no counterpart of."""
    refused = []
    for name in sorted(inspect.signature(create).parameters.keys() - {"self", "messages", "input", "timeout"}):
        try:
            translate({"messages": HELLO, name: "something"})
        except InvalidRequestError as exc:
            if str(exc).startswith(f"{name} has no counterpart"):
                refused.append(name)
    return refused


@pytest.mark.parametrize(
    ("row", "create", "translate"),
    [
        ("Chat Completions", AsyncCompletions.create, to_responses),
        ("the Responses API", AsyncResponses.create, to_chat),
    ],
)
def test_every_parameter_without_counterpart_is_listed(row: str, create: Any, translate: Any) -> None:
    page = (DOCS / "endpoints.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith(f"| {row} alone |"))
    assert re.findall(r"`(\w+)`", line) == no_counterpart(create, translate)


def test_what_says_nothing_against_an_endpoint_is_listed() -> None:
    page = (DOCS / "endpoints.md").read_text()
    (listed,) = re.findall(r"\. ((?:`\w+`(?:, | and )?)+) say nothing against", page)
    excused = []
    for code in get_args(ErrorCode):
        cool_down = CoolDown(30.0, clock=lambda: 1.0)
        cool_down.failed(endpoint_error("", code=code))
        if cool_down.is_over:
            excused.append(code)
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(excused)
