"""Keys: the same everywhere and for ever, and different where answers may differ."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date
from enum import Enum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionMessage
from pydantic import BaseModel

from hub.cache.keys import UNHASHED, cache_key, request_digest
from hub.errors import InvalidRequestError

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def digest(**params: Any) -> str:
    return request_digest({"model": "m", "messages": HELLO, **params})


# A key that changed would make every stored answer a miss: these stand for ever, or the version in the digest changes.
GOLDEN: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({"model": "gpt-5.1", "messages": HELLO}, "chat"),
    "everything": (
        {
            "model": "gpt-5.1",
            "messages": [{"role": "system", "content": "Sei höflich. 😀"}, *HELLO],
            "tools": [WEATHER],
            "response_format": {"type": "json_object"},
            "temperature": 0.7,
            "top_p": 1.0,
            "seed": 12345678901234567890,
            "logit_bias": {"50256": -100},
            "stop": ["\n", "\x00"],
            "extra_body": {"top_k": 40, "min_p": 1e-7},
        },
        "chat",
    ),
    "responses": ({"model": "gpt-5.1", "input": "Hello", "reasoning": {"effort": "low"}}, "responses"),
    "bytes": ({"model": "m", "input": [{"type": "input_image", "data": b"\x89PNG\x00"}]}, "responses"),
}
GOLDEN_DIGESTS = {
    "plain": "6f0bf27a692ffde5f4acde956c41ca0bc3f44d0c049e825d149549c6e56338e6",
    "everything": "95c0db3dac0735db249759ce67eab1370b3329a269e3b9fbcd5e63885c85b970",
    "responses": "44bd24f80d6046b2e74c17c383b260ce9714879b7474676da9cdd9aba77d5bd0",
    "bytes": "b248e9e7bc82284375d903b98a30a4f22c102fe1ded1bc00036f34b76fe582c3",
}
GOLDEN_KEY = "8d91feb2d37126a7d31846fa1b86ddffb7df9bdc1c84553605a6eaeddfd21433"


@pytest.mark.parametrize("name", GOLDEN)
def test_the_digest_of_a_request_never_changes(name: str) -> None:
    params, api = GOLDEN[name]
    assert request_digest(params, api=api) == GOLDEN_DIGESTS[name]


def test_the_key_of_an_identifier_never_changes() -> None:
    assert cache_key("x", endpoint="e") == GOLDEN_KEY


def test_the_digest_is_the_same_in_another_process() -> None:
    code = "from hub.cache.keys import request_digest\n" + "\n".join(
        f"print(request_digest({params!r}, api={api!r}))" for params, api in GOLDEN.values()
    )
    told = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1", "LC_ALL": "C"},
    )
    assert told.stdout.split() == list(GOLDEN_DIGESTS.values())


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.5},
        {"temperature": 0},
        {"max_tokens": 5},
        {"model": "n"},
        {"tools": [WEATHER]},
        {"tools": []},
        {"response_format": {"type": "json_object"}},
        {"n": 2},
        {"n": True},
        {"seed": 1},
        {"messages": [{"role": "user", "content": "Hello "}]},
        {"messages": [{"role": "user", "content": "hello"}]},
        {"messages": [{"role": "user", "content": ["Hello"]}]},
        {"messages": [*HELLO, *HELLO]},
        {"messages": []},
        {"extra_body": {"top_k": 1}},
        {"extra_query": {"version": "1"}},
        {"previous_response_id": "resp_1"},
    ],
    ids=str,
)
def test_what_matters_to_the_answer_is_in_the_digest(params: dict[str, Any]) -> None:
    assert digest(**params) != digest()


def test_all_of_these_differ_from_one_another() -> None:
    values: list[Any] = [0, 1, 2, 0.1, True, False, "1", "true", "", [], {}, [1], ["1"], [[1]], [1, 1], {"1": 1}, b"1"]
    assert len({digest(value=value) for value in values}) == len(values)


@pytest.mark.parametrize("name", sorted(UNHASHED))
def test_what_says_nothing_about_the_answer_is_not_in_the_digest(name: str) -> None:
    assert digest(**{name: object()}) == digest()
    assert digest(extra_body={name: "x"}) == digest()


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    x: int
    y: int | None = None


class Struct(msgspec.Struct):
    x: int


@dataclass
class Data:
    x: int


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (1.0, 1),
        (-0.0, 0),
        (1e15, 10**15),
        ((1, 2), [1, 2]),
        (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Colour.RED, "red"),
        (Point(x=1), {"x": 1}),
        (Struct(x=1), {"x": 1}),
        (Data(x=1), {"x": 1}),
        ({3, 1, 2}, {2, 3, 1}),
        (bytearray(b"a"), b"a"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2026, 11, 21), "2026-11-21"),
        (ChatCompletionMessage(role="assistant", content="a"), {"role": "assistant", "content": "a"}),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_same_said_in_another_way_is_the_same(value: Any, same: Any) -> None:
    assert digest(value=value) == digest(value=same)


@pytest.mark.parametrize("value", [None, openai.NOT_GIVEN, openai.omit])
def test_a_parameter_that_is_not_given_says_nothing(value: Any) -> None:
    assert digest(top_p=value) == digest()


def test_extra_body_counts_as_what_is_sent() -> None:
    assert digest(extra_body={"top_k": 1}) == digest(top_k=1)
    assert digest(extra_body={"model": "n"}) == digest(model="n")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, object(), Point, {1: 2}])
def test_what_has_no_json_has_no_digest(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match="value"):
        digest(value=[value])


def test_a_request_that_contains_itself_has_no_digest() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidRequestError, match="contains itself"):
        digest(value=loop)


def test_half_a_character_has_a_digest() -> None:
    assert digest(value="\ud83d") != digest(value="\ude00")


def test_the_parts_of_a_key_do_not_run_into_each_other() -> None:
    keys = {
        cache_key("ab", endpoint="c", namespace="d"),
        cache_key("a", endpoint="bc", namespace="d"),
        cache_key("ab", endpoint="cd"),
        cache_key("ab", endpoint="", namespace="cd"),
        cache_key('","', endpoint="", namespace=""),
        cache_key("", endpoint='","', namespace=""),
    }
    assert len(keys) == 6
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


def test_a_slash_at_the_end_of_an_endpoint_makes_no_difference() -> None:
    assert cache_key("a", endpoint="https://x/v1/") == cache_key("a", endpoint="https://x/v1")


def test_a_name_that_reads_like_a_digest_is_not_taken_for_it() -> None:
    assert cache_key("a" * 64, endpoint="e") != cache_key("a" * 64, endpoint="e", kind="digest")
