"""The public names: what `hub` promises, what its modules promise, and what is there."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hub
import sinks

ROOT = Path(hub.__file__).parent


def modules() -> Iterator[str]:
    """Every module of both packages that can be imported here; `__main__` runs when imported."""
    for package in (hub, sinks):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield found.name


MODULES = sorted(modules())


def load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        pytest.skip(f"an extra is not installed: {exc}")


def in_a_new_process(code: str) -> Any:
    """What `code` prints as JSON, run by itself: here every module is loaded long since."""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return json.loads(run.stdout)


WITHOUT_EXTRAS = """
import importlib.abc, json, sys

EXTRAS = {"opentelemetry", "redis", "standardwebhooks", "starlette", "uvicorn", "websockets"}

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""


def test_a_star_import_works_without_any_extra() -> None:
    names = in_a_new_process(f"{WITHOUT_EXTRAS}\nfrom hub import *\nprint(json.dumps(sorted(globals())))")
    assert set(hub.__all__) <= set(names)
    assert "OpenAIClient" in names
    assert hub._HOME.keys() > hub._OF_EXTRAS


@pytest.mark.parametrize(("module", "extra"), [("webhook", "webhook"), ("websocket", "server"), ("redis", "redis")])
def test_a_sink_whose_packages_are_missing_names_the_extra(module: str, extra: str) -> None:
    code = (
        f"{WITHOUT_EXTRAS}\nfrom hub import MissingExtraError\n"
        f"try:\n    import sinks.{module}\nexcept MissingExtraError as exc:\n    print(json.dumps(exc.extra))"
    )
    assert in_a_new_process(code) == extra


@pytest.mark.parametrize("name", sorted(hub._HOME))
def test_a_public_name_loads_from_the_module_that_defines_it(name: str) -> None:
    value = getattr(hub, name)
    assert value is getattr(importlib.import_module(hub._HOME[name]), name)
    assert name in importlib.import_module(hub._HOME[name]).__all__


def test_all_and_dir_list_the_same_names() -> None:
    assert isinstance(hub.__all__, tuple)
    assert list(hub.__all__) == sorted(set(hub.__all__))
    assert set(hub.__all__) <= set(dir(hub))
    assert set(hub._HOME) == {*hub.__all__, *hub._OF_EXTRAS}


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "without `as`, a type checker takes it for private"
            seen[alias.name] = node.module
    assert seen == hub._HOME


def test_an_unknown_name_is_refused_as_anywhere() -> None:
    with pytest.raises(AttributeError, match="module 'hub' has no attribute 'Song'"):
        hub.Song  # noqa: B018
    with pytest.raises(ImportError):
        from hub import Song  # noqa: F401


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("hub", "sinks")])
def test_a_module_s_all_is_a_tuple_and_true(name: str) -> None:
    module = load(name)
    assert module.__doc__, f"{name} says nothing about itself"
    if not hasattr(module, "__all__"):
        own = [value for value in vars(module).values() if getattr(value, "__module__", None) == name]
        assert own == [], f"{name} defines things and has no __all__"
        return
    listed = module.__all__
    assert isinstance(listed, tuple)
    assert len(listed) == len(set(listed))
    assert [missing for missing in listed if not hasattr(module, missing)] == []
    assert [private for private in listed if private.startswith("_")] == []


def test_importing_hub_loads_neither_the_sdk_nor_a_server_nor_even_the_events() -> None:
    loaded = in_a_new_process("import hub, json, sys; print(json.dumps(sorted(sys.modules)))")
    for heavy in ("openai", "pydantic", "msgspec", "starlette", "uvicorn", "aiohttp", "asyncio", "hub.events"):
        assert heavy not in loaded


def test_the_core_works_without_the_sdk() -> None:
    loaded = in_a_new_process(
        "import json, sys\n"
        "from hub import Coalesce, FanOut, Hub, MemoryStreamStore, decode_event, fold, pump\n"
        "import sinks.memory, sinks.sse\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    for heavy in ("openai", "starlette", "uvicorn", "aiohttp"):
        assert heavy not in loaded


def test_a_nearby_env_file_is_loaded_and_overrides_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLM_MODEL=from-file\nLLM_BASE_URL=http://from-file/v1\n")
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT.parent)!r}); os.chdir({str(tmp_path)!r})\n"
        "os.environ['LLM_MODEL'] = 'from-environment'; os.environ.pop('LLM_BASE_URL', None)\n"
        "os.environ.pop('HUB_NO_DOTENV', None) if {load} else os.environ.update(HUB_NO_DOTENV='1')\n"
        "import hub, json; print(json.dumps([os.environ['LLM_MODEL'], os.environ.get('LLM_BASE_URL')]))"
    )
    assert in_a_new_process(code.format(load=True)) == ["from-environment", "http://from-file/v1"]
    assert in_a_new_process(code.format(load=False)) == ["from-environment", None]
