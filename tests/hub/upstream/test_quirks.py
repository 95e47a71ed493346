"""Quirks of real endpoints: each shape gives what was meant by it."""

from __future__ import annotations

from typing import Any

import pytest

from hub.events import Meta
from hub.result import TokenUsage
from hub.testing import sse

from .support import STOP, answer, chunk, events_of, result_of

HI = chunk("Hi")
ROLE = chunk(delta={"role": "assistant", "content": ""})
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
COUNTED = TokenUsage(input_tokens=7, output_tokens=2, total_tokens=9)


async def test_azure_blank_id_and_model_wait_for_the_first_that_are_not() -> None:
    first = {"choices": [], "id": "", "model": "", "created": 0, "prompt_filter_results": [{"prompt_index": 0}]}
    result = await result_of(answer(first, ROLE, HI))
    assert (result.model, result.response_id, result.created) == ("m-1", "chatcmpl-1", 1_795_000_000)


async def test_azure_filter_results_without_a_delta_may_come_after_the_finish_reason() -> None:
    late = chunk(choices=[{"index": 0, "finish_reason": None, "content_filter_offsets": {"check_offset": 1}}])
    result = await result_of(sse(HI, late, STOP, late, chunk(choices=[], usage=USAGE)))
    assert (result.status, result.text, result.usage) == ("completed", "Hi", COUNTED)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([chunk("Hi", usage=None), STOP, chunk(choices=[], usage=USAGE)], COUNTED),
        ([chunk("Hi", usage={**USAGE, "completion_tokens": 1}), chunk("!", usage=USAGE), STOP], COUNTED),
        ([HI, chunk(finish_reason="stop", usage=USAGE, timings={"predicted_n": 2})], COUNTED),
        ([HI, chunk(choices=[], usage=USAGE), STOP, chunk(choices=[], usage=None)], COUNTED),
        ([HI, STOP, chunk(choices=[], usage=USAGE), chunk(choices=[], usage={"traffic_type": "ON_DEMAND"})], COUNTED),
        ([HI, chunk(finish_reason="stop", choice={"usage": {"prompt_tokens": 99}}, usage=USAGE)], COUNTED),
    ],
    ids=["OpenAI", "vLLM continuous", "llama.cpp", "xAI", "Vertex", "in the choice as well"],
)
async def test_usage_is_the_last_that_has_counts_wherever_it_stands(chunks: list[Any], expected: TokenUsage) -> None:
    assert (await result_of(sse(*chunks))).usage == expected


async def test_vertex_usage_without_counts_is_none() -> None:
    result = await result_of(answer(chunk("Hi", usage={}), chunk("!", usage={"traffic_type": "ON_DEMAND"})))
    assert result.usage is not None
    assert result.usage.estimated


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "Hm."},
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm.", "reasoning_content": "Hm."},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]},
        {"content": [{"type": "thinking", "thinking": "Hm."}]},
    ],
    ids=["vLLM since 2026", "DeepSeek", "both", "Mistral", "a text"],
)
async def test_reasoning_is_told_apart_from_the_answer(delta: dict[str, Any]) -> None:
    result = await result_of(answer(chunk(delta=delta), chunk(delta={"content": None, **delta}), HI))
    assert (result.reasoning, result.text) == ("Hm.Hm.", "Hi")


async def test_reasoning_stands_before_the_text_of_its_chunk() -> None:
    both = chunk(delta={"content": "b", "reasoning": "a"})
    kinds = [event.type for event in await events_of([answer(both, both)])]
    assert kinds == ["meta", *["reasoning_delta", "text_delta"] * 2, "usage", "done"]


@pytest.mark.parametrize(
    "delta",
    [
        {"role": "", "content": "Hi"},
        {"role": "assistant", "content": "Hi", "refusal": False},
        {"content": "Hi", "refusal": None, "tool_calls": None, "function_call": None},
        {"content": "Hi", "tool_calls": [], "audio": None},
        {"content": [{"type": "text", "text": "H"}, "i"]},
        {"content": [{"type": "text", "text": "Hi"}, {"type": "image", "text": None}, 7, None]},
        {"content": "Hi", "reasoning": 3, "reasoning_content": {}},
        {"content": "Hi", "function_call": {}},
    ],
    ids=str,
)
async def test_odd_deltas_give_their_text(delta: dict[str, Any]) -> None:
    result = await result_of(answer(chunk(delta=delta), chunk(delta=delta)))
    assert (result.text, result.tool_calls, result.refusal) == ("HiHi", (), "")


@pytest.mark.parametrize(
    "odd",
    [
        chunk(choices=None),
        chunk(choices={}),
        chunk(choices=[None, 7, []]),
        chunk(delta=[]),
        chunk(delta="text"),
        chunk(delta=None),
        chunk(delta={"content": None, "role": None}),
        chunk(delta={"content": 7}),
        chunk(delta={"tool_calls": {}}),
        chunk(delta={"tool_calls": [None, 3]}),
        chunk(finish_reason=7),
        chunk(finish_reason=""),
        chunk(finish_reason="null"),
        chunk(choice={"index": None}),
        chunk(choice={"index": "0"}),
        chunk(choice={"index": -3}),
        chunk(usage=[]),
        chunk(usage="none"),
        {},
    ],
    ids=str,
)
async def test_odd_chunks_say_nothing_and_break_nothing(odd: dict[str, Any]) -> None:
    assert (await result_of(answer(odd, HI, odd, chunk(" there")))).text == "Hi there"


async def test_numbers_beyond_reason_are_no_counts_and_no_times() -> None:
    odd = b'"created":1e999,"usage":{"prompt_tokens":NaN,"completion_tokens":-1,"total_tokens":1e999,"cost":Infinity}'
    body = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}],%b}\n\n' % odd
    result = await result_of(body * 2 + sse(STOP))
    assert (result.text, result.created) == ("HiHi", None)
    assert result.usage is not None
    assert result.usage.estimated


async def test_refusals_are_told_apart() -> None:
    result = await result_of(answer(*[chunk(delta={"refusal": "I can't"})] * 2))
    assert (result.refusal, result.text) == ("I can'tI can't", "")


async def test_a_text_member_as_in_older_completions_is_text() -> None:
    assert (await result_of(answer(chunk(choices=[{"index": 0, "text": "Hi"}])))).text == "Hi"


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ud83d x"])
async def test_half_a_character_becomes_a_replacement_wherever_it_stands(half: str) -> None:
    body = b'data: {"id":"%b","model":"%b","choices":[{"index":0,"delta":{"content":"a%b"}}]}\n\n'
    result = await result_of(body.replace(b"%b", half.encode()) * 2 + sse(STOP))
    assert result.text.startswith("a\ufffd")
    assert "\ufffd" in (result.model or "")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("abort", "other"),
        ("insufficient_system_resource", "other"),
        ("made_up_tomorrow", "other"),
    ],
)
async def test_finish_reasons_are_mapped_and_the_raw_one_kept(raw: str, expected: str) -> None:
    result = await result_of(sse(HI, chunk(finish_reason=raw)))
    assert result.finish_reason == expected
    assert result.raw_finish_reason == (raw if raw != expected else None)


async def test_a_blank_finish_reason_ends_nothing() -> None:
    body = sse(chunk("Hi", finish_reason=""), chunk("!", finish_reason="null"), done=False)
    assert (await result_of(body)).status == "failed"


async def test_vllms_stop_reason_beside_the_finish_reason_is_left_alone() -> None:
    result = await result_of(sse(HI, chunk(finish_reason="stop", choice={"stop_reason": 128_009})))
    assert (result.finish_reason, result.raw_finish_reason) == ("stop", None)


async def test_a_failed_answer_has_no_finish_reason_of_its_own() -> None:
    calling = chunk(delta={"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}]})
    result = await result_of(sse(calling, done=False))
    assert (result.status, result.finish_reason) == ("failed", None)


async def test_a_model_named_after_the_first_content_comes_too_late() -> None:
    events = await events_of([answer(chunk("Hi", model=""), chunk("!", model="late"))])
    assert [event.model for event in events if isinstance(event, Meta)] == ["asked-for"]
