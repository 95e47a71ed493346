"""What docs/sinks-pusher.md shows runs, and the server it describes is the one that the tests have."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from hub.testing import EchoHandler, ScriptedEndpoint

from ..real.soketi import PACKAGE

PAGE = Path(__file__).parents[2] / "docs" / "sinks-pusher.md"


def examples(language: str) -> list[Any]:
    text = PAGE.read_text()
    blocks = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [pytest.param(block[1], id=f"line {text.count(chr(10), 0, block.start()) + 2}") for block in blocks]


@pytest.mark.parametrize("code", examples("python"))
async def test_an_example_runs(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    compiled = compile(code, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with ScriptedEndpoint(handler=EchoHandler(word_delay=0)) as endpoint, asyncio.timeout(10):
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
        running = FunctionType(compiled, {"__name__": "page"})()
        if inspect.isawaitable(running):
            await running


def test_the_server_to_try_is_installed_as_the_tests_install_it() -> None:
    package, config = (json.loads(example.values[0]) for example in examples("json"))
    assert package["overrides"] == PACKAGE["overrides"]
    assert package["dependencies"].items() <= PACKAGE["dependencies"].items()
    hosts = {name: value for name, value in config.items() if name.endswith(("host", "hostname", "address", "unicast"))}
    assert set(hosts.values()) == {"127.0.0.1"}
    assert len(hosts) == 5
