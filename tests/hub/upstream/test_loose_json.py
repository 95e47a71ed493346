"""JSON that is none to the letter, and how much of it is read."""

from __future__ import annotations

import math

import pytest

from hub.upstream.wire.loose_json import decode_json


def test_what_other_readers_take_is_read() -> None:
    value = decode_json(b'{"a": [NaN, 1e999], "\\ud83d": "x\\ude00", "b": "\\ud83d\\ude00"}')
    assert math.isnan(value["a"][0])
    assert (value["a"][1], value["\ufffd"], value["b"]) == (math.inf, "x\ufffd", "\U0001f600")


def test_a_long_text_must_be_json_to_the_letter() -> None:
    padding = b'"' + b"x" * 1_000_000 + b'"'
    assert decode_json(b"[NaN," + padding[:900_000] + b'"]')[1] == "x" * 899_999
    assert decode_json(b"[1," + padding + b"]")[0] == 1
    with pytest.raises(ValueError, match="could be read"):
        decode_json(b"[NaN," + padding + b"]")


def test_a_long_text_of_nothing_but_brackets_is_not_read() -> None:
    with pytest.raises(ValueError, match="too many"):
        decode_json(b"[" + b"{}," * 1_000_000 + b"{}]")
