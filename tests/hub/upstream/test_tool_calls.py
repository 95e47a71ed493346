"""Tool calls as endpoints stream them, brought into one order."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hub.events import ToolCallDelta
from hub.testing import sse
from hub.upstream.wire.chat import ChatDecoder
from hub.upstream.wire.tool_calls import ToolCallAssembler

from .support import STOP, answer, call, calls, chunk, events_of, result_of


async def made(*chunks: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and arguments of each call of an answer, after the checks that hold for all of them."""
    result = await result_of(answer(*chunks))
    assert result.status == "completed"
    assert result.finish_reason == "tool_calls"
    assert [each.index for each in result.tool_calls] == list(range(len(result.tool_calls)))
    ids = [each.id for each in result.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    return [(each.name, each.arguments) for each in result.tool_calls]


async def test_fragments_of_one_call_are_joined() -> None:
    chunks = [calls(call("", name="f", index=0, id="a", type="function"))]
    chunks += [calls(call(part, index=0)) for part in ('{"x"', ": 1", "}")]
    assert await made(*chunks) == [("f", '{"x": 1}')]


async def test_the_first_delta_of_a_call_has_its_id_and_name_and_no_later_one() -> None:
    body = answer(*[calls(call(part, name="f", index=0, id="a")) for part in ("{", "}", "")])
    deltas = [event for event in await events_of([body]) if isinstance(event, ToolCallDelta)]
    assert [(delta.id, delta.name, delta.arguments) for delta in deltas] == [("a", "f", "{"), (None, None, "}")]


async def test_calls_may_take_turns() -> None:
    starts = [calls(call("", name=name, index=number, id=name)) for number, name in enumerate("fg")]
    turns = [calls(call(part, index=number)) for part in ("{", "}") for number in (1, 0)]
    assert await made(*starts, *turns) == [("f", "{}"), ("g", "{}")]


async def test_two_entries_of_one_index_in_one_chunk_are_one_call() -> None:
    assert await made(calls(call("", name="f", index=0, id="a"), call("{}", index=0))) == [("f", "{}")]


async def test_calls_without_an_index_are_told_apart_by_their_names() -> None:
    assert await made(calls(call('{"x":1}', name="f", id="a"), call('{"x":2}', name="f", id="b"))) == [
        ("f", '{"x":1}'),
        ("f", '{"x":2}'),
    ]


async def test_fragments_without_an_index_belong_to_the_last_call() -> None:
    assert await made(calls(call("{", name="f")), calls(call("}")), calls(call("{}", name="g"))) == [
        ("f", "{}"),
        ("g", "{}"),
    ]


async def test_parallel_calls_that_all_have_index_zero_are_told_apart() -> None:
    assert await made(
        calls(call('{"x":1}', name="f", index=0, id="a")),
        calls(call('{"x":2}', name="f", index=0, id="b")),
        calls(call('{"x":3}', name="g", index=0, id="c")),
    ) == [("f", '{"x":1}'), ("f", '{"x":2}'), ("g", '{"x":3}')]


async def test_parallel_calls_of_index_zero_without_ids_are_told_apart_by_whole_arguments() -> None:
    assert await made(*[calls(call('{"x":1}', name="f", index=0))] * 2) == [("f", '{"x":1}')] * 2


@pytest.mark.parametrize(
    "repeat", [{"name": "f"}, {"name": "f", "id": "a"}, {"name": "", "id": ""}, {"id": "a"}, {}], ids=str
)
async def test_ids_and_names_may_be_repeated_or_blank(repeat: dict[str, Any]) -> None:
    chunks = [calls(call('{"x', name="f", index=0, id="a"))]
    chunks += [calls(call(part, index=0, **repeat)) for part in ('":', '"{', '}"', "}")]
    assert await made(*chunks) == [("f", '{"x":"{}"}')]


async def test_an_id_that_changes_in_mid_call_begins_no_other() -> None:
    assert await made(calls(call("{", name="f", index=0, id="a")), calls(call("}", index=0, id="b"))) == [("f", "{}")]


async def test_a_known_id_beats_the_index() -> None:
    assert await made(
        calls(call("{", name="f", index=0, id="a"), call("{", name="g", index=1, id="b")),
        calls(call("}", index=0, id="b"), call("}", index=1, id="a")),
    ) == [("f", "{}"), ("g", "{}")]


async def test_a_name_may_come_after_the_first_arguments() -> None:
    body = [calls(call('{"x"', index=0)), calls(call(":1", index=0, id="a")), calls(call("}", name="f", index=0))]
    assert await made(*body) == [("f", '{"x":1}')]
    deltas = [event for event in await events_of([answer(*body)]) if isinstance(event, ToolCallDelta)]
    assert [(delta.id, delta.name, delta.arguments) for delta in deltas] == [("a", "f", '{"x":1}')]


async def test_a_call_whose_name_never_comes_is_told_at_the_end() -> None:
    assert await made(calls(call("{}", index=0, id="a"))) == [("", "{}")]


def test_arguments_held_for_a_name_have_a_bound() -> None:
    decoder = ChatDecoder(stream_id="s")
    body = sse(*[calls(call("x" * 100_000, index=0))] * 12, done=False)
    told = [event.arguments for event in decoder.feed(body) if isinstance(event, ToolCallDelta)]
    assert len("".join(told)) == 1_200_000


async def test_ids_are_made_where_the_endpoint_sends_none_and_differ_among_calls() -> None:
    result = await result_of(answer(calls(call("{}", name="f", index=0), call("{}", name="f", index=1))))
    assert len({each.id for each in result.tool_calls}) == 2


@pytest.mark.parametrize("arguments", [{"x": 1}, [], None, 7], ids=str)
async def test_arguments_that_are_json_already_are_written_as_text(arguments: Any) -> None:
    expected = {"{'x': 1}": '{"x":1}', "[]": "[]", "None": "", "7": "7"}[str(arguments)]
    assert await made(calls(call(arguments, name="f", index=0))) == [("f", expected)]


async def test_what_gemini_attaches_to_a_call_is_kept() -> None:
    extra = {"extra_content": {"google": {"thought_signature": "sig"}}}
    body = answer(calls(call("{}", name="f", id="a", **extra)))
    deltas = [event for event in await events_of([body]) if isinstance(event, ToolCallDelta)]
    assert [delta.extra for delta in deltas] == [extra]


@pytest.mark.parametrize("finish", ["stop", None, "tool_calls", "eos"])
async def test_an_answer_with_calls_ended_for_them_whatever_the_endpoint_says(finish: str | None) -> None:
    body = sse(calls(call("{}", name="f", index=0)), chunk(finish_reason=finish))
    assert (await result_of(body)).finish_reason == "tool_calls"


async def test_an_answer_with_calls_that_was_cut_off_says_so() -> None:
    body = sse(calls(call('{"x', name="f", index=0)), chunk(finish_reason="length"))
    assert (await result_of(body)).finish_reason == "length"


async def test_the_older_function_call_is_a_tool_call() -> None:
    parts = [{"name": "f", "arguments": ""}, {"arguments": '{"x"'}, {"arguments": ":1}"}]
    chunks = [chunk(delta={"function_call": part}) for part in parts]
    body = sse(*chunks, chunk(finish_reason="function_call"))
    result = await result_of(body)
    assert [(each.name, each.arguments) for each in result.tool_calls] == [("f", '{"x":1}')]
    assert result.finish_reason == "tool_calls"


async def test_one_call_may_come_without_its_list() -> None:
    assert await made(chunk(delta={"tool_calls": call("{}", name="f", id="a")})) == [("f", "{}")]


async def test_choices_have_their_calls_apart() -> None:
    chunks = [calls(call("{}", name=f"f{number}", index=0), choice={"index": number}) for number in (0, 1)]
    ends = [chunk(choice={"index": number}, finish_reason="stop") for number in (0, 1)]
    result = await result_of(sse(*chunks, *ends), params={"n": 2})
    assert [choice.tool_calls[0].name for choice in result.choices] == ["f0", "f1"]


@pytest.mark.parametrize("index", [-1, 10**30, True, "0", 1.5, None], ids=str)
async def test_odd_indices_number_calls_all_the_same(index: Any) -> None:
    assert await made(calls(call("{", name="f", index=index)), calls(call("}", index=index))) == [("f", "{}")]


@pytest.mark.parametrize("where", ["arguments", "extra"])
async def test_a_call_nested_beyond_reason_is_malformed(where: str) -> None:
    nested: Any = []
    for _ in range(300):
        nested = [nested]
    entry = call(nested, name="f") if where == "arguments" else call("{}", name="f", extra_content=nested)
    result = await result_of(sse(calls(entry), STOP))
    assert (result.error and result.error.code) == "malformed"


@pytest.mark.parametrize("nothing", [{}, [], [{}], None, ""])
async def test_an_empty_list_of_calls_is_no_call(nothing: Any) -> None:
    result = await result_of(answer(chunk("Hi"), chunk(delta={"tool_calls": nothing})))
    assert (result.tool_calls, result.finish_reason) == ((), "stop")


def test_a_name_repeated_after_long_arguments_does_not_have_them_read_each_time() -> None:
    begun = sse(calls(call("[" + "1," * 500_000 + "{}", name="f", index=0, id="a")), done=False)
    further, repeated = (_cpu_seconds(begun, call(part, name="f", index=0)) for part in ("1", "{}"))
    assert repeated < 20 * further  # some hundred times as long, were all of them read


def test_false_alarms_do_not_hide_the_call_that_follows() -> None:
    assembler = ToolCallAssembler("x")
    assembler.add(call('{"code": "', name="f", index=0))
    for _ in range(100):
        assembler.add(call("{}", name="f", index=0))
    assembler.add(call('"}', name="f", index=0))
    part = assembler.add(call("{}", name="f", index=0))
    assert part is not None
    assert (part.index, part.name, part.arguments) == (1, "f", "{}")


def test_arguments_nested_beyond_reason_are_not_whole() -> None:
    assembler = ToolCallAssembler("x")
    assembler.add(call('{"a":' + "[" * 100_000 + "{}", name="f", index=0))
    part = assembler.add(call("{}", name="f", index=0))
    assert part is not None
    assert part.index == 0


async def test_more_calls_in_one_chunk_than_any_answer_has_are_malformed() -> None:
    result = await result_of(answer(calls(*[call("{}", name="f")] * 10_001)))
    assert result.error is not None
    assert result.error.code == "malformed"


def _cpu_seconds(begun: bytes, entry: dict[str, Any]) -> float:
    decoder = ChatDecoder(stream_id="stream_1")
    decoder.feed(begun)
    body = sse(*[calls(entry)] * 1_000, done=False)
    start = time.process_time()
    decoder.feed(body)
    return time.process_time() - start
