"""Folding a stream: what it said, what it used, and how it ends when its producer can't go on."""

from __future__ import annotations

import random
import time
from typing import Any

import msgspec
import pytest

from hub.completion import Completion, fold, fold_streams
from hub.errors import EndpointConnectionError, InvalidRequestError, SequenceGapError
from hub.events import (
    ApprovalRequest,
    Error,
    LLMEvent,
    Meta,
    ReasoningDelta,
    RefusalDelta,
    Snapshot,
    TextDelta,
    ToolCallDelta,
    ToolResult,
    decode_event,
    encode_event,
    merge_neighbours,
)
from hub.result import (
    ChoiceResult,
    Failure,
    LLMResult,
    TokenUsage,
    ToolCall,
    ToolOutput,
)

from ..contracts.samples import STREAM, RandomStream, a_stream, done, meta, random_merge, text, usage

SEEDS = range(60)
FAILURE = Failure(code="connection_failed", message="The connection was lost.", status=502, retryable=True)


def numbered(*events: LLMEvent) -> list[LLMEvent]:
    """The events at the positions they stand at."""
    return [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(events)]


def call(index: int, arguments: str = "", **fields: Any) -> ToolCallDelta:
    return ToolCallDelta(stream_id=STREAM, seq=0, index=index, arguments=arguments, **fields)


def snapshot(result: LLMResult, seq: int, **fields: Any) -> Snapshot:
    return Snapshot(stream_id=STREAM, seq=seq, result=result, **{"reason": "gap", "span": seq + 1, **fields})


# What was said


def test_parts_of_each_kind_are_joined() -> None:
    result = fold(
        numbered(
            meta(response_id="r", created=5, cached=True, identifier="mine"),
            ReasoningDelta(stream_id=STREAM, seq=0, text="Let me "),
            ReasoningDelta(stream_id=STREAM, seq=0, text="think"),
            text(0, "Hello"),
            text(0, " world"),
            RefusalDelta(stream_id=STREAM, seq=0, text="But no"),
            usage(0),
            done(0, usage=TokenUsage(input_tokens=1, output_tokens=2, total_tokens=3), raw_finish_reason="eos"),
        )
    )
    assert (result.reasoning, result.text, result.refusal) == ("Let me think", "Hello world", "But no")
    assert (result.model, result.response_id, result.created, result.cached, result.identifier) == (
        "model-x",
        "r",
        5,
        True,
        "mine",
    )
    assert (result.status, result.finish_reason, result.raw_finish_reason) == ("completed", "stop", "eos")
    assert result.usage == TokenUsage(input_tokens=1, output_tokens=2, total_tokens=3)
    assert (result.stream_id, result.last_seq) == (STREAM, 7)
    assert (result.choices, result.steps) == ((), ())


def test_a_result_can_be_had_at_any_time() -> None:
    completion = Completion()
    assert completion.result() == LLMResult(stream_id="", last_seq=-1, status="running")
    events = RandomStream(3).events
    for count, event in enumerate(events, 1):
        completion.add(event)
        assert completion.result() == fold(events[:count])


def test_before_the_first_event_a_result_tells_what_is_known() -> None:
    assert Completion("s", model="asked").result() == LLMResult(
        stream_id="s", last_seq=-1, status="running", model="asked"
    )


def test_the_model_asked_for_stands_until_another_answers() -> None:
    completion = Completion(STREAM, model="asked")
    completion.add(Meta(stream_id=STREAM, seq=0))
    assert completion.model == "asked"
    completion.add(Meta(stream_id=STREAM, seq=1, model="answering", attempt=2))
    assert completion.model == completion.result().model == "answering"


def test_tool_calls_are_put_together_by_index() -> None:
    result = fold(
        numbered(
            meta(),
            call(1, id="b", name="second"),
            call(0, '{"x"', id="a", name="first"),
            call(1, '{"y":', extra={"signature": 1}),
            call(0, ":1}"),
            call(1, "2}", extra={"more": 2}),
        )
    )
    assert result.tool_calls == (
        ToolCall(id="a", name="first", arguments='{"x":1}', index=0),
        ToolCall(id="b", name="second", arguments='{"y":2}', index=1, extra={"signature": 1, "more": 2}),
    )


def test_choices_are_kept_apart_with_their_finish_reasons() -> None:
    result = fold(
        numbered(
            meta(),
            text(0, "b", choice=1),
            text(0, "a"),
            text(0, "B", choice=1),
            usage(0),
            done(0, finish_reason="stop", finish_reasons=("stop", "length", None)),
        )
    )
    assert (result.text, result.finish_reason) == ("a", "stop")
    assert result.choices == (
        ChoiceResult(choice=0, text="a", finish_reason="stop"),
        ChoiceResult(choice=1, text="bB", finish_reason="length"),
        ChoiceResult(choice=2),
    )


def test_text_is_the_first_choice_s_also_while_only_others_have_spoken() -> None:
    result = fold(numbered(meta(), text(0, "b", choice=1)))
    assert result.text == ""
    assert result.choices == (ChoiceResult(choice=0), ChoiceResult(choice=1, text="b"))


def test_each_step_is_kept_and_the_last_one_is_shown() -> None:
    result = fold(
        numbered(
            meta(),
            text(0, "I look"),
            call(0, "{}", id="c", name="look"),
            usage(0),
            ToolResult(stream_id=STREAM, seq=0, id="c", name="look", output="42", is_error=True),
            meta(step=1),
            text(0, "It is 42"),
        )
    )
    assert (result.text, result.tool_calls, result.step) == ("It is 42", (), 1)
    assert [(step.step, step.text) for step in result.steps] == [(0, "I look"), (1, "It is 42")]
    assert result.steps[0].tool_calls == (ToolCall(id="c", name="look", arguments="{}"),)
    assert result.tool_outputs == (ToolOutput(id="c", name="look", output="42", is_error=True),)


# Attempts and usage


def test_a_higher_attempt_voids_what_its_step_said_but_not_what_it_used() -> None:
    result = fold(
        numbered(
            meta(step=0),
            text(0, "kept"),
            usage(0),
            meta(step=1),
            text(0, "void"),
            call(0, "void", id="v"),
            text(0, "void", choice=1),
            usage(0, step=1, estimated=True),
            meta(step=1, attempt=2, model="another"),
            text(0, "said"),
            usage(0, step=1, attempt=2),
        )
    )
    assert (result.text, result.tool_calls, result.choices) == ("said", (), ())
    assert (result.attempt, result.model) == (2, "another")
    assert [(step.text, step.attempt) for step in result.steps] == [("kept", 1), ("said", 2)]
    assert result.usage == TokenUsage(input_tokens=3, output_tokens=6, total_tokens=9, estimated=True)


def test_the_sum_in_done_counts() -> None:
    total = TokenUsage(input_tokens=9, total_tokens=9, cost_usd=1.0)
    assert fold(numbered(meta(), usage(0), done(0, usage=total))).usage == total


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([(5, 0.1), (5, 0.2)], 0.3),
        ([(5, 0.1), (5, None)], None),
        ([(5, None), (5, 0.1)], None),
        ([(0, None), (5, 0.1)], 0.1),
        ([(5, 0.1), (0, None)], 0.1),
        ([(0, None), (0, None)], None),
        ([(5, 0.0), (5, 0.0)], 0.0),
        ([(5, None), (5, 0.1), (0, None)], None),
    ],
)
def test_a_cost_is_unknown_where_a_part_s_is_unless_that_part_used_nothing(
    costs: list[tuple[int, float | None]], expected: float | None
) -> None:
    parts = [TokenUsage(total_tokens=tokens, cost_usd=cost) for tokens, cost in costs]
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert total.cost_usd == (pytest.approx(expected) if expected is not None else None)


def test_the_cost_without_the_cache_counts_what_did_not_come_from_it() -> None:
    cached = TokenUsage(total_tokens=5, cost_usd=0.0, original_cost_usd=0.5)
    asked = TokenUsage(total_tokens=5, cost_usd=0.25)
    unknown = TokenUsage(total_tokens=5)
    assert (cached + asked).original_cost_usd == (asked + cached).original_cost_usd == 0.75
    assert (asked + asked).original_cost_usd is None
    assert (cached + unknown).original_cost_usd is None


@pytest.mark.parametrize("seed", range(20))
def test_sums_do_not_depend_on_how_parts_are_grouped(seed: int) -> None:
    rand = random.Random(seed)
    a, b, c = (
        TokenUsage(
            total_tokens=rand.choice((0, 8)),
            cost_usd=rand.choice((None, 0.0, 0.25)),
            original_cost_usd=rand.choice((None, 0.5)),
            estimated=rand.random() < 0.5,
        )
        for _ in range(3)
    )
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a


# Positions


@pytest.mark.parametrize("missing", [1, 2, 5])
def test_a_hole_raises_and_changes_nothing(missing: int) -> None:
    completion = Completion()
    completion.add(meta(0))
    with pytest.raises(SequenceGapError, match=f"Event 1 was due, {1 + missing} arrived") as caught:
        completion.add(text(1 + missing))
    assert (caught.value.expected, caught.value.got) == (1, 1 + missing)
    assert completion.last_seq == 0


def test_a_stream_that_does_not_begin_at_its_beginning_raises() -> None:
    with pytest.raises(SequenceGapError):
        fold([text(4)])


def test_an_event_that_was_added_in_part_raises() -> None:
    completion = Completion()
    for event in (meta(0), text(1), text(2)):
        completion.add(event)
    with pytest.raises(SequenceGapError):
        completion.add(text(4, "abc", span=3))


@pytest.mark.parametrize("seed", range(20))
def test_repeats_are_passed_over(seed: int) -> None:
    rand = random.Random(seed)
    events = RandomStream(seed, snapshots=True).events
    repeated: list[LLMEvent] = []
    for index, event in enumerate(events):
        repeated.append(event)
        if rand.random() < 0.3:
            repeated += events[max(0, index - rand.randrange(5)) : index + 1]
    assert fold(repeated) == fold(events)


@pytest.mark.parametrize("seed", SEEDS)
def test_folding_merged_events_gives_the_same(seed: int) -> None:
    events = RandomStream(seed, snapshots=seed % 2 == 0).events
    assert fold(random_merge(events, seed, merge_neighbours)) == fold(merge_neighbours(events)) == fold(events)


# Snapshots


@pytest.mark.parametrize("seed", SEEDS)
def test_a_snapshot_at_any_position_stands_for_all_before_it(seed: int) -> None:
    events = RandomStream(seed).events
    completion = Completion()
    whole = fold(events)
    for event in events:
        completion.add(event)
        taken = decode_event(encode_event(snapshot(completion.result(), event.seq)))
        late = Completion()
        late.add(taken)
        assert late.result() == completion.result()
        for following in events[event.seq + 1 :]:
            late.add(following)
        assert late.result() == whole


def test_a_snapshot_replaces_what_the_reader_had() -> None:
    result = fold(a_stream("Hello", " world")[:3])
    completion = Completion()
    for event in (meta(0), text(1, "what was lost again"), call(0)):
        completion.add(event)
    completion.add(snapshot(result, 70_000, span=5))
    assert completion.result() == msgspec.structs.replace(result, last_seq=70_000)


def test_a_snapshot_with_several_choices_keeps_a_missing_first_one_empty() -> None:
    taken = fold(numbered(meta(), text(0, "b", choice=1)))
    completion = Completion()
    completion.add(snapshot(taken, 1))
    completion.add(text(2, "B", choice=1))
    completion.add(text(3, "a"))
    result = completion.result()
    assert [choice.text for choice in result.choices] == ["a", "bB"]
    assert result.text == "a"


def test_a_snapshot_s_tool_calls_grow_on_by_their_index() -> None:
    taken = fold(numbered(meta(), call(2, '{"x"', id="a", name="f"), call(5, "{", id="b", name="g")))
    completion = Completion()
    completion.add(snapshot(taken, 2))
    completion.add(msgspec.structs.replace(call(5, "}"), seq=3))
    completion.add(msgspec.structs.replace(call(2, ":1}"), seq=4))
    assert [(c.index, c.arguments) for c in completion.result().tool_calls] == [(2, '{"x":1}'), (5, "{}")]


def test_a_snapshot_made_by_hand_loses_no_call_that_has_no_index() -> None:
    calls = tuple(ToolCall(id=name, name=name, arguments="{}") for name in "abc")
    completion = Completion()
    completion.add(snapshot(LLMResult(stream_id=STREAM, last_seq=3, status="running", tool_calls=calls), 3))
    assert [(c.id, c.index) for c in completion.result().tool_calls] == [("a", 0), ("b", 1), ("c", 2)]


# Status


def test_a_request_for_approval_waits_until_each_is_answered() -> None:
    completion = Completion()

    def add(event: LLMEvent) -> str:
        completion.add(msgspec.structs.replace(event, seq=completion.last_seq + 1))
        return completion.status

    def asked(name: str) -> ApprovalRequest:
        return ApprovalRequest(stream_id=STREAM, seq=0, id=name, name="f", arguments="{}")

    def answered(name: str) -> ToolResult:
        return ToolResult(stream_id=STREAM, seq=0, id=name, name="f", output="")

    assert [add(event) for event in (meta(), usage(0), asked("a"), asked("b"))][1:] == ["running", "waiting", "waiting"]
    assert [add(event) for event in (answered("a"), answered("b"))] == ["waiting", "running"]
    assert [add(event) for event in (asked("c"), meta(step=1))] == ["waiting", "running"]


def test_a_failure_can_be_raised() -> None:
    result = fold(numbered(meta(), Error(stream_id=STREAM, seq=0, **msgspec.structs.asdict(FAILURE))))
    assert result.error == FAILURE
    with pytest.raises(EndpointConnectionError, match="The connection was lost") as caught:
        result.raise_for_status()
    assert (caught.value.code, caught.value.status, caught.value.retryable) == ("connection_failed", 502, True)
    whole = fold(a_stream("a"))
    assert whole.raise_for_status() is whole


# Cost


def test_a_long_stream_folds_in_time_proportional_to_its_length() -> None:
    def seconds(count: int) -> float:
        events: list[LLMEvent] = [meta(0), *(TextDelta(stream_id=STREAM, seq=n, text=" word") for n in range(1, count))]
        began = time.process_time()
        assert len(fold(events).text) == 5 * (count - 1)
        return time.process_time() - began

    seconds(1000)
    few, many = min(seconds(20_000) for _ in range(3)), min(seconds(80_000) for _ in range(3))
    assert few < 1.0
    assert many < 12 * few + 0.05


# Several streams


def of_stream(stream_id: str, *words: str) -> list[LLMEvent]:
    return [msgspec.structs.replace(event, stream_id=stream_id) for event in a_stream(*words)]


def test_an_event_of_another_stream_is_refused_also_where_its_position_was_there() -> None:
    completion = Completion()
    for event in of_stream("str_1", "Hello"):
        completion.add(event)
    before = completion.result()
    for event in of_stream("str_2", "Good", " bye", " then"):
        with pytest.raises(InvalidRequestError, match=r"'str_2' came among those of stream 'str_1'.*fold_streams"):
            completion.add(event)
    assert completion.result() == before
    with pytest.raises(InvalidRequestError):
        fold([*of_stream("str_1", "Hello"), *of_stream("str_2", "Good bye")])
    with pytest.raises(InvalidRequestError):
        Completion("str_1").add(of_stream("str_2", "Hello")[0])


def test_a_snapshot_of_another_stream_is_refused() -> None:
    completion = Completion("str_2")
    with pytest.raises(InvalidRequestError, match="'str_1' came among those of stream 'str_2'"):
        completion.add(snapshot(fold(a_stream("Hello")), seq=3))
    assert completion.result().text == ""


def test_a_stream_without_an_id_is_folded_as_any_other() -> None:
    result = fold(of_stream("", "Hello", " world"))
    assert (result.stream_id, result.text) == ("", "Hello world")


def test_mixed_streams_are_folded_each_by_itself_and_in_the_order_of_their_beginning() -> None:
    first, second = of_stream("str_1", "Hello"), of_stream("str_2", "Good", " bye")
    mixed = [second[0], first[0], first[1], second[1], second[1], *second[2:], *first[2:]]
    results = fold_streams(mixed)
    assert list(results) == ["str_2", "str_1"]
    assert results == {"str_1": fold(first), "str_2": fold(second)}
    assert fold_streams([]) == {}
    with pytest.raises(SequenceGapError):
        fold_streams([*first, second[1]])
