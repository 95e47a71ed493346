"""Filter: some types pass, positions have no holes, and what is held back gets out nowhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.completion import Completion, fold
from hub.errors import ClosedError, ConfigurationError
from hub.events import LLMEvent, ReasoningDelta, Snapshot, TextDelta, ToolCallDelta, ToolResult
from hub.result import TokenUsage
from hub.sink import Coalesce, Filter
from sinks.memory import MemorySink

from ...contracts.samples import STREAM, GatedSink, RandomStream, done, meta, positions, text, usage


def reasoning(seq: int, said: str = "hm", **fields: Any) -> ReasoningDelta:
    return ReasoningDelta(stream_id=STREAM, seq=seq, text=said, **fields)


async def filtered(events: list[LLMEvent], types: Any) -> list[LLMEvent]:
    kept = MemorySink()
    async with Filter(kept, types) as sink:
        for event in events:
            await sink.send(event)
    assert kept.is_closed
    return kept.events


async def test_only_named_types_and_the_frame_of_the_stream_pass() -> None:
    events = [meta(0), reasoning(1), text(2), usage(3), done(4)]
    assert [event.type for event in await filtered(events, ["text_delta"])] == ["meta", "text_delta", "done"]
    assert [event.type for event in await filtered(events, ["usage"])] == ["meta", "usage", "done"]
    assert await filtered(events, ["text_delta", "reasoning_delta", "usage"]) == events


@pytest.mark.parametrize("seed", range(20))
async def test_positions_have_no_holes_and_the_fold_lacks_nothing_else(seed: int) -> None:
    events = RandomStream(seed, snapshots=True).events
    passed = await filtered(events, ["text_delta", "tool_result"])
    assert positions(passed) == positions(events)
    result, whole = fold(passed), fold(events)
    assert (result.text, result.tool_outputs, result.status) == (whole.text, whole.tool_outputs, whole.status)
    assert result.finish_reasons == whole.finish_reasons
    for said in (result, *result.choices, *result.steps):
        assert (said.reasoning, said.refusal, said.tool_calls) == ("", "", ())


async def test_an_event_stands_for_those_held_back_before_it() -> None:
    events = [meta(0), text(1), reasoning(2), reasoning(4, span=2), text(6, "b", span=2), done(7)]
    passed = await filtered(events, ["text_delta"])
    assert [(event.seq, event.span) for event in passed] == [(0, 1), (1, 1), (6, 5), (7, 1)]


async def test_a_stream_that_is_taken_up_in_its_middle_does_not_claim_what_came_before() -> None:
    passed = await filtered([reasoning(7), text(8)], ["text_delta"])
    assert [(event.seq, event.span) for event in passed] == [(8, 2)]
    assert await filtered([text(8)], ["text_delta"]) == [text(8)]


async def test_what_is_held_back_does_not_get_out_in_a_snapshot() -> None:
    completion = Completion()
    for event in (
        meta(0),
        text(1, "said", logprobs=[{"token": "said"}]),
        reasoning(2, "thought"),
        reasoning(3, "thought", choice=1),
        ToolCallDelta(stream_id=STREAM, seq=4, index=0, id="c", name="f", arguments="{}"),
        usage(5),
        ToolResult(stream_id=STREAM, seq=6, id="c", name="f", output="out"),
        meta(7, step=1),
    ):
        completion.add(event)
    snapshot = Snapshot(stream_id=STREAM, seq=8, span=9, result=completion.result(), reason="takeover")

    (only_text,) = await filtered([snapshot], ["text_delta"])
    (no_text,) = await filtered([snapshot], ["reasoning_delta", "usage"])

    assert isinstance(only_text, Snapshot)
    assert isinstance(no_text, Snapshot)
    assert not any(word in repr(only_text) for word in ("thought", "out'", "ToolCall(", "TokenUsage("))
    assert only_text.result.steps[0].text == "said"
    assert "said" not in repr(no_text)
    assert no_text.result.usage == completion.usage
    assert no_text.result.steps[0].reasoning == "thought"


async def test_without_usage_the_end_has_no_sum() -> None:
    end = done(1, usage=TokenUsage(input_tokens=9))
    assert await filtered([meta(0), end], ["text_delta"]) == [meta(0), done(1)]
    assert await filtered([meta(0), end], ["usage"]) == [meta(0), end]


async def test_a_cancelled_send_goes_again_as_it_was() -> None:
    behind = GatedSink()
    sink = Filter(behind, ["text_delta"])
    await sink.send(reasoning(0))
    sending = asyncio.ensure_future(sink.send(text(1)))
    await behind.reached.wait()
    sending.cancel()
    await asyncio.wait([sending])
    behind.gate.set()
    await sink.send(text(1))
    assert [(event.seq, event.span) for event in behind.events] == [(1, 2)]


async def test_a_repeat_of_what_went_through_is_passed_over() -> None:
    events = [meta(0), reasoning(1), text(2), text(2), reasoning(1), text(3)]
    assert [(event.seq, event.span) for event in await filtered(events, ["text_delta"])] == [(0, 1), (2, 2), (3, 1)]


async def test_neighbours_across_what_was_held_back_can_be_merged_behind_it() -> None:
    kept = MemorySink()
    async with Coalesce(kept, max_delay=60) as few, Filter(few, ["text_delta"]) as sink:
        for event in (meta(0), text(1, "a"), text(2, "b"), reasoning(3), text(4, "c"), done(5)):
            await sink.send(event)
    assert [event.text for event in kept.events if isinstance(event, TextDelta)] == ["a", "bc"]
    assert positions(kept.events) == list(range(6))


@pytest.mark.parametrize("types", [["text"], ["done"], "text", ["text_delta", "metas"]])
async def test_a_type_that_can_t_be_chosen_is_refused_by_name(types: Any) -> None:
    with pytest.raises(ConfigurationError, match="there are text_delta, reasoning_delta"):
        Filter(MemorySink(), types)


async def test_a_closed_filter_takes_nothing_and_has_closed_what_is_behind_once() -> None:
    behind = GatedSink()
    sink = Filter(behind, ["text_delta"])
    await sink.aclose()
    await sink.aclose()
    assert behind.closed == 1
    for event in (meta(0), reasoning(1)):
        with pytest.raises(ClosedError):
            await sink.send(event)
    with pytest.raises(ClosedError):
        await sink.__aenter__()
