"""The page's pure modules, run in the browser: the fold, the frame decoder, the Markdown view."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from hub.completion import fold
from hub.events import (
    Done,
    Error,
    LLMEvent,
    Meta,
    ReasoningDelta,
    RefusalDelta,
    Snapshot,
    TextDelta,
    ToolCallDelta,
    ToolResult,
    Usage,
    encode_event,
    merge_neighbours,
)
from hub.result import LLMResult, TokenUsage

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAM = "str_00000000000000000000000000"
COUNTS = TokenUsage(input_tokens=5, output_tokens=3, total_tokens=8, cost_usd=0.25)

FOLD = """async (events) => {
  const { emptyAnswer, fold, place } = await import('/page/fold.js');
  let answer = emptyAnswer('');
  const places = [];
  for (const event of events) {
    places.push(place(answer.seq, event));
    if (places.at(-1) === 'next') answer = fold(answer, event);
  }
  return { ...answer, places };
}"""

DECODE = """async (pieces) => {
  const { FrameDecoder } = await import('/page/sse.js');
  const decoder = new FrameDecoder();
  return pieces.flatMap((piece) => decoder.push(piece));
}"""

RENDER = """async (texts) => {
  const { MarkdownView } = await import('/page/markdown.js');
  return texts.map((steps) => {
    const root = document.createElement('div');
    const view = new MarkdownView(root);
    for (const step of steps) view.update(step);
    return root.innerHTML;
  });
}"""


def numbered(*makers: Any) -> list[LLMEvent]:
    """Events in order, from functions of `stream_id` and `seq`."""
    return [make(stream_id=STREAM, seq=seq) for seq, make in enumerate(makers)]


def event(kind: Any, **fields: Any) -> Any:
    return lambda stream_id, seq: kind(stream_id=stream_id, seq=seq, **fields)


def usage(step: int = 0, attempt: int = 1) -> Any:
    return lambda stream_id, seq: Usage.of(COUNTS, stream_id=stream_id, seq=seq, step=step, attempt=attempt)


PLAIN = numbered(
    event(Meta, model="m"),
    event(ReasoningDelta, text="Two "),
    event(ReasoningDelta, text="and two."),
    event(TextDelta, text="It is "),
    event(TextDelta, text="four."),
    event(RefusalDelta, text="No more."),
    usage(),
    event(Done, status="completed", finish_reason="stop", usage=COUNTS),
)
SECOND_ATTEMPT = numbered(
    event(Meta, model="m"),
    event(TextDelta, text="void"),
    event(ToolCallDelta, index=0, id="a", name="f", arguments="{}"),
    usage(),
    event(Meta, model="other", attempt=2),
    event(TextDelta, text="stands"),
    usage(attempt=2),
    event(Done, status="completed", finish_reason="stop", usage=COUNTS + COUNTS),
)
AGENT = numbered(
    event(Meta, model="m"),
    event(ToolCallDelta, index=0, id="a", name="f", arguments='{"x"'),
    event(ToolCallDelta, index=1, id="b", name="g", arguments="{"),
    event(ToolCallDelta, index=0, arguments=":1}"),
    event(ToolCallDelta, index=1, arguments="}"),
    usage(),
    event(ToolResult, id="a", name="f", output="one"),
    event(ToolResult, id="b", name="g", output="two", is_error=True),
    event(Meta, model="m", step=1),
    event(TextDelta, text="Done."),
    usage(step=1),
    event(Done, status="completed", finish_reason="stop", usage=COUNTS + COUNTS),
)
FAILED = numbered(
    event(Meta, model="m"),
    event(TextDelta, text="Half"),
    event(Error, code="truncated", message="It broke off.", retryable=True),
    usage(),
    event(Done, status="failed", finish_reason="other", usage=COUNTS),
)
STREAMS = {"plain": PLAIN, "second attempt": SECOND_ATTEMPT, "agent": AGENT, "failed": FAILED}


def as_json(events: Sequence[LLMEvent]) -> list[Any]:
    return [json.loads(encode_event(each)) for each in events]


def last_step(answer: dict[str, Any], kind: str) -> str:
    return "".join(part["text"] for part in answer["parts"] if part["kind"] == kind and part["step"] == answer["step"])


def assert_agrees(answer: dict[str, Any], result: LLMResult) -> None:
    """The page shows what the hub's own fold gives."""
    assert set(answer["places"]) <= {"next", "repeat"}
    assert (answer["seq"], answer["status"], answer["model"]) == (result.last_seq, result.status, result.model)
    assert last_step(answer, "text") == result.text
    assert last_step(answer, "reasoning") == result.reasoning
    assert last_step(answer, "refusal") == result.refusal
    calls = [part for part in answer["parts"] if part["kind"] == "tool_call"]
    outputs = {call["id"]: call["result"] for call in calls if call["result"]}
    assert outputs == {each.id: {"output": each.output, "isError": each.is_error} for each in result.tool_outputs}
    assert result.usage is not None
    assert answer["usage"]["output_tokens"] == result.usage.output_tokens
    assert answer["usage"]["cost_usd"] == result.usage.cost_usd
    assert (answer["error"] or {}).get("code") == (result.error.code if result.error else None)


@pytest.mark.parametrize("name", STREAMS)
async def test_the_page_folds_as_the_hub_does(tab: Any, name: str) -> None:
    events = STREAMS[name]
    result = fold(events)
    for variant in (events, merge_neighbours(events), [each for each in events for _ in range(2)]):
        assert_agrees(await tab.page.evaluate(FOLD, as_json(variant)), result)


@pytest.mark.parametrize("name", STREAMS)
async def test_a_snapshot_stands_for_all_before_it(tab: Any, name: str) -> None:
    events = STREAMS[name]
    for cut in range(1, len(events) + 1):
        so_far = fold(events[:cut])
        snapshot = Snapshot(stream_id=STREAM, seq=cut - 1, span=cut, result=so_far, reason="requested")
        answer = await tab.page.evaluate(FOLD, as_json([*events[: cut // 2], snapshot, *events[cut:]]))
        assert_agrees(answer, fold(events))


async def test_a_hole_and_a_half_seen_merge_are_gaps(tab: Any) -> None:
    first, second, third, fourth = PLAIN[:4]
    hole = await tab.page.evaluate(FOLD, as_json([first, second, fourth]))
    assert hole["places"] == ["next", "next", "gap"]
    half_seen = await tab.page.evaluate(FOLD, as_json([first, second, *merge_neighbours([second, third])]))
    assert half_seen["places"] == ["next", "next", "gap"]


async def test_frames_survive_any_slicing_and_line_end(tab: Any) -> None:
    lines = [": comment", "id: 7", "event: text_delta", 'data: {"a":', "data:1}", "", "retry: 250", "", "data: end", ""]
    chance = random.Random(7)
    for ending in ("\n", "\r\n", "\r"):
        # A CR alone ends a line only once something follows it.
        text = ending.join([*lines, ": more", ""])
        for _ in range(20):
            cuts = sorted(chance.sample(range(1, len(text)), 12))
            pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
            frames = await tab.page.evaluate(DECODE, pieces)
            assert [(frame["id"], frame["data"], frame["retry"]) for frame in frames] == [
                ("7", '{"a":\n1}', None),
                (None, None, 250),
                (None, "end", None),
            ]


async def test_growing_markdown_looks_like_the_whole(tab: Any, endpoint: Any) -> None:
    fragments = ["- ", "\n", "\n\n", "**", "`", "```", "word ", "| a | b |", "\n|---|---|\n", "# ", "> ", "1. ", "  "]
    fragments += ["_", "[x](https://example.com)", "---", "*", "~~~", "\t", "<b>", "\\", "https://example.com/a."]
    chance = random.Random(11)
    texts = ["".join(chance.choices(fragments, k=chance.randint(3, 28))) for _ in range(300)]
    grown = await tab.page.evaluate(RENDER, [[text[: end + 1] for end in range(len(text))] for text in texts])
    whole = await tab.page.evaluate(RENDER, [[text] for text in texts])
    assert grown == whole


async def test_markdown_takes_no_more_than_linear_time(tab: Any) -> None:
    hard = ["*" * 20_000, "**a " * 20_000, "[" * 20_000, "`a``b" * 20_000, "> " * 20_000, "- " * 20_000, "_a*" * 20_000]
    async with asyncio.timeout(10):
        await tab.page.evaluate(RENDER, [[text] for text in hard])
