"""The tokens of a text with their probabilities: kept beside it, through events, merging, folds and snapshots."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.completion import Completion, fold
from hub.events import Snapshot, TextDelta, decode_event, encode_event, merge, mergeable
from hub.testing import response_event, sse
from hub.upstream.wire.logprobs import parse_logprobs

from .support import answer, chunk, events_of, result_of

YES = {"token": "Yes", "logprob": -0.25, "bytes": [89, 101, 115], "top_logprobs": [{"token": "No", "logprob": -1.5}]}
SO = {"token": " so", "logprob": -0.5}


def said(text: str, *tokens: dict[str, Any]) -> dict[str, Any]:
    return chunk(text, choice={"logprobs": {"content": list(tokens), "refusal": None}})


async def test_each_delta_bears_the_tokens_of_its_text() -> None:
    events = await events_of([answer(chunk(""), said("Yes", YES), said(" so", SO))])
    assert [event.logprobs for event in events if isinstance(event, TextDelta)] == [[YES], [SO]]


async def test_the_fold_has_all_tokens_however_the_body_is_cut() -> None:
    assert (await result_of(answer(said("Yes", YES), said(" so", SO)))).logprobs == (YES, SO)


async def test_each_choice_has_its_own() -> None:
    second = chunk("No", choice={"index": 1, "logprobs": {"content": [SO]}})
    end = chunk(finish_reason="stop", choice={"index": 1})
    result = await result_of(answer(said("Yes", YES), second, end), params={"n": 2})
    assert [choice.logprobs for choice in result.choices] == [(YES,), (SO,)]


async def test_tokens_without_a_text_of_their_own_are_kept() -> None:
    assert (await result_of(answer(said("", SO), said("Yes", YES)))).logprobs == (SO, YES)


async def test_without_them_nothing_stands_in_the_json() -> None:
    (event,) = [each for each in await events_of([answer(chunk("Hi"))]) if isinstance(each, TextDelta)]
    assert b"logprobs" not in encode_event(event)


async def test_the_responses_api_gives_the_same() -> None:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    body = b"".join(
        (
            response_event("response.output_text.delta", **place, delta="Yes", logprobs=[YES]),
            response_event("response.output_text.delta", **place, delta=" so", logprobs=[SO]),
            response_event("response.completed", response={"status": "completed", "output": []}),
        )
    )
    assert (await result_of(body, api="responses")).logprobs == (YES, SO)


async def test_a_whole_response_keeps_them() -> None:
    part = {"type": "output_text", "text": "Yes so", "logprobs": [YES, SO]}
    message = {"type": "message", "id": "msg_1", "content": [part]}
    body = sse({"object": "response", "status": "completed", "output": [message]}, done=False)[6:]
    assert (await result_of(body.strip(), api="responses")).logprobs == (YES, SO)


def deltas(*logprobs: list[dict[str, Any]] | None) -> list[TextDelta]:
    return [TextDelta(stream_id="s", seq=seq, text=str(seq), logprobs=each) for seq, each in enumerate(logprobs, 1)]


def test_neighbours_merge_with_their_tokens() -> None:
    first, second = deltas([YES], [SO])
    assert mergeable(first, second)
    merged = merge([first, second])
    assert isinstance(merged, TextDelta)
    assert (merged.text, merged.logprobs) == ("12", [YES, SO])


def test_one_with_tokens_does_not_merge_with_one_without() -> None:
    assert not mergeable(*deltas([YES], None))


def test_a_snapshot_carries_them_on() -> None:
    completion = Completion()
    result = fold(deltas([YES])[:0])
    completion.add(
        Snapshot(stream_id="s", seq=0, result=_with(result, logprobs=(YES,), text="Yes"), reason="requested")
    )
    completion.add(TextDelta(stream_id="s", seq=1, text=" so", logprobs=[SO]))
    assert completion.result().logprobs == (YES, SO)


def _with(result: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(result, **changes)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        {},
        {"content": None},
        {"content": "Yes"},
        {"content": ["Yes", 7]},
        {"token_logprobs": [-0.1], "tokens": ["Yes"]},
    ],
)
def test_what_lists_no_tokens_is_none(odd: Any) -> None:
    assert parse_logprobs(odd) is None


def test_members_of_a_wrong_type_are_left_out_and_the_token_stays_writable() -> None:
    odd = {"token": 7, "logprob": "x", "bytes": [999], "top_logprobs": [{"token": "a", "logprob": float("-inf")}, 3]}
    (token,) = parse_logprobs([odd]) or ()
    assert token == {"top_logprobs": [{"token": "a", "logprob": None}]}
    event = TextDelta(stream_id="s", seq=0, text="a", logprobs=[token])
    assert decode_event(encode_event(event)) == event
