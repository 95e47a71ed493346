"""The names of hub.testing: one table, one block for type checkers, and what is there."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hub.testing


@pytest.mark.parametrize("name", hub.testing.__all__)
def test_a_name_loads_from_the_module_that_defines_it(name: str) -> None:
    module = import_module(hub.testing._HOME[name])
    assert getattr(hub.testing, name) is getattr(module, name)
    assert name in module.__all__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(hub.testing.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == hub.testing._HOME
    assert set(hub.testing.__all__) <= set(dir(hub.testing))


def test_no_name_is_a_module_s() -> None:
    folder = Path(hub.testing.__file__).parent
    assert not set(hub.testing.__all__) & {path.stem for path in folder.glob("*.py")}


def test_an_unknown_name_is_refused_as_anywhere() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Song'"):
        hub.testing.Song  # noqa: B018


def test_the_endpoint_alone_loads_neither_the_sdk_nor_an_http_client() -> None:
    code = "import json, sys; from hub.testing import EchoHandler, ScriptedEndpoint; print(json.dumps([*sys.modules]))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert not {"openai", "httpx2", "aiohttp", "hub.client"} & set(json.loads(run.stdout))
