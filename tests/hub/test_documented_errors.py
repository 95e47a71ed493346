"""docs/errors.md is true: its tree is that of the classes, its table that of the codes and of what becomes of them."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
from starlette.requests import Request

import hub
from hub import errors
from hub.errors import ERROR_CODES, EndpointError, HubError, endpoint_error
from hub.server.problem import HANDLERS
from hub.upstream.failures import from_payload
from hub.upstream.retry import RetryPolicy

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()

Tree = dict[str, str | None]


def tree(text: str) -> Tree:
    """Each class that is drawn, and the one it hangs on."""
    parents: Tree = {}
    path: list[str] = []
    for match in re.finditer(r"^((?:[│ ] {3})*(?:[├└]── )?)(Exception|\w+Error)\b", dedent(text), re.MULTILINE):
        depth, name = len(match[1]) // 4, match[2]
        del path[depth:]
        parents[name] = path[-1] if path else None
        path.append(name)
    return parents


def classes() -> Tree:
    """Each exception that hub.errors has, and its first base."""
    found: Tree = {"Exception": None, "RuntimeError": "Exception"}
    for name in errors.__all__:
        if isinstance(cls := getattr(errors, name), type):
            found[name] = cls.__base__.__name__ if cls.__base__ else None
    return found


def rows() -> dict[str, list[str]]:
    """The table of the codes: of each code, the other cells."""
    section = PAGE.partition("\n## Codes\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


ROWS = rows()


def test_the_page_draws_every_exception_where_it_stands() -> None:
    assert tree(PAGE.partition("```text\n")[2].partition("```")[0]) == classes()


def test_the_docstring_draws_the_same_tree() -> None:
    drawn = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    assert tree(drawn) == classes()


def test_every_exception_can_be_had_from_the_package() -> None:
    assert {name for name in classes() if name not in ("Exception", "RuntimeError")} <= set(hub.__all__)


def test_every_code_is_listed_in_its_order() -> None:
    assert list(ROWS) == list(ERROR_CODES)


@pytest.mark.parametrize("code", ERROR_CODES)
def test_a_code_is_raised_as_the_class_that_is_listed(code: errors.ErrorCode) -> None:
    assert ROWS[code][5] == f"`{type(endpoint_error('', code=code)).__name__}`"


@pytest.mark.parametrize("code", ERROR_CODES)
def test_a_code_is_tried_again_where_the_table_says_so(code: errors.ErrorCode) -> None:
    delay = RetryPolicy().delay(endpoint_error("", code=code, retryable=True), 1, 0.5)
    assert (ROWS[code][3] != "no") == (delay is not None)
    assert RetryPolicy().delay(endpoint_error("", code=code), 1, 0.5) is None


@pytest.mark.parametrize("code", ERROR_CODES)
def test_a_status_leads_to_the_code_that_it_is_listed_at(code: errors.ErrorCode) -> None:
    for status in re.findall(r"\b\d{3}\b", ROWS[code][0]):
        assert from_payload(None, status=int(status)).code == code
    for first in re.findall(r"\b(\d)xx\b", ROWS[code][0]):
        assert from_payload(None, status=int(first) * 100 + 18).code == code


async def test_an_exception_has_the_status_that_the_page_gives_it() -> None:
    section = PAGE.partition("\n## Over the hub's HTTP API\n")[2]
    listed = {name: int(status) for name, status in re.findall(r"`(\w+Error)`(?: becomes)?\s(\d{3})", section)}
    assert listed
    for name, cls in vars(errors).items():
        # Those with arguments of their own are made without: only their class decides.
        if isinstance(cls, type) and issubclass(cls, HubError) and not issubclass(cls, EndpointError):
            exc = cls.__new__(cls)
            if isinstance(exc, errors.HubBusyError):
                exc.retry_after = 1.0
            response = await HANDLERS[HubError](Request({"type": "http"}), exc)
            assert response.status_code == listed.get(name, 500), name
