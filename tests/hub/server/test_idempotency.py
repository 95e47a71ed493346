"""`Idempotency-Key`: the same request, however often it is sent, begins one stream."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from hub.errors import StreamExistsError
from hub.streams.memory import MemoryStreamStore
from hub.testing import Gate, chat_reply, check_grammar

from .conftest import HELLO, RunningHub, StartHub, events_of
from .test_streams import assert_problem

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


async def post(running: RunningHub, key: str | None = KEY, body: Any = HELLO, **headers: str) -> httpx2.Response:
    sent = headers if key is None else {"Idempotency-Key": key, **headers}
    return await running.http.post("/v1/streams", json=body, headers=sent)


async def test_the_same_request_sent_again_gets_the_same_answer_and_begins_nothing(running_hub: RunningHub) -> None:
    gate = Gate()
    running_hub.endpoint.enqueue(chat_reply(["Hello", gate]))
    first = await post(running_hub)
    again = await post(running_hub)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    gate.open()
    await running_hub.read(first.json()["stream_id"])
    assert len(running_hub.endpoint.requests) == 1


async def test_a_repeat_after_the_end_tells_how_it_ended(running_hub: RunningHub) -> None:
    first = (await post(running_hub)).json()
    await running_hub.read(first["stream_id"])
    assert (await post(running_hub)).json() == {**first, "status": "completed"}


async def test_without_a_key_each_request_begins_a_stream(running_hub: RunningHub) -> None:
    first, second = await post(running_hub, None), await post(running_hub, None)
    assert first.json()["stream_id"] != second.json()["stream_id"]


async def test_another_key_begins_another_stream(running_hub: RunningHub) -> None:
    first, second = await post(running_hub, "a"), await post(running_hub, "b")
    assert first.json()["stream_id"] != second.json()["stream_id"]


async def test_two_at_the_same_moment_are_one_stream(running_hub: RunningHub) -> None:
    answers = await asyncio.gather(*(post(running_hub) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["stream_id"] for answer in answers}) == 1
    await running_hub.read(answers[0].json()["stream_id"])
    assert len(running_hub.endpoint.requests) == 1


class OtherProcess(MemoryStreamStore):
    """A store in which another process makes each stream between this one's look and its own attempt."""

    async def create(
        self, stream_id: str, *, model: str | None = None, fingerprint: str | None = None, input_tokens: int = 0
    ) -> int:
        await super().create(stream_id, model=model, fingerprint=fingerprint, input_tokens=input_tokens)
        raise StreamExistsError(stream_id)


async def test_two_processes_at_the_same_moment_make_one_stream(start_hub: StartHub) -> None:
    async with start_hub(store=OtherProcess()) as running:
        response = await post(running)
        assert response.status_code == 201
        assert running.hub.running == 0
        assert running.endpoint.requests == []


async def test_every_process_derives_the_same_stream_from_a_key(start_hub: StartHub) -> None:
    async with start_hub() as one, start_hub() as two:
        assert (await post(one)).json()["stream_id"] == (await post(two)).json()["stream_id"]


async def test_a_repeat_that_asks_for_the_stream_itself_gets_it(any_hub: RunningHub) -> None:
    stream_id = (await post(any_hub)).json()["stream_id"]
    whole = await any_hub.read(stream_id)
    headers = {"Idempotency-Key": KEY, "Accept": "text/event-stream"}
    async with any_hub.http.stream("POST", "/v1/streams", json=HELLO, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["location"] == f"/v1/streams/{stream_id}"
        assert [event async for event in events_of(response)] == whole
    check_grammar(whole)


async def test_a_repeat_goes_on_behind_what_its_sender_has_read(any_hub: RunningHub) -> None:
    headers = {"Idempotency-Key": KEY, "Accept": "text/event-stream"}
    async with any_hub.http.stream("POST", "/v1/streams", json=HELLO, headers=headers) as response:
        whole = [event async for event in events_of(response)]
    headers["Last-Event-ID"] = "0"
    async with any_hub.http.stream("POST", "/v1/streams", json=HELLO, headers=headers) as response:
        assert [event async for event in events_of(response)] == whole[1:]
    last = await post(any_hub, **{"Accept": "text/event-stream", "Last-Event-ID": str(whole[-1].seq)})
    assert last.status_code == 204


async def test_a_position_in_a_first_request_is_that_of_no_stream_and_is_passed_over(any_hub: RunningHub) -> None:
    headers = {"Idempotency-Key": KEY, "Accept": "text/event-stream", "Last-Event-ID": "40"}
    async with any_hub.http.stream("POST", "/v1/streams", json=HELLO, headers=headers) as response:
        check_grammar([event async for event in events_of(response)])


@pytest.mark.parametrize("other", [{"temperature": 1}, {"messages": [{"role": "user", "content": "Bye"}]}])
async def test_another_body_under_the_same_key_is_422(running_hub: RunningHub, other: dict[str, Any]) -> None:
    first = await post(running_hub)
    assert_problem(await post(running_hub, body={**HELLO, **other}), 422, "Idempotency-Key")
    assert (await post(running_hub)).json()["stream_id"] == first.json()["stream_id"]


async def test_a_body_that_says_the_same_in_other_words_is_the_same(running_hub: RunningHub) -> None:
    first = await post(running_hub, body={"logit_bias": {"1": 2, "3": 4}, "temperature": 1, "seed": None, **HELLO})
    again = await post(running_hub, body={**HELLO, "temperature": 1.0, "logit_bias": {"3": 4, "1": 2}})
    assert again.status_code == 201
    assert again.json()["stream_id"] == first.json()["stream_id"]


async def test_callers_do_not_share_their_keys(start_hub: StartHub) -> None:
    async with start_hub(api_keys="one,two") as running:
        first = await post(running, Authorization="Bearer one")
        second = await post(running, Authorization="Bearer two", body={**HELLO, "temperature": 1})
        again = await post(running, Authorization="bearer  one")
    assert first.status_code == second.status_code == 201
    assert first.json()["stream_id"] != second.json()["stream_id"]
    assert again.json()["stream_id"] == first.json()["stream_id"]


async def test_a_key_is_free_again_once_its_stream_is_gone(start_hub: StartHub) -> None:
    now = [0.0]
    async with start_hub(store=MemoryStreamStore(retention_ttl=60, clock=lambda: now[0])) as running:
        await running.read((await post(running)).json()["stream_id"])
        assert_problem(await post(running, body={**HELLO, "temperature": 1}), 422, "Idempotency-Key")
        now[0] = 61.0
        assert (await post(running, body={**HELLO, "temperature": 1})).status_code == 201
    assert len(running.endpoint.requests) == 2


async def test_a_full_hub_still_answers_for_what_has_begun(start_hub: StartHub) -> None:
    async with start_hub(max_streams=1) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply(["Hello", gate]))
        first = await post(running)
        assert (await post(running)).json() == first.json()
        assert_problem(await post(running, "another"), 503, "full")
        gate.open()


async def test_a_key_whose_request_was_refused_has_begun_nothing(start_hub: StartHub) -> None:
    async with start_hub(max_streams=1) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply(["Hello", gate]))
        busy = await post(running, None)
        assert_problem(await post(running), 503, "full")
        gate.open()
        await running.read(busy.json()["stream_id"])
        response = await post(running, body={**HELLO, "temperature": 1})
        assert response.status_code == 201


@pytest.mark.parametrize(
    ("quoted", "bare"), [(f'"{KEY}"', KEY), ('"a/b+c=="', "a/b+c=="), ('"x\\\\y"', None), ('"a b, \\"c\\""', None)]
)
async def test_a_key_in_quotes_is_the_one_without(running_hub: RunningHub, quoted: str, bare: str | None) -> None:
    first = await post(running_hub, quoted)
    assert first.status_code == 201
    if bare is not None:
        assert (await post(running_hub, bare)).json()["stream_id"] == first.json()["stream_id"]


@pytest.mark.parametrize(
    "key",
    ["", '""', "a b", "a,b", '"a', 'a"', '"a"b', '"a\\x"', '"a";p=1', '"é"', "é", "x" * 256, '"' + "x" * 256 + '"'],
)
async def test_a_malformed_or_overlong_key_is_400(running_hub: RunningHub, key: str) -> None:
    response = await running_hub.http.post("/v1/streams", json=HELLO, headers={"Idempotency-Key": key.encode()})
    assert_problem(response, 400, "Idempotency-Key", "255")
    assert running_hub.endpoint.requests == []


async def test_a_key_of_255_characters_is_taken(running_hub: RunningHub) -> None:
    assert (await post(running_hub, "x" * 255)).status_code == 201
    assert (await post(running_hub, '"' + '\\"' * 255 + '"')).status_code == 201


async def test_two_keys_in_one_request_are_400(running_hub: RunningHub) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert_problem(await running_hub.http.post("/v1/streams", json=HELLO, headers=headers), 400, "one Idempotency-Key")


async def test_what_a_key_has_begun_has_an_id_like_any_other(running_hub: RunningHub) -> None:
    derived, fresh = (await post(running_hub)).json()["stream_id"], await running_hub.start()
    assert derived.startswith("str_")
    assert len(derived) == len(fresh)
    assert KEY not in derived
