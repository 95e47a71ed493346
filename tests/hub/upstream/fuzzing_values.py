"""What damage puts into bodies: bytes, JSON in text, values, and the keys and types that the decoders know."""

from __future__ import annotations

from typing import Any

__all__ = ("BYTES", "COUNTS", "HOSTILE", "KEYS", "MARK", "TOKENS", "TYPES", "VALUES")

MARK = "@@"
"""A string in whose place one of `TOKENS` is written."""

BYTES = [
    *(
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\n\r",
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\xbd",
        b"\xe2\x80\xa8",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"\xf0\x9f",
        b"\xfe\xff",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b",",
        b" ",
        b"<",
    ),
    *(
        b"data: ",
        b"data:",
        b"data\n",
        b"data:[DONE]\n\n",
        b"data: [DONE]\r\n\r\n",
        b"event: error\n",
        b"event:",
        b"id\n",
    ),
    *(b"error: x\n\n", b"error:\n\n", b": comment\n\n", b":\n", b"id: 1\nretry: 1\n", b"event: response.completed\n"),
    *(
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-0",
        b"0.0e-0",
        b'"\\ud83d"',
        b'"\\udc00\\ud83d"',
        b"\\u0000",
    ),
    *(b"[" * 3_000, b'{"a":' * 1_100, b"9" * 5_000, b'data: {"error":{"code":503}}\n\n', b'{"choices":[]}'),
]

TOKENS = [
    *("1e999", "-1e999", "1e-999", "-0", "9" * 400, "9" * 4_301, "0.1" + "0" * 1_000, "1E400", "NaN", "-Infinity"),
    *(
        '"\\ud83d"',
        '"\\ude00\\ud83d"',
        '"a\\u0000b"',
        "[" * 90 + "]" * 90,
        "[" * 3_000 + "]" * 3_000,
    ),
    *(
        '{"a":' * 110 + "1" + "}" * 110,
        '{"a":' * 3_000 + "1" + "}" * 3_000,
        '{"a":1,"a":2}',
        "18446744073709551616",
        "-9223372036854775809",
    ),
]
"""JSON that a value can't stand for: written in its place as it is."""

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 127, 128, 129, 1.5, -0.0, 2**31, 2**53, 2**63, 2**64, 2**70, -(2**70), 1e308),
    *(
        "",
        " ",
        "x",
        "0",
        "1",
        "error",
        "stop",
        "null",
        "[DONE]",
        "\u2028",
        "a\x00b",
        "\ud800",
        "\ufeff",
        "\r\n\n",
        "{",
        "}",
    ),
    *("{}", '{"a":1}', "tool_calls", "function_call", "message", "reasoning", "content_filter", "completed", "failed"),
    *("AACAPw==", "AACAfw==", "AAAAAAAA", "====", "sk-aaaaaaaaaaaaaaaaaaaa", "https://a:b@c/", "x" * 5_000),
    *([], {}, [None], [[]], [{}], {"": None}, {"error": {"code": 429}}, [{"index": 10**9, "delta": {"content": "x"}}]),
    *({"content": "x"}, {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, [0.5, 1, None], [1e39]),
    *({"type": "function_call", "name": "f", "arguments": "{"}, {"type": "reasoning", "encrypted_content": "e"}),
]

COUNTS: list[Any] = [-1, 0, 1.5, 2**53, 2**53 - 1, 2**64, 1e18, 1e308, "1", True, None, [], {}, MARK]
_NUMBERS: list[Any] = [-1, 1, 2, 127, 128, 10**9, 2**64, 1.0, 1e18, "0", True, None, [], MARK]
_NAMES: list[Any] = ["", " ", "a", "call_0_str_1", "a\x00", "\ud800", "x" * 70_000, 0, 7, True, None, [], {}, MARK]
_TEXTS: list[Any] = [
    "",
    "x",
    "\ud83d",
    "\x00",
    "{",
    "}",
    '{"a":1}',
    0,
    True,
    None,
    [],
    {},
    ["a", {"text": "b"}],
    {"a": 1},
    MARK,
]
_USAGE: list[Any] = [[], "x", {}, {"prompt_tokens": 2**53}, {"input_tokens": 1e18, "output_tokens": 1}, MARK]

HOSTILE: dict[str, list[Any]] = {
    **dict.fromkeys(("index", "output_index", "content_index", "summary_index"), _NUMBERS),
    **dict.fromkeys(("created", "created_at", "cost"), COUNTS),
    **dict.fromkeys(("id", "item_id", "call_id", "name", "model", "type", "object", "status"), _NAMES),
    **dict.fromkeys(("content", "text", "refusal", "reasoning", "reasoning_content", "delta", "arguments"), _TEXTS),
    **dict.fromkeys(("extra_content", "caller", "namespace", "encrypted_content", "error", "summary", "item"), _TEXTS),
    "usage": _USAGE,
    "finish_reason": ["stop", "error", "null", "", "STOP", "x" * 9_000, 0, True, [], MARK],
    "embedding": [[], [None], [1e39], [2**70], ["1"], [[1, 2]], "AACAfw==", "AAAA", "", MARK, {"float": MARK}],
}
"""What may stand under a key that the decoders know; keys whose names end in `_tokens` hold counts."""

_KEYS = """
    choices delta message index content role finish_reason tool_calls function name id arguments function_call
    refusal reasoning reasoning_content usage error code status type prompt_tokens completion_tokens input_tokens
    output_tokens total_tokens cost object model created created_at text thinking detail response output item
    item_id output_index content_index summary_index summary call_id encrypted_content incomplete_details reason
    input namespace caller extra_content data embedding embeddings float base64 values vector prompt_tokens_details
    cached_tokens completion_tokens_details reasoning_tokens
"""
KEYS = [*_KEYS.split(), "", "a\x00", "\ud800"]

_TYPES = """
    response.created response.completed response.failed response.incomplete response.cancelled error
    response.output_item.added response.output_item.done response.output_text.delta response.output_text.done
    response.refusal.delta response.reasoning_text.delta response.reasoning_summary_text.done
    response.function_call_arguments.delta response.custom_tool_call_input.done response. response .
"""
TYPES = _TYPES.split()
