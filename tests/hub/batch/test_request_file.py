"""Files of requests: every line that is none is named, and what is right is taken whatever wrote it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hub import ModelProfile
from hub.batch.request_file import RequestFile
from hub.errors import InvalidRequestError


class Asked(ModelProfile):
    model_name = "asked-for-request-files"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.jsonl"


def line(custom_id: str | None, content: str = "Hello") -> bytes:
    request: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
    return json.dumps(request if custom_id is None else {"custom_id": custom_id, **request}).encode() + b"\n"


def requests(path: Path, *lines: bytes) -> RequestFile:
    path.write_bytes(b"".join(lines))
    return RequestFile(path, Asked())


def test_the_count_grows_with_each_request(path: Path) -> None:
    found = requests(path, line("a"), b"\n", line("b"), line(None))
    assert list(found.check()) == [1, 2, 3]
    assert found.count == 3


def test_a_byte_order_mark_is_passed_over(path: Path) -> None:
    found = requests(path, b"\xef\xbb\xbf", line("a"), line("b"))
    assert list(found.check()) == [1, 2]
    marked = [key for key, _ in found]
    assert marked == [key for key, _ in requests(path, line("a"), line("b"))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"input": "\\ud800"}', "half a character"),
        (b'{"input": "\\ud800x"}', "half a character"),
        (b'{"input": "\xff"}', "no JSON"),
        (b'{"input": ', "no JSON"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_with_the_reason(text: bytes, words: str, path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=f"line 2: it (is|has) {words}"):
        list(requests(path, line("a"), text + b"\n").check())


def test_a_custom_id_that_was_there_before_is_named_with_its_line(path: Path) -> None:
    found = requests(path, line("a"), line(None), line(None), line("b"), line("a", "Another"))
    with pytest.raises(InvalidRequestError, match="line 5: custom_id 'a' was there before"):
        list(found.check())


def test_a_request_is_called_by_its_line_and_its_custom_id(path: Path) -> None:
    found = requests(path, line("a"), b"\n", line("b"), line(None))
    assert [found.name_of(index) for index in range(4)] == [
        "line 1 (custom_id 'a')",
        "line 3 (custom_id 'b')",
        "line 4",
        "request 3",
    ]


def test_what_can_be_read_only_once_is_no_input() -> None:
    with pytest.raises(InvalidRequestError, match="no ordinary file"):
        list(RequestFile(Path(os.devnull), Asked()).check())
