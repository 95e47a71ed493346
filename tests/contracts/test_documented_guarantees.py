"""docs/guarantees.md names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def names_of_tests() -> set[str]:
    """The names of all tests."""
    names = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
    return names


def test_every_test_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert named - names_of_tests() == set()


@pytest.mark.parametrize("section", ["To readers", "To writers", "To whoever starts and stops streams"])
def test_every_promise_names_a_test(section: str) -> None:
    promises = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0].split("\n**")[1:]
    assert promises
    for promise in promises:
        assert "`test_" in promise, promise.partition(".")[0]


def test_every_fault_names_a_test() -> None:
    rows = PAGE.partition("## When something breaks\n")[2].partition("\n## ")[0].splitlines()
    faults = [row for row in rows if row.startswith("| ")][2:]
    assert faults
    assert [row for row in faults if "`test_" not in row] == []
