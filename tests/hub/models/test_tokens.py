"""Token counts: exact, estimated, and which is which."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hub.errors import InvalidRequestError
from hub.models.tokens import TokenCount, count_tokens, estimate_input_tokens, estimate_tokens

pytest.importorskip("rs_bpe", reason="no vocabularies for this platform")

O200K = "o200k_base"

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


def exact(text: str, encoding: str = O200K) -> int:
    count = count_tokens(text, encoding=encoding)
    assert not count.estimated
    return count


# From tiktoken 0.14, 2026-11-21.
@pytest.mark.parametrize(
    ("text", "o200k", "cl100k"),
    [
        ("", 0, 0),
        ("hello world", 2, 2),
        ("tiktoken is great!", 6, 6),
        ("antidisestablishmentarianism", 6, 6),
        ("Größe und Maß, für 12345 Stück", 10, 12),
        ("お誕生日おめでとう", 8, 9),
        ("def f(x):\n    return x  # ok\n", 11, 11),
        ("🙂🙃", 3, 5),
    ],
)
def test_texts_are_counted_as_tiktoken_does(text: str, o200k: int, cl100k: int) -> None:
    assert (exact(text), exact(text, "cl100k_base")) == (o200k, cl100k)


def test_names_of_special_tokens_are_text() -> None:
    assert exact("<|endoftext|>") == 7
    assert exact("<|im_start|>system<|im_end|>") > 7


def test_half_a_surrogate_pair_counts_as_the_replacement_character() -> None:
    assert exact("a \ud800 b") == exact("a \ufffd b")


def test_a_long_text_without_spaces_counts_as_its_parts() -> None:
    assert exact("a" * 1_000_000) == 100 * exact("a" * 10_000)
    assert exact("字" * 100_000) == 10 * exact("字" * 10_000)


def test_threads_count_the_same() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 200
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(exact, [text] * 64))) == 1


@pytest.mark.parametrize("encoding", [None, "", "o200k_harmony"])
def test_without_a_vocabulary_a_count_is_an_estimate_and_says_so(encoding: str | None) -> None:
    count = count_tokens("x" * 400, encoding=encoding)
    assert (count, count.estimated) == (100, True)


def test_without_the_package_a_count_is_an_estimate_and_says_so() -> None:
    script = (
        "import json, sys; sys.modules['rs_bpe'] = None\n"
        "from hub.models.tokens import count_tokens\n"
        "count = count_tokens('x' * 400, encoding='o200k_base'); print(json.dumps([count, count.estimated]))"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(run.stdout) == [100, True]


def test_a_message_costs_its_texts_and_what_surrounds_them() -> None:
    count = count_tokens({"role": "user", "content": "hello world"}, encoding=O200K)
    assert (count, count.estimated) == (2 + 4 + 3, True)
    named = count_tokens([{"role": "user", "name": "Ann", "content": "hello world"}], encoding=O200K)
    assert named == count + exact("Ann") + 1


def test_messages_of_both_apis_count_the_same() -> None:
    chat = [{"role": "user", "content": [{"type": "text", "text": "hello world"}]}]
    responses = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello world"}]}]
    assert count_tokens(chat, encoding=O200K) == count_tokens(responses, encoding=O200K) == 9


def test_tool_calls_and_their_outputs_are_counted() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": '{"place":"Oslo"}'}
    output = {"type": "function_call_output", "call_id": "c", "output": "rain"}
    for part in ('{"place":"Oslo"}', "rain"):
        without = [{key: "" if value == part else value for key, value in each.items()} for each in (call, output)]
        assert count_tokens([call, output], encoding=O200K) == count_tokens(without, encoding=O200K) + exact(part)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}},
        {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 10_000},
        {"type": "input_audio", "input_audio": {"data": "A" * 10_000, "format": "wav"}},
        {"type": "input_file", "file_data": "A" * 10_000},
        {"type": "reasoning", "encrypted_content": "A" * 10_000},
    ],
    ids=lambda part: part["type"],
)
@pytest.mark.parametrize("encoding", [None, O200K])
def test_what_is_sent_as_base64_is_not_counted_as_text(part: dict[str, Any], encoding: str | None) -> None:
    assert count_tokens([{"role": "user", "content": [part]}], encoding=encoding) < 10


def test_a_list_of_texts_is_their_sum_and_exact() -> None:
    count = count_tokens(["hello world", "tiktoken is great!"], encoding=O200K)
    assert (count, count.estimated) == (8, False)
    assert count_tokens([], encoding=O200K) == 0


def test_tools_are_counted_and_make_the_count_an_estimate() -> None:
    count = count_tokens("hello world", [TOOL], encoding=O200K)
    assert count.estimated
    assert 2 + 30 < count < 2 + 70
    flat = {"type": "function", **TOOL["function"]}  # type: ignore[dict-item]
    assert count_tokens("hello world", [flat], encoding=O200K) == count
    assert count_tokens("hello world", [TOOL]) > count_tokens("hello world")


@pytest.mark.parametrize("odd", [None, 7, b"text", [None], [[1, 2]], {1, 2}], ids=repr)
def test_what_is_neither_text_nor_message_is_refused(odd: Any) -> None:
    with pytest.raises(InvalidRequestError, match="count_tokens takes a text"):
        count_tokens(odd)


def test_a_count_is_a_number_that_keeps_what_it_knows() -> None:
    count = pickle.loads(pickle.dumps(TokenCount(7, estimated=True)))
    assert (count + 1, count.estimated, json.dumps(count)) == (8, True, "7")


def test_estimates_go_by_bytes() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "aaaa", "aaaaa", "字字")] == [0, 1, 1, 2, 2]
    assert estimate_input_tokens([{"role": "user", "content": "a" * 40}]) == 14
    assert estimate_input_tokens([], [TOOL]) > 0
