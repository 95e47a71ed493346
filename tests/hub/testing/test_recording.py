"""Record and replay: what a recording keeps, what it hides, and what a replay gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from openai import AsyncOpenAI

from hub.client import OpenAIClient
from hub.completion import fold
from hub.errors import ConfigurationError
from hub.testing import (
    Gate,
    Hang,
    NotRecordedError,
    RecordingTransport,
    ReplayTransport,
    Reply,
    Reset,
    ScriptedEndpoint,
    ScriptedTransport,
    chat_reply,
    collect,
    completion_reply,
    embeddings_reply,
    forbid_real_calls,
    json_reply,
    never_answer,
    raw_reply,
    recorded,
    refuse,
    status_reply,
)
from hub.upstream.clocks import Timeouts
from hub.upstream.retry import RetryPolicy

HELLO: Any = [{"role": "user", "content": "Hello"}]
WHOLE = chat_reply("Hello big world", usage=True)
URL = "http://endpoint.invalid/v1"
KEY = "sk-very-secret-1234"
NO_CI: dict[str, str] = {}
MODES: tuple[Literal["record", "replay"], ...] = ("record", "replay")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recordings" / "chat.json"


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    """Neither a replay nor these recordings leave this machine."""
    with forbid_real_calls():
        yield


def client_of(http: httpx2.AsyncClient, **options: Any) -> OpenAIClient:
    given: dict[str, Any] = {"base_url": URL, "api_key": KEY, "retry": RetryPolicy(attempts=1), **options}
    return OpenAIClient("any", http_client=http, **given)


async def events_of(http: httpx2.AsyncClient, **options: Any) -> list[Any]:
    async with client_of(http, **options) as client:
        return await collect(client.stream(messages=HELLO, stream_id="str_1"))


async def both(path: Path, *replies: Reply, **options: Any) -> tuple[list[Any], list[Any]]:
    """What a client sees of these replies while they are recorded, and of the replay."""
    seen: list[list[Any]] = []
    for mode in MODES:
        async with recorded(path, mode=mode, inner=ScriptedTransport(*replies)) as http:
            seen.append([event for _ in replies for event in await events_of(http, **options)])
    return seen[0], seen[1]


def is_there(path: Path) -> bool:
    return path.exists()


def text_of(path: Path) -> str:
    return path.read_text()


def written(path: Path) -> list[Any]:
    exchanges: list[Any] = json.loads(text_of(path))["exchanges"]
    return exchanges


@pytest.mark.parametrize(
    "replies",
    [
        [WHOLE],
        [chat_reply("naïve café 漢字", usage=True, slice_bytes=5)],
        [status_reply(429, "Slow down.", headers={"Retry-After": "7"})],
        [status_reply(401, f"Wrong key: {KEY}.")],
        [replace(WHOLE, steps=(*WHOLE.steps[:2], Reset()))],
        [replace(WHOLE, steps=WHOLE.steps[:2])],
        [refuse()],
        [raw_reply(b"<html>no</html>", content_type="text/html")],
        [WHOLE, status_reply(503), WHOLE],
    ],
)
async def test_a_replay_gives_the_client_what_it_got(path: Path, replies: list[Reply]) -> None:
    live, replayed = await both(path, *replies)
    assert replayed == live


async def test_a_recording_over_a_real_socket_replays_without_one(path: Path) -> None:
    async with ScriptedEndpoint(WHOLE) as endpoint, recorded(path, mode="record") as http:
        live = await events_of(http, base_url=endpoint.base_url)
    async with recorded(path, mode="replay") as http:
        assert await events_of(http) == live
    assert fold(live).text == "Hello big world"


async def test_the_sdk_alone_can_be_recorded_and_embeddings_too(path: Path) -> None:
    transport = ScriptedTransport(completion_reply("Hi"), embeddings_reply(2))
    seen = []
    for mode in MODES:
        async with (
            recorded(path, mode=mode, inner=transport) as http,
            AsyncOpenAI(base_url=URL, api_key=KEY, http_client=http, max_retries=0) as sdk,
        ):
            chat = await sdk.chat.completions.create(model="any", messages=HELLO)
            vectors = await sdk.embeddings.create(model="any", input=["a", "b"])
            seen.append((chat.choices[0].message.content, [each.embedding for each in vectors.data]))
    assert seen[0] == seen[1]


# What is kept


async def test_a_recording_is_made_to_be_read(path: Path) -> None:
    ticks = iter(range(100))
    transport = RecordingTransport(path, ScriptedTransport(raw_reply(b"one", b"tw\xff")), clock=lambda: next(ticks))
    async with httpx2.AsyncClient(transport=transport) as http:
        await http.post(f"{URL}/x?b=2&a=1", json={"z": 1, "a": "é"})
    assert (
        text_of(path)
        == """{"format": 1, "exchanges": [
{
  "request": {
    "method": "POST",
    "path": "/v1/x?a=1&b=2",
    "body": {
      "z": 1,
      "a": "é"
    }
  },
  "response": {
    "status": 200,
    "headers": {
      "content-type": "text/event-stream; charset=utf-8"
    }
  },
  "seconds_to_head": 1,
  "ending": "complete",
  "message": "",
  "pieces": [
    [1, "one"],
    [1, {"base64": "dHf/"}]
  ]
}
]}
"""
    )


async def test_secrets_are_hidden_wherever_they_stand(path: Path) -> None:
    secrets = {name: f"secret-{name}-12345" for name in ("bearer", "x", "cookie", "query", "member", "own", "set")}
    quoting = json_reply(
        {"error": {"message": " ".join(secrets.values())}},
        status=401,
        headers={"Set-Cookie": secrets["set"], "OpenAI-Organization": secrets["set"], "X-Request-Id": "r"},
    )
    spread = raw_reply(b"quoting secret-bea", b"rer-12345 in parts")
    async with recorded(
        path, mode="record", inner=ScriptedTransport(quoting, spread), secrets=[secrets["own"]]
    ) as http:
        for _ in range(2):
            await http.post(
                f"{URL}/x",
                params={"api-version": "2026-01-01", "api-key": secrets["query"]},
                headers={
                    "Authorization": f"Bearer {secrets['bearer']}",
                    "X-Api-Key": secrets["x"],
                    "Cookie": secrets["cookie"],
                },
                json={"api_key": secrets["member"], "messages": [f"I say {secrets['own']}"], "token": "kept"},
            )
    text = text_of(path)
    body = text.partition('"pieces"')[0]
    for name in ("bearer", "x", "cookie", "query", "own"):
        assert secrets[name] not in text, name
    assert secrets["member"] not in body
    assert "secret-bea" not in text.partition("in parts")[0].rpartition("quoting")[2]
    first = written(path)[0]
    assert first["request"]["path"] == "/v1/x?api-key=***&api-version=2026-01-01"
    assert first["request"]["body"] == {"api_key": "***", "messages": ["I say ***"], "token": "kept"}
    assert first["response"]["headers"] == {"content-type": "application/json", "x-request-id": "r"}
    assert "endpoint.invalid" not in text


async def test_a_request_with_hidden_parts_is_found_again(path: Path) -> None:
    for mode, key in zip(MODES, ("secret-of-mine", "secret-of-another"), strict=True):
        async with recorded(path, mode=mode, inner=ScriptedTransport(json_reply({}))) as http:
            await http.post(f"{URL}/x?key={key}", json={"api_key": key}, headers={"api-key": key})


async def test_what_was_compressed_is_recorded_plain(path: Path) -> None:
    transport = ScriptedTransport(json_reply({}))
    async with recorded(path, mode="record", inner=transport) as http:
        await http.get(URL)
    assert transport.requests[0].headers["accept-encoding"] == "identity"


async def test_an_upload_is_found_again_whatever_its_boundary(path: Path) -> None:
    for mode in MODES:
        async with recorded(path, mode=mode, inner=ScriptedTransport(json_reply({}))) as http:
            await http.post(f"{URL}/files", files={"file": ("a.txt", b"some content")})
    assert "some content" in written(path)[0]["request"]["body"]["text"]


# Replays


async def test_equal_requests_are_answered_in_their_order_others_in_any(path: Path) -> None:
    replies = [json_reply({"n": n}) for n in range(3)]
    async with recorded(path, mode="record", inner=ScriptedTransport(*replies)) as http:
        for asked in ("a", "b", "a"):
            await http.post(URL, json={"asked": asked, "more": 1})
    transport = ReplayTransport(path)
    async with httpx2.AsyncClient(transport=transport) as http:
        answers = [(await http.post(URL, json={"more": 1, "asked": asked})).json()["n"] for asked in ("b", "a")]
        assert answers == [1, 0]
        assert len(transport.unused) == 1
        assert (await http.post(URL, json={"asked": "a", "more": 1})).json() == {"n": 2}
        with pytest.raises(NotRecordedError, match=r"more often than .*chat\.json has it: POST /v1"):
            await http.post(URL, json={"asked": "a", "more": 1})


async def test_a_request_that_was_not_recorded_shows_how_the_nearest_one_differs(path: Path) -> None:
    async with recorded(path, mode="record", inner=ScriptedTransport(WHOLE, json_reply({}))) as http:
        await events_of(http)
        await http.get(f"{URL}/models")
    async with recorded(path, mode="replay") as http, client_of(http) as client:
        with pytest.raises(NotRecordedError) as caught:
            await client.invoke(messages=[{"role": "user", "content": "Goodbye"}])
    message = str(caught.value)
    assert "no such request: POST /v1/chat/completions" in message
    assert '-      "content": "Hello",\n+      "content": "Goodbye",' in message
    assert "mode='record'" in message


async def test_no_retry_hides_a_request_that_was_not_recorded(path: Path) -> None:
    async with recorded(path, mode="record", inner=ScriptedTransport(json_reply({}))) as http:
        await http.get(URL)
    async with recorded(path, mode="replay") as http, AsyncOpenAI(base_url=URL, api_key=KEY, http_client=http) as sdk:
        with pytest.raises(NotRecordedError):
            await sdk.models.list()


async def test_an_answer_that_was_left_ends_in_an_error_where_one_reads_on(path: Path) -> None:
    async with recorded(path, mode="record", inner=ScriptedTransport(WHOLE)) as http, client_of(http) as client:
        async for event in client.stream(messages=HELLO):
            if event.type == "text_delta":
                break
    assert written(path)[0]["ending"] == "left"
    async with recorded(path, mode="replay") as http:
        with pytest.raises(NotRecordedError, match="the client left"):
            await events_of(http)


@pytest.mark.parametrize("reply", [never_answer(), chat_reply(["Hello", Hang()])])
async def test_what_the_client_gave_up_waiting_for_never_comes(path: Path, reply: Reply) -> None:
    timeouts = Timeouts(first_token_timeout=0.05, stall_timeout=0.05)
    live, replayed = await both(path, reply, timeouts=timeouts)
    assert written(path)[0]["ending"] == "waiting"
    assert [event.type for event in replayed] == [event.type for event in live]
    assert replayed == live


async def test_a_wait_in_a_replay_ends_with_the_client_s_read_time_out(path: Path) -> None:
    async with recorded(path, mode="record", inner=ScriptedTransport(never_answer())) as http:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(http.get(URL, timeout=None), 0.01)
    async with recorded(path, mode="replay") as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.get(URL, timeout=0.01)


async def test_a_recorded_pace_can_be_kept(path: Path) -> None:
    ticks = iter([0.0, 0.01, 0.03, 0.06])
    inner = ScriptedTransport(raw_reply(b"one", b"two"))
    async with httpx2.AsyncClient(transport=RecordingTransport(path, inner, clock=lambda: next(ticks))) as http:
        await http.get(URL)
    loop = asyncio.get_running_loop()
    async with recorded(path, mode="replay", pacing="recorded") as http:
        start = loop.time()
        async with http.stream("GET", URL) as response:
            times = [loop.time() - start async for _ in response.aiter_bytes()]
    assert times[0] >= 0.03 - 0.005
    assert times[1] >= 0.06 - 0.005


async def test_exchanges_side_by_side_keep_the_order_of_their_requests(path: Path) -> None:
    gate = Gate()
    inner = ScriptedTransport(raw_reply(b"first", gate), raw_reply(b"second"))
    async with recorded(path, mode="record", inner=inner) as http, asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(http.get(f"{URL}/slow"))
        await gate.reached()
        await http.get(f"{URL}/quick")
        gate.open()
        await slow
    assert [each["request"]["path"] for each in written(path)] == ["/v1/slow", "/v1/quick"]
    assert [each["pieces"][0][1] for each in written(path)] == ["first", "second"]


# Modes


async def test_auto_records_once_and_replays_ever_after(path: Path) -> None:
    first, second = ScriptedTransport(WHOLE), ScriptedTransport(WHOLE)
    for inner in (first, second):
        async with recorded(path, inner=inner, environ=NO_CI) as http:
            await events_of(http)
    assert (len(first.requests), len(second.requests)) == (1, 0)


@pytest.mark.parametrize(("value", "is_ci"), [("true", True), ("1", True), ("", False), ("false", False)])
async def test_auto_never_records_in_ci(path: Path, value: str, is_ci: bool) -> None:
    inner = ScriptedTransport(json_reply({}))
    if is_ci:
        with pytest.raises(ConfigurationError, match=r"no recording at .*in CI"):
            async with recorded(path, inner=inner, environ={"CI": value}):
                pass
    else:
        async with recorded(path, inner=inner, environ={"CI": value}) as http:
            await http.get(URL)
    assert is_there(path) != is_ci


async def test_a_replay_needs_a_recording(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no recording at"):
        async with recorded(path, mode="replay"):
            pass


def test_what_is_no_recording_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no recording at"):
        ReplayTransport(path)
    path.parent.mkdir()
    for content in ("{}", "no JSON", '{"format": 2, "exchanges": []}'):
        path.write_text(content)
        with pytest.raises(ConfigurationError, match=r"chat\.json is"):
            ReplayTransport(path)


async def test_a_test_that_fails_leaves_no_recording(path: Path) -> None:
    async def fail() -> None:
        async with recorded(path, mode="record", inner=ScriptedTransport(json_reply({}))) as http:
            await http.get(URL)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert not is_there(path)


async def test_record_replaces_an_older_recording(path: Path) -> None:
    for text in ("one", "two"):
        async with recorded(path, mode="record", inner=ScriptedTransport(raw_reply(text.encode()))) as http:
            await http.get(URL)
    assert [each["pieces"][0][1] for each in written(path)] == ["two"]
    assert list(path.parent.iterdir()) == [path]
