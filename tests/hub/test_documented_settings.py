"""docs/configuration.md is true: names, order, types, units and defaults are those of the code."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from itertools import dropwhile, takewhile
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le
from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo

from hub import Fallback, LLMClient, OpenAIClient, RetryPolicy, Timeouts
from hub.cache.opening import CacheOptions
from hub.config import Settings
from hub.models.profile import ModelProfile

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()

UNITS = {
    "timeout": "s",
    "delay": "s",
    "interval": "s",
    "ttl": "s",
    "backoff": "s",
    "bytes": "bytes",
    "tokens": "tokens",
}
"""Units of what ends in these words, by the names that the project gives."""

Row = tuple[str, str, str]


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, row by row."""
    below = PAGE.partition(f"\n## {heading}\n")[2].splitlines()
    rows = takewhile(lambda line: line.startswith("|"), dropwhile(lambda line: not line.startswith("|"), below))
    return [[cell.strip() for cell in row.strip()[1:-1].split("|")] for row in list(rows)[2:]]


def listed(heading: str) -> list[Row]:
    """Name, type and default of each row."""
    return [(row[0].replace("`", ""), row[1].replace("`", ""), row[3]) for row in table(heading)]


# The environment


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Each field of the settings, by its variable."""
    for section in Settings.model_fields.values():
        model = section.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for field in model.model_fields.values():
            alias = field.validation_alias
            yield (", ".join(map(str, alias.choices)) if isinstance(alias, AliasChoices) else str(alias)), field


def kind(field: FieldInfo) -> str:
    """The type of a variable, with its bounds."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not NoneType)
    if get_origin(annotation) is Literal:
        return " or ".join(get_args(annotation))
    names: dict[Any, str] = {str: "text", SecretStr: "secret", int: "int", float: "float", bool: "bool"}
    found = {type(each): each for each in field.metadata}
    match found.get(Ge), found.get(Gt), found.get(Le):
        case Ge(ge=low), None, Le(le=high):
            bounds = f" {low} to {high}"
        case Ge(ge=low), None, None:
            bounds = f" from {low}"
        case None, Gt(gt=low), Le(le=high):
            bounds = f" above {low}, to {high}"
        case None, Gt(gt=low), None:
            bounds = f" above {low}"
        case _:
            bounds = ""
    return f"{names[annotation]}{bounds}"


def written(default: Any) -> str:
    """The default as the page has it."""
    match default:
        case None:
            return "none"
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case _:
            return str(default)


def test_every_variable_is_listed_with_its_type_bounds_and_default() -> None:
    assert listed("Environment") == [(name, kind(field), written(field.default)) for name, field in fields()]


def test_every_variable_that_the_package_names_is_on_the_page() -> None:
    named = set()
    for file in (*(ROOT / "hub").rglob("*.py"), *(ROOT / "sinks").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= set(re.findall(r"^(?:HUB|LLM|OPENAI|OTEL|PUSHER|REDIS|WEBHOOK)_[A-Z_]+$", node.value))
    assert {"HUB_NO_DOTENV", "PUSHER_SCHEME", "REDIS_URL", "WEBHOOK_SECRET"} <= named
    assert named <= set(re.findall(r"`(\w+)`", PAGE))


# Arguments


def typed(annotation: str, *, default: Any) -> str:
    text = annotation.removesuffix(" | None") if default is None else annotation
    return text.replace(" | ", " or ")


def arguments(function: Callable[..., Any]) -> list[Row]:
    """Name, type and default of each argument."""
    rows = []
    for each in inspect.signature(function).parameters.values():
        if each.name == "self":
            continue
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            rows.append((f"**{each.name}", typed(each.annotation, default=...), ""))
        else:
            default = "required" if each.default is inspect.Parameter.empty else repr(each.default)
            rows.append((each.name, typed(each.annotation, default=each.default), default))
    return rows


@pytest.mark.parametrize(
    ("heading", "function"),
    [
        ("`OpenAIClient`", OpenAIClient.__init__),
        ("`LLMClient`", LLMClient.__init__),
        ("`stream`", OpenAIClient.stream),
        ("`invoke`", OpenAIClient.invoke),
        ("`get_response`", OpenAIClient.get_response),
        ("`embedding`", OpenAIClient.embedding),
    ],
)
def test_every_argument_is_listed_with_its_type_and_default(heading: str, function: Callable[..., Any]) -> None:
    assert listed(heading) == arguments(function)


@pytest.mark.parametrize("cls", [Timeouts, RetryPolicy, Fallback])
def test_every_field_is_listed_with_its_type_and_default(cls: Any) -> None:
    fields = [
        (each.name, typed(str(each.type), default=each.default), repr(each.default)) for each in dataclasses.fields(cls)
    ]
    assert listed(f"`{cls.__name__}`") == fields


def test_every_option_of_the_caches_is_listed() -> None:
    section = PAGE.partition("## `CacheOptions`")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(CacheOptions.__annotations__)


def test_every_unit_is_that_of_the_name() -> None:
    headings = re.findall(r"^## (.+)\n(?:\n[^#|].*)*\n*\| (?:variable|argument|field) \| type", PAGE, re.MULTILINE)
    assert len(headings) == 10
    for heading in headings:
        for name, _, unit, *_ in table(heading):
            last = name.strip("`*").lower().rpartition("_")[2]
            assert unit == UNITS.get(last, unit), name


# The two clients


def test_a_client_of_a_server_of_ones_own_has_the_defaults_that_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _ in fields():
        monkeypatch.delenv(name, raising=False)
    client = LLMClient()
    has = {
        "base_url": client.base_url,
        "api_key": client.client.api_key,
        "model": client.model,
        "max_tokens": str(client.max_tokens),
        "temperature": str(client.temperature),
    }
    cells = {row[1].strip("`"): re.findall(r"else `([^`]+)`", row[3]) for row in table("The two clients")}
    assert cells == {name: [value] for name, value in has.items()}
    assert OpenAIClient("m", api_key="k").base_url in PAGE


@pytest.mark.parametrize(
    ("passed", "sent"),
    [
        ({}, "key-of-openai"),
        ({"base_url": "https://own.example/v1"}, "key-of-llm"),
        ({"base_url": "https://other.example/v1"}, "key-of-openai"),
        ({"base_url": "https://other.example/v1", "api_key": "its-own"}, "its-own"),
    ],
)
def test_a_key_goes_where_the_page_says(passed: dict[str, Any], sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    monkeypatch.setenv("LLM_BASE_URL", "https://own.example/v1")
    monkeypatch.setenv("LLM_API_KEY", "key-of-llm")
    given = {"base_url": "https://api.openai.com/v1"} | passed
    assert OpenAIClient(ModelProfile(model_name="m"), **given).client.api_key == sent
