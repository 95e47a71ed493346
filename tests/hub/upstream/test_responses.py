"""Bodies of the Responses API, event by event: what each of them adds to the stream, and every way to end."""

from __future__ import annotations

from typing import Any

import pytest

from hub.events import Meta, ReasoningDelta, TextDelta, ToolCallDelta
from hub.result import TokenUsage
from hub.testing.replies import sse
from hub.testing.responses import response_event
from hub.upstream.wire.responses import ResponsesDecoder

from .responses_support import (
    USAGE,
    added,
    call,
    completed,
    created,
    decoded,
    done,
    event,
    message,
    parts_of_calls,
    result,
    text,
)

# Who answers


def test_meta_names_the_endpoints_model_id_and_time() -> None:
    decoder = ResponsesDecoder(stream_id="str_1", identifier="mine", attempt=2, step=1)
    meta = decoder.feed(created() + text("Hi"))[0]
    assert isinstance(meta, Meta)
    assert (meta.model, meta.response_id, meta.created) == ("m-1", "resp_1", 1_795_000_000)
    assert (meta.identifier, meta.attempt, meta.step, meta.cached) == ("mine", 2, 1, False)


def test_meta_names_the_model_asked_for_where_the_endpoint_names_none() -> None:
    assert result(created(model=None), text("Hi"), completed()).model == "asked-for"


def test_meta_comes_with_the_first_content_not_before() -> None:
    decoder = ResponsesDecoder(stream_id="str_1")
    begun = created() + event("in_progress", response={}) + added(**message())
    assert decoder.feed(begun + event("content_part.added", part={})) == []
    assert not decoder.has_begun
    assert [each.type for each in decoder.feed(text("Hi"))] == ["meta", "text_delta"]
    assert (decoder.has_begun, decoder.next_seq, decoder.output_deltas, decoder.output_chars) == (True, 2, 1, 2)


def test_positions_go_on_from_the_first() -> None:
    decoder = ResponsesDecoder(stream_id="str_1", first_seq=10)
    assert [each.seq for each in decoder.feed(created() + text("a") + text("b"))] == [10, 11, 12]
    assert (decoder.next_seq, decoder.output_deltas) == (13, 2)


def test_an_answer_without_content_still_is_one() -> None:
    decoder = ResponsesDecoder(stream_id="str_1")
    assert [each.type for each in decoder.feed(created() + completed())] == ["meta"]
    assert [each.type for each in decoded(created(), completed())] == ["meta", "usage", "done"]


# Text


def test_deltas_of_text_are_told_as_they_come() -> None:
    events = decoded(created(), added(**message()), text("Hel"), text("lo"), text(""), completed(message("Hello")))
    assert [each.text for each in events if isinstance(each, TextDelta)] == ["Hel", "lo"]


@pytest.mark.parametrize(
    "unnumbered",
    [{}, {"output_index": None, "content_index": None}, {"item_id": None}, {"item_id": None, "output_index": None}],
    ids=["all", "llama.cpp", "without ids", "without anything"],
)
@pytest.mark.parametrize("is_begun", [True, False])
def test_what_comes_whole_after_its_deltas_is_not_told_again(unnumbered: dict[str, Any], is_begun: bool) -> None:
    whole = {"item_id": "msg_1", "output_index": 0, "content_index": 0, **unnumbered}
    answer = result(
        created(),
        added(whole["output_index"], **message()) if is_begun else b"",
        text("Hel", **unnumbered),
        text("lo", **unnumbered),
        event("output_text.done", **whole, text="Hello"),
        event("content_part.done", **whole, part=message("Hello")["content"][0]),
        done(whole["output_index"], **message("Hello")),
        completed(message("Hello")),
    )
    assert answer.text == "Hello"


@pytest.mark.parametrize(
    "whole",
    [
        event("output_text.done", item_id="msg_1", output_index=0, content_index=0, text="Hello"),
        done(**message("Hello")),
        completed(message("Hello")),
    ],
    ids=["its part", "its item", "the response"],
)
@pytest.mark.parametrize("deltas", [b"", text("Hel")], ids=["no delta", "some"])
def test_what_deltas_left_out_is_told_from_the_whole(whole: bytes, deltas: bytes) -> None:
    assert result(created(), deltas, whole, completed()).text == "Hello"


def test_a_whole_that_contradicts_its_deltas_adds_nothing() -> None:
    whole = event("output_text.done", item_id="msg_1", output_index=0, content_index=0, text="Good day, all")
    assert result(created(), text("Hello"), whole, completed(message("Good day, all"))).text == "Hello"


def test_parts_and_messages_are_told_in_their_order() -> None:
    answer = result(
        created(),
        text("a"),
        text("b", content_index=1),
        done(**message("a", "b")),
        text("c", item_id="msg_2", output_index=1),
        completed(message("a", "b"), message("c", "d", id="msg_2")),
    )
    assert answer.text == "abcd"


def test_parts_without_numbers_are_compared_as_one_text() -> None:
    first, second = text("a", content_index=None), text("b", content_index=None)
    assert result(created(), first, second, done(**message("a", "b")), completed(message("a", "b", "c"))).text == "abc"


def test_ids_that_change_with_each_event_mean_the_item_of_that_place() -> None:
    answer = result(
        created(),
        added(0, **message(id="a")),
        text("Hel", item_id="b"),
        text("lo", item_id="c"),
        event("output_text.done", item_id="d", output_index=0, content_index=0, text="Hello"),
        done(0, **message("Hello", id="e")),
        added(1, **call(id="f")),
        event("function_call_arguments.delta", item_id="g", output_index=1, delta="{}"),
        done(1, **call("{}", id="h", call_id="call_2")),
        completed(message("Hello", id="i"), call("{}", id="j", call_id="call_3")),
    )
    assert answer.text == "Hello"
    assert [(each.id, each.arguments) for each in answer.tool_calls] == [("call_1", "{}")]


def test_ids_alone_tell_items_apart() -> None:
    unplaced = {"output_index": None, "content_index": None}
    pieces = [text(each, item_id=f"msg_{each}", **unplaced) for each in "ab"]
    wholes = [done(None, **message(each, id=f"msg_{each[0]}")) for each in ("a", "bc")]
    assert result(created(), *pieces, *wholes).text == "abc"


def test_an_item_is_done_once() -> None:
    again = done(**message("abc"))
    assert result(created(), text("a"), done(**message("ab")), again, incomplete("max_output_tokens")).text == "ab"


def test_items_that_share_an_id_are_each_told() -> None:
    assert result(created(), text("a"), completed(message("a"), message("b"))).text == "ab"


def test_items_of_one_place_are_told_apart_by_their_ids() -> None:
    answer = result(
        created(),
        added(0, **message()),
        text("a"),
        added(0, **call()),
        added(0, **message(id="msg_2")),
        text("b", item_id="msg_2"),
        completed(message("a"), call("{}"), message("b", id="msg_2")),
    )
    assert (answer.text, [each.arguments for each in answer.tool_calls]) == ("ab", ["{}"])


def test_an_item_that_begins_takes_its_place_from_the_one_before() -> None:
    events = [created()]
    for number in range(2):
        events += [added(0, type="message"), text("ab", item_id=None), done(0, **message("ab", id=f"msg_{number}"))]
    assert result(*events, completed()).text == "abab"


def test_the_last_events_new_ids_mean_the_items_that_came() -> None:
    unplaced = {"output_index": None, "content_index": None}
    answer = result(created(), text("a", **unplaced), completed(message("a", id="other"), message("b", id="new")))
    assert answer.text == "ab"


def test_the_text_is_the_same_whether_frames_have_names_or_not() -> None:
    body = created() + text("Hel") + text("lo") + completed(message("Hello"))
    unnamed = b"\n".join(line for line in body.split(b"\n") if not line.startswith(b"event:"))
    assert result(unnamed) == result(body)


def test_a_frames_name_stands_for_a_missing_type() -> None:
    frames = b'event: response.output_text.delta\ndata: {"delta":"Hi"}\n\nevent: response.completed\ndata: {}\n\n'
    assert (result(frames).text, result(frames).finish_reason) == ("Hi", "stop")


def test_halves_of_characters_become_replacements() -> None:
    assert result(created(), text("a"), text("@").replace(b"@", b"\\ud83d"), completed()).text == "a\ufffd"


# Refusal and reasoning


def test_a_refusal_is_told_apart_from_the_text() -> None:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    refused = {"type": "refusal", "refusal": "I can't."}
    answer = result(
        created(),
        event("refusal.delta", **at, delta="I "),
        event("refusal.done", **at, refusal="I can't"),
        completed(message(content=[refused])),
    )
    assert (answer.refusal, answer.text, answer.finish_reason) == ("I can't.", "", "stop")


@pytest.mark.parametrize("kind", ["reasoning_summary_text", "reasoning_text"])
def test_reasoning_is_told_as_such(kind: str) -> None:
    at = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    events = decoded(
        created(),
        event(f"{kind}.delta", **at, delta="Let me"),
        event(f"{kind}.done", **at, text="Let me see"),
        text("Yes", output_index=1),
        completed(),
    )
    assert [each.text for each in events if isinstance(each, ReasoningDelta)] == ["Let me", " see"]


def test_parts_of_a_summary_are_parted_by_a_blank_line() -> None:
    def thought(item: str, part: int, delta: str) -> bytes:
        return event("reasoning_summary_text.delta", item_id=item, summary_index=part, delta=delta)

    whole = {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "four"}]}
    answer = result(
        created(),
        thought("rs_1", 0, "o"),
        thought("rs_1", 0, "ne"),
        thought("rs_1", 1, "two"),
        thought("rs_1", 2, "three"),
        done(1, **whole),
        completed(whole),
    )
    assert answer.reasoning == "one\n\ntwo\n\nthree\n\nfour"


def test_reasoning_that_came_only_whole_is_told() -> None:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "In short"}],
        "content": [{"type": "reasoning_text", "text": "At length"}],
    }
    assert result(created(), done(**item), completed(item)).reasoning == "In short\n\nAt length"


# Tool calls


def test_a_call_has_its_call_id_and_name_in_its_first_delta() -> None:
    events = decoded(
        created(),
        added(**call()),
        event("function_call_arguments.delta", item_id="fc_1", output_index=0, delta='{"x":'),
        event("function_call_arguments.delta", item_id="fc_1", output_index=0, delta="1}"),
        event("function_call_arguments.done", item_id="fc_1", output_index=0, arguments='{"x":1}'),
        done(**call('{"x":1}')),
        completed(call('{"x":1}')),
    )
    assert parts_of_calls(events) == [
        (0, "call_1", "f", ""),
        (0, None, None, '{"x":'),
        (0, None, None, "1}"),
    ]
    assert all(each.extra is None for each in events if isinstance(each, ToolCallDelta))


def test_calls_are_numbered_from_0_wherever_they_stand_in_the_output() -> None:
    first, second = call("{}"), call("[]", id="fc_2", call_id="call_2", name="g")
    answer = result(created(), text("a"), added(1, **first), added(3, **second), completed(message("a"), first, second))
    assert [(each.index, each.id, each.name, each.arguments) for each in answer.tool_calls] == [
        (0, "call_1", "f", "{}"),
        (1, "call_2", "g", "[]"),
    ]
    assert (answer.finish_reason, answer.raw_finish_reason) == ("tool_calls", None)


@pytest.mark.parametrize(
    "whole",
    [
        event("function_call_arguments.done", item_id="fc_1", output_index=0, arguments='{"x":1}'),
        done(**call('{"x":1}')),
        completed(call('{"x":1}')),
    ],
    ids=["its arguments", "its item", "the response"],
)
@pytest.mark.parametrize(
    "before",
    [b"", added(**call()), event("function_call_arguments.delta", item_id="fc_1", output_index=0, delta='{"x"')],
    ids=["nothing", "its beginning", "a piece"],
)
def test_a_call_is_whole_whatever_was_left_out(whole: bytes, before: bytes) -> None:
    (made,) = result(created(), before, whole, completed(call('{"x":1}'))).tool_calls
    assert (made.id, made.name, made.arguments) == ("call_1", "f", '{"x":1}')


def test_arguments_wait_for_a_name_and_are_told_without_one_in_the_end() -> None:
    piece = event("function_call_arguments.delta", item_id="fc_1", output_index=0, delta="{}")
    (made,) = result(created(), piece, completed()).tool_calls
    assert (made.name, made.arguments, made.id) == ("", "{}", "call_0_str_1")


def test_pieces_of_a_call_alone_make_it_one() -> None:
    piece = event("function_call_arguments.delta", item_id="fc_1", output_index=0, delta="{}")
    assert result(created(), piece, allows_missing_finish_reason=True).finish_reason == "tool_calls"


def test_who_called_is_kept_where_it_was_not_the_model() -> None:
    program = {"type": "program", "caller_id": "p_1"}
    direct, indirect = call(caller={"type": "direct"}), call(call_id="call_2", id="fc_2", caller=program, namespace="n")
    calls = result(created(), completed(direct, indirect)).tool_calls
    assert [each.extra for each in calls] == [None, {"caller": program, "namespace": "n"}]


def test_custom_calls_are_told_as_such() -> None:
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "sql", "input": ""}
    (made,) = result(
        created(),
        added(**item),
        event("custom_tool_call_input.delta", item_id="ctc_1", output_index=0, delta="select"),
        event("custom_tool_call_input.done", item_id="ctc_1", output_index=0, input="select 1"),
        completed({**item, "input": "select 1;"}),
    ).tool_calls
    assert (made.id, made.name, made.arguments) == ("call_1", "sql", "select 1;")
    assert made.extra == {"item_type": "custom_tool_call"}


def test_sealed_reasoning_goes_with_the_call_it_led_to() -> None:
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA", "status": None}
    answer = result(
        created(),
        added(0, **sealed | {"encrypted_content": "gA"}),
        done(0, **sealed),
        added(1, **call()),
        added(2, **call(id="fc_2", call_id="call_2")),
        completed(sealed, call("{}"), call("{}", id="fc_2", call_id="call_2")),
    )
    kept = {key: sealed[key] for key in ("type", "id", "summary", "encrypted_content")}
    assert [each.extra for each in answer.tool_calls] == [
        {"reasoning_items": [kept], "item_id": "fc_1"},
        {"item_id": "fc_2"},
    ]


def test_sealed_reasoning_goes_with_one_call_alone() -> None:
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    late = call("{}", id="fc_2", call_id="call_2")
    answer = result(created(), done(0, **sealed), added(1, **call()), completed(sealed, call("{}"), late))
    assert [each.extra for each in answer.tool_calls] == [
        {"reasoning_items": [sealed], "item_id": "fc_1"},
        {"item_id": "fc_2"},
    ]


@pytest.mark.parametrize("sealed", ["", None])
def test_open_reasoning_does_not_go_with_a_call(sealed: str | None) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    assert result(created(), done(**item), completed(item, call("{}"))).tool_calls[0].extra is None


def test_reasoning_that_led_to_a_message_does_not_go_with_a_later_call() -> None:
    sealed = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    assert result(created(), completed(sealed, message("a"), call("{}"))).tool_calls[0].extra is None


# What isn't ours


@pytest.mark.parametrize(
    "foreign",
    [
        event("queued", response={}),
        event("output_text.annotation.added", item_id="msg_1", annotation={}),
        event("web_search_call.searching", item_id="ws_1", output_index=1),
        event("mcp_call_arguments.delta", item_id="mcp_1", delta="{"),
        event("reasoning_summary_part.added", item_id="rs_1", part={}),
        added(1, type="web_search_call", id="ws_1", status="in_progress"),
        done(1, type="image_generation_call", id="ig_1", result="iVBORw0KGgo="),
        event("a_thing_of_2031.delta", delta="x"),
        response_event("keepalive", sequence_number=3),
        event("output_text.delta", delta=7),
        event("output_text.done", text=None),
        event("output_item.added"),
        event("output_item.done", item={"type": "message", "content": [None, {"type": "output_text"}]}),
        b": comment\n\n",
        b"data:\n\n",
    ],
    ids=lambda frame: frame[:50].decode(),
)
def test_other_events_are_passed_over(foreign: bytes) -> None:
    assert result(created(), foreign, text("Hi"), foreign, completed()).text == "Hi"


# Usage


def test_usage_is_taken_with_its_details() -> None:
    details = {"input_tokens_details": {"cached_tokens": 5}, "output_tokens_details": {"reasoning_tokens": 1}}
    answer = result(created(usage=None), text("Hi"), completed(usage=USAGE | details))
    assert answer.usage == TokenUsage(
        input_tokens=7, output_tokens=2, total_tokens=9, cached_input_tokens=5, reasoning_tokens=1
    )


def test_an_answer_without_usage_leaves_it_unknown() -> None:
    decoder = ResponsesDecoder(stream_id="str_1")
    decoder.feed(created() + text("Hi") + completed(usage=None))
    assert (decoder.usage, decoder.ended, decoder.is_finished) == (None, True, True)


# Ends


def incomplete(reason: Any, **members: Any) -> bytes:
    response = {"status": "incomplete", "incomplete_details": {"reason": reason}, "usage": USAGE, **members}
    return event("incomplete", response=response)


@pytest.mark.parametrize(
    ("end", "reason", "raw"),
    [
        (completed(), "stop", None),
        (incomplete("max_output_tokens"), "length", None),
        (incomplete("content_filter"), "content_filter", None),
        (incomplete("steered"), "other", "steered"),
        (incomplete(None), "other", "incomplete"),
        (incomplete("x", incomplete_details=None), "other", "incomplete"),
        (completed(status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length", None),
        (completed(status="in_progress"), "stop", None),
    ],
)
def test_the_last_event_says_why_the_answer_ended(end: bytes, reason: str, raw: str | None) -> None:
    answer = result(created(), text("Hi"), end)
    assert (answer.status, answer.text) == ("completed", "Hi")
    assert (answer.finish_reason, answer.raw_finish_reason) == (reason, raw)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 2


def test_calls_cut_short_by_the_limit_ended_for_their_length() -> None:
    assert result(created(), added(**call()), incomplete("max_output_tokens")).finish_reason == "length"


@pytest.mark.parametrize("after", [b"data: [DONE]\n\n", b"data: [DONE]", text("more"), b"data: {broken\n\n", b"\xff"])
def test_nothing_is_decoded_after_the_end(after: bytes) -> None:
    answer = result(created(), text("Hi"), completed(message("Hi")), after)
    assert (answer.text, answer.status) == ("Hi", "completed")


def test_the_last_event_counts_without_its_blank_line() -> None:
    assert result(created() + text("Hi") + completed().rstrip()).status == "completed"


def failed(error: Any, **members: Any) -> bytes:
    return event("failed", response={"status": "failed", "error": error, **members})


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [
        (failed({"code": "server_error", "message": "out of memory"}), "endpoint_error", 500),
        (failed({"code": "rate_limit_exceeded", "message": "slow down"}), "rate_limited", 429),
        (failed(None), "endpoint_error", None),
        (completed(status="failed", error={"code": "server_error", "message": "no"}), "endpoint_error", 500),
        (event("cancelled", response={"status": "cancelled"}), "endpoint_error", None),
        (completed(status="cancelled"), "endpoint_error", None),
        (response_event("error", code="rate_limit_exceeded", message="no", param=None), "rate_limited", 429),
        (response_event("error", error={"code": "rate_limit_exceeded", "message": "no"}), "rate_limited", 429),
        (b'event: error\ndata: {"code":429,"message":"no"}\n\n', "rate_limited", 429),
        (b"event: error\ndata: upstream went away\n\n", "endpoint_error", None),
        (text("no").replace(b"event: response.output_text.delta", b"event: error"), "endpoint_error", None),
        (b'error: {"code":500,"message":"no"}\n\n', "endpoint_error", 500),
        (sse({"error": {"message": "no", "code": 503}}, done=False), "endpoint_error", 503),
        (sse({"object": "error", "message": "no", "code": 400}, done=False), "invalid_request", 400),
        (b"data: {broken}\n\n", "malformed", None),
        (b"data: 7\n\n", "malformed", None),
        (b"data: \xff\xfe\n\n", "malformed", None),
        (b'data: {"type":' + b"[" * 100_000 + b"\n\n", "malformed", None),
        (b"", "truncated", None),
        (b"data: [DONE]\n\n", "truncated", None),
        (b'data: {"type":"response.comp', "truncated", None),
    ],
    ids=lambda value: repr(value[:70]) if isinstance(value, bytes) else value,
)
@pytest.mark.parametrize("said", [b"", text("Hi")], ids=["at once", "after content"])
def test_a_broken_answer_fails_with_its_code(end: bytes, code: str, status: int | None, said: bytes) -> None:
    answer = result(created(), said, end)
    assert answer.status == "failed"
    assert answer.error is not None
    assert (answer.error.code, answer.error.status) == (code, status)
    assert answer.text == ("Hi" if said else "")


def test_a_failed_response_reports_its_usage_and_says_why() -> None:
    answer = result(created(), failed({"code": "server_error", "message": "out of memory"}, usage=USAGE))
    assert answer.usage is not None
    assert answer.usage.input_tokens == 7
    assert answer.error is not None
    assert answer.error.message == "out of memory"


def test_what_failed_before_any_content_may_be_tried_again() -> None:
    decoder = ResponsesDecoder(stream_id="str_1")
    assert decoder.feed(created() + failed({"code": "server_error", "message": "no"}, output=[message("Hi")])) == []
    assert decoder.failure is not None
    assert (decoder.failure.retryable, decoder.has_begun) == (True, False)


def test_a_body_that_just_ends_is_whole_where_that_is_allowed() -> None:
    answer = result(created(), text("Hi"), allows_missing_finish_reason=True)
    assert (answer.status, answer.text) == ("completed", "Hi")


def test_a_call_nested_beyond_reason_fails_instead_of_being_passed_on() -> None:
    caller: Any = "x"
    for _ in range(200):
        caller = {"a": caller}
    answer = result(created(), added(**call(caller=caller)), completed())
    assert answer.error is not None
    assert answer.error.code == "malformed"
