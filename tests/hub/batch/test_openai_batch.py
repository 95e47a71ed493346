"""OpenAI's Batch API against the scripted one: submitted once, collected in order, resumed after a restart."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hub import ModelProfile, OpenAIClient, UsageCosts
from hub.batch import BatchJob, CheckpointError, Limits, Progress, quiet
from hub.errors import EndpointError, InvalidRequestError
from hub.testing import Handler, Reply, ScriptedEndpoint, completion_reply, status_reply
from hub.testing.batches import BatchHandler, Ending
from hub.testing.request import RecordedRequest


class Priced(ModelProfile):
    model_name = "priced-for-batches"
    usage_costs = UsageCosts(input=1e-3, output=2e-3)


class Vectors(ModelProfile):
    model_name = "vectors-for-batches"
    category = "embeddings"
    usage_costs = UsageCosts(input=1e-3, output=0.0)


def asking(*words: str, **more: Any) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": word}], **more} for word in words]


async def at_once(seconds: float) -> None:
    """Waiting, for tests."""


@asynccontextmanager
async def endpoint(
    handler: Handler, model: str | type[ModelProfile] = "m", *, api_key: str = "EMPTY"
) -> AsyncIterator[tuple[ScriptedEndpoint, OpenAIClient]]:
    async with (
        ScriptedEndpoint(handler=handler) as running,
        OpenAIClient(model, base_url=running.base_url, api_key=api_key) as client,
    ):
        yield running, client


def job(client: OpenAIClient, path: Path, **options: Any) -> BatchJob:
    return BatchJob(client, path, sleep=at_once, **options)


def uploads(running: ScriptedEndpoint) -> int:
    return sum(request.method == "POST" and request.path == "/v1/files" for request in running.requests)


def creations(running: ScriptedEndpoint) -> int:
    return sum(request.method == "POST" and request.path == "/v1/batches" for request in running.requests)


def read(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job"


async def test_answers_come_in_the_input_s_order_whatever_the_endpoint_s(path: Path) -> None:
    handler = BatchHandler()
    words = [f"word{number}" for number in range(7)]
    async with endpoint(handler) as (_, client), job(client, path) as batch:
        results = await batch.run(asking(*words), progress=quiet)
    assert [result["output"].split()[-1] for result in results] == words
    assert [result["custom_id"] for result in results] == [f"request-{number}" for number in range(7)]
    assert [json.loads(line)["custom_id"] for line in handler.files["file-2"].splitlines()] != [
        result["custom_id"] for result in results
    ]


async def test_an_answer_is_what_get_response_gives(path: Path) -> None:
    async with endpoint(BatchHandler()) as (_, client), job(client, path) as batch:
        (result,) = await batch.run([{"custom_id": "mine", **asking("Hello")[0]}], progress=quiet)
        direct = await client.get_response(messages=asking("Hello")[0]["messages"], identifier="mine")
    added = {"price_factor": 0.5, "custom_id": "mine", "index": 0, "batch_id": "batch_1", "stream_id": None}
    del direct["params"]
    assert result == {**direct, **added}


@pytest.mark.parametrize(
    "request_line",
    [
        {"input": "Hello"},
        {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "Hello"}},
    ],
)
async def test_the_responses_api_is_served_too(request_line: dict[str, Any], path: Path) -> None:
    async with endpoint(BatchHandler()) as (_, client), job(client, path) as batch:
        (result,) = await batch.run([request_line], progress=quiet)
    assert result["output"].endswith("You said: Hello")
    assert (result["status"], result["finish_reason"]) == ("completed", "stop")


async def test_tokens_cost_half(path: Path) -> None:
    async with endpoint(BatchHandler(), Priced) as (_, client):
        async with job(client, path) as batch:
            (result,) = await batch.run(asking("Hello"), progress=quiet)
        direct = await client.get_response(**asking("Hello")[0])
    assert result["usage"]["cost_usd"] == pytest.approx(direct["usage"]["cost_usd"] / 2)
    assert result["price_factor"] == 0.5


async def test_embeddings_come_as_vectors_at_half_the_price(path: Path) -> None:
    async with endpoint(BatchHandler(), Vectors) as (_, client):
        async with job(client, path) as batch:
            results = await batch.run([{"input": ["one", "two words"]}, {"input": "three"}], progress=quiet)
        direct = await client.embedding(["one", "two words"])
    assert results[0]["output"] == direct.vectors
    assert len(results[1]["output"]) == 1
    assert results[0]["usage"]["cost_usd"] == pytest.approx(3 * 1e-3 / 2)


async def test_a_request_that_the_endpoint_refuses_fails_alone(path: Path) -> None:
    def answer(request: RecordedRequest) -> Reply:
        if b"bad" in request.body:
            return status_reply(400, "Not like this.")
        return completion_reply("fine")

    async with endpoint(BatchHandler(answer)) as (_, client), job(client, path) as batch:
        results = await batch.run(asking("good", "bad", "good"), progress=quiet)
    assert [(each["status"], each["error_code"]) for each in results] == [
        ("completed", None),
        ("failed", "invalid_request"),
        ("completed", None),
    ]
    assert results[1]["error"] == "Not like this."
    assert (results[1]["index"], results[1]["output"]) == (1, None)


@pytest.mark.parametrize(("ending", "code"), [("expired", "total_timeout"), ("cancelled", "interrupted")])
async def test_what_a_batch_did_before_it_ended_early_is_kept(ending: Ending, code: str, path: Path) -> None:
    async with endpoint(BatchHandler(ending=ending)) as (_, client), job(client, path) as batch:
        results = await batch.run(asking("a", "b", "c"), progress=quiet)
    assert [(each["status"], each["error_code"]) for each in results] == [
        ("completed", None),
        ("failed", code),
        ("completed", None),
    ]


async def test_a_batch_that_was_refused_gives_a_reason_for_each_request(path: Path) -> None:
    async with endpoint(BatchHandler(ending="failed")) as (_, client), job(client, path) as batch:
        results = await batch.run(asking("a", "b"), progress=quiet)
    assert [each["status"] for each in results] == ["failed", "failed"]
    assert "The script says so." in results[0]["error"]


async def test_limits_and_models_make_several_batches(path: Path) -> None:
    handler = BatchHandler()
    requests = [*asking("a", "b", "c"), *asking("d", model="other"), {"input": "e"}]
    async with endpoint(handler) as (_, client), job(client, path, limits=Limits(max_requests=2)) as batch:
        results = await batch.run(requests, progress=quiet)
    assert [each["output"].split()[-1] for each in results] == list("abcde")
    assert [each["batch_id"] for each in results] == ["batch_1", "batch_1", "batch_2", "batch_3", "batch_4"]
    assert all(each["status"] == "completed" for each in handler.batches.values())


async def test_bytes_are_a_limit_too(path: Path) -> None:
    async with (
        endpoint(BatchHandler()) as (_, client),
        job(client, path, limits=Limits(max_file_bytes=400)) as batch,
    ):
        assert len(await batch.submit(asking("a" * 100, "b" * 100, "c"))) == 2


async def test_inputs_of_embeddings_are_a_limit_too(path: Path, tmp_path: Path) -> None:
    few = Limits(max_inputs=3)
    requests = [{"input": ["a", "b"]}, {"input": ["c", "d"]}, {"input": [1, 2, 3]}]
    async with endpoint(BatchHandler(), Vectors) as (_, client):
        async with job(client, path, limits=few) as batch:
            assert len(await batch.submit(requests)) == 2
        async with job(client, tmp_path / "other", limits=few) as batch:
            with pytest.raises(InvalidRequestError, match="too large"):
                await batch.submit([{"input": ["a", "b", "c", "d"]}])


async def test_a_later_process_waits_and_collects(path: Path) -> None:
    async with endpoint(BatchHandler()) as (running, client):
        async with job(client, path) as batch:
            ids = await batch.submit(asking("a", "b"))
        async with job(client, path) as batch:
            assert batch.is_submitted
            assert batch.batch_ids == ids
            await batch.wait(progress=quiet)
            results = await batch.collect()
        assert uploads(running) == creations(running) == 1
    assert [each["output"].split()[-1] for each in results] == ["a", "b"]


async def test_submitting_again_does_nothing(path: Path) -> None:
    async with endpoint(BatchHandler()) as (running, client):
        for _ in range(2):
            async with job(client, path) as batch:
                await batch.submit(asking("a"))
        assert uploads(running) == creations(running) == 1


async def test_a_batch_whose_beginning_was_not_heard_is_found_again(path: Path) -> None:
    handler = BatchHandler()

    def unheard(request: RecordedRequest) -> Reply:
        reply = handler(request)
        if request.method == "POST" and request.path == "/v1/batches":
            return status_reply(502, "The gateway lost the answer.")
        return reply

    async with endpoint(unheard) as (running, client):
        async with job(client, path) as batch:
            with pytest.raises(EndpointError):
                await batch.submit(asking("a"))
            assert not batch.is_submitted
            assert await batch.submit(asking("a")) == ["batch_1"]
        assert uploads(running) == creations(running) == 1


async def test_a_file_that_never_became_a_batch_is_not_uploaded_again(path: Path) -> None:
    handler = BatchHandler()
    refusals = [status_reply(400, "Not now.")]

    def refusing(request: RecordedRequest) -> Reply:
        if request.method == "POST" and request.path == "/v1/batches" and refusals:
            return refusals.pop()
        return handler(request)

    async with endpoint(refusing) as (running, client):
        async with job(client, path) as batch:
            with pytest.raises(EndpointError, match="Not now"):
                await batch.submit(asking("a"))
        async with job(client, path) as batch:
            assert await batch.submit(asking("a")) == ["batch_1"]
        assert (uploads(running), creations(running)) == (1, 2)


@pytest.mark.parametrize("cut", [1, 20])
async def test_a_torn_last_line_hands_nothing_over_twice(cut: int, path: Path) -> None:
    async with endpoint(BatchHandler()) as (running, client):
        async with job(client, path) as batch:
            await batch.submit(asking("a"))
        write(path, read(path)[:-cut])
        async with job(client, path) as batch:
            await batch.submit(asking("a"))
        assert uploads(running) == creations(running) == 1


async def test_other_requests_are_refused_in_the_same_file(path: Path) -> None:
    async with endpoint(BatchHandler()) as (running, client), job(client, path) as batch:
        await batch.submit(asking("a"))
        with pytest.raises(InvalidRequestError, match="other requests"):
            await batch.submit(asking("b"))
        assert creations(running) == 1


async def test_a_file_of_another_endpoint_is_refused(path: Path) -> None:
    async with endpoint(BatchHandler()) as (_, client), job(client, path) as batch:
        await batch.submit(asking("a"))
    async with endpoint(BatchHandler()) as (_, client):
        with pytest.raises(InvalidRequestError, match="a job at"):
            async with job(client, path):
                pass


async def test_a_file_that_is_no_job_s_is_refused(path: Path) -> None:
    write(path, b'{"my": "notes"}\n')
    async with endpoint(BatchHandler()) as (_, client):
        with pytest.raises(CheckpointError, match="no file of a batch job"):
            async with job(client, path):
                pass


FOREIGN = {
    "one line of JSON without end": b'{"precious": 1}',
    "lines and a rest": b"a\nb\nc",
    "a checkpoint": b'{"checkpoint":1,"keyed":true}\n{"index":0,',
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
async def test_a_file_of_somebody_else_s_keeps_every_byte(content: bytes, path: Path) -> None:
    write(path, content)
    async with endpoint(BatchHandler()) as (_, client):
        with pytest.raises(CheckpointError, match="no file of a batch job"):
            await job(client, path).__aenter__()
    assert read(path) == content


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
async def test_a_new_job_s_file_is_its_owner_s_alone(path: Path) -> None:
    async with endpoint(BatchHandler()) as (_, client), job(client, path) as batch:
        await batch.submit(asking("a"))
    assert mode(path) == 0o600


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        ([], "no requests"),
        ([{"messages": []}, {"prompt": "x"}], "Request 1: a request has messages or input"),
        ([{"input": "a", "custom_id": "x"}, {"input": "b", "custom_id": "x"}], "'x' was there before"),
        ([{"input": "a", "stream": True}], "stream is not for a batch"),
        ([{"url": "/v1/videos", "body": {"input": "a"}}], "url is one of"),
        (["text"], "JSON object"),
        ({"input": "a"}, "iterable of mappings"),
    ],
)
async def test_what_is_no_request_is_refused_before_anything_is_sent(requests: Any, words: str, path: Path) -> None:
    async with endpoint(BatchHandler()) as (running, client), job(client, path) as batch:
        with pytest.raises(InvalidRequestError, match=words):
            await batch.submit(requests)
        assert running.requests == []


async def test_waiting_and_collecting_want_all_submitted(path: Path) -> None:
    async with endpoint(BatchHandler()) as (_, client), job(client, path) as batch:
        with pytest.raises(InvalidRequestError, match="await submit"):
            await batch.wait()
        await batch.submit(asking("a"))
        with pytest.raises(InvalidRequestError, match="await wait"):
            await batch.collect()


async def test_looks_grow_rarer(path: Path) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    async with (
        endpoint(BatchHandler()) as (_, client),
        BatchJob(client, path, poll_interval=4.0, max_poll_interval=6.0, sleep=note) as batch,
    ):
        await batch.submit(asking("a"))
        await batch.wait(progress=quiet)
    assert waits == [4.0, 6.0]


async def test_a_look_that_fails_once_is_no_end(path: Path) -> None:
    handler = BatchHandler()
    failures = [status_reply(400, "no"), *(status_reply(503, headers={"Retry-After-Ms": "1"}) for _ in range(4))]

    def failing(request: RecordedRequest) -> Reply:
        if request.path.startswith("/v1/batches/") and len(failures) > 1:
            return failures.pop()
        return handler(request)

    async with endpoint(failing) as (_, client), job(client, path) as batch:
        await batch.submit(asking("a"))
        await batch.wait(progress=quiet)
    assert len(failures) == 1


async def test_progress_tells_what_the_endpoint_counts(path: Path) -> None:
    told: list[Progress] = []
    async with endpoint(BatchHandler()) as (_, client), job(client, path) as batch:
        await batch.run(asking("a", "b"), progress=told.append)
    assert [(each.done, each.total, each.is_over) for each in told] == [(0, 2, False), (0, 2, False), (2, 2, True)]


async def test_a_cancelled_job_ends_as_cancelled(path: Path) -> None:
    handler = BatchHandler()
    async with endpoint(handler) as (_, client), job(client, path) as batch:
        await batch.submit(asking("a", "b"))
        await batch.cancel()
        await batch.wait(progress=quiet)
        results = await batch.collect()
    assert handler.batches["batch_1"]["status"] == "cancelled"
    assert [each["error_code"] for each in results] == [None, "interrupted"]


async def test_line_separators_inside_answers_are_no_line_ends(path: Path) -> None:
    text = "one\u2028two\x85three\rfour"
    handler = BatchHandler(lambda request: completion_reply(text))
    async with endpoint(handler) as (_, client), job(client, path) as batch:
        (result,) = await batch.run(asking("a"), progress=quiet)
    assert result["output"] == text


async def test_no_key_is_in_an_error(path: Path) -> None:
    def refuse(request: RecordedRequest) -> Reply:
        return status_reply(401, f"Incorrect key: {request.headers['authorization']}")

    async with (
        endpoint(refuse, api_key="a-key-of-no-known-form") as (_, client),
        job(client, path) as batch,
    ):
        with pytest.raises(EndpointError) as caught:
            await batch.submit(asking("a"))
    assert "a-key-of-no-known-form" not in str(caught.value)
    assert caught.value.code == "unauthorized"
