"""Sinks by URL: what goes where, what is filled in, and what is refused without a password being repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.errors import ClosedError, ConfigurationError, HubError, InvalidRequestError
from hub.events import LLMEvent
from hub.testing import Reply, ScriptedEndpoint
from sinks.jsonl import read_events
from sinks.opening import SinkConnections, SinkTemplate, open_sink
from sinks.webhook import new_secret, verify

from ..contracts.samples import a_stream
from ..hub.redis_io.support import ScriptedRedis
from .strict_pusher import APP_ID, KEY, SECRET, StrictPusher

STREAM = a_stream("Hello", " world")
ID = "str_1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("REDIS_URL", "WEBHOOK_SECRET", *("PUSHER_HOST", "PUSHER_PORT", "PUSHER_SCHEME", "PUSHER_APP_CLUSTER")):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"PUSHER_APP_ID": APP_ID, "PUSHER_AUTH_KEY": KEY, "PUSHER_AUTH_SECRET": SECRET}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


async def fill(url: str, **values: str) -> None:
    async with open_sink(url, stream_id=ID, **values) as sink:
        for event in STREAM:
            await sink.send(event)


class Redis:
    """Takes publications, and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[bytes]] = []

    async def __call__(self, command: list[bytes]) -> bytes:
        """The answer to one command."""
        self.asked.append(command)
        return b":0\r\n" if command[0] in (b"PUBLISH", b"SPUBLISH", b"EVALSHA") else b"+OK\r\n"

    def said(self, word: bytes) -> list[list[bytes]]:
        """What followed that word, each time."""
        return [command[1:] for command in self.asked if command[0] == word]

    def scripted(self) -> tuple[list[bytes], list[bytes]]:
        """Keys and arguments of the one script that was run."""
        (_, count, *rest), *_ = self.said(b"EVALSHA")
        return rest[: int(count)], rest[int(count) :]


# Where the events go


@pytest.mark.parametrize(
    ("path", "channel", "database"),
    [
        ("/chat:42", b"chat:42", None),
        ("/3/chat:42", b"chat:42", b"3"),
        ("/0/42", b"42", None),
        ("/0/a/b", b"a/b", None),
        ("/chat:{channel}", b"chat:7", None),
        ("/{stream_id}", b"str_1", None),
        ("/%7Bchat%7D:%20%C3%A9", "{chat}: é".encode(), None),
    ],
)
async def test_the_path_of_a_redis_url_ends_in_the_channel(path: str, channel: bytes, database: bytes | None) -> None:
    redis = Redis()
    async with ScriptedRedis(redis) as server:
        await fill(f"{server.url}{path}", channel="7")
    assert redis.scripted()[0] == [channel]
    assert redis.said(b"SELECT") == ([] if database is None else [[database]])


async def test_a_redis_url_without_a_host_means_that_of_the_environment(environment: pytest.MonkeyPatch) -> None:
    redis = Redis()
    async with ScriptedRedis(redis) as server:
        environment.setenv("REDIS_URL", server.url)
        await fill("redis:///chat")
    assert redis.scripted()[0] == [b"chat"]


async def test_options_of_a_redis_url_reach_the_sink() -> None:
    plain, logged, sharded = Redis(), Redis(), Redis()
    for redis, query in (
        (plain, "merge=false"),
        (logged, "replay=7&replay_ttl=9.5"),
        (sharded, "sharded=1&merge=true"),
    ):
        async with ScriptedRedis(redis) as server:
            await fill(f"{server.url}/chat?{query}")
    assert plain.scripted()[1][0] == b"PUBLISH"
    assert {b"7", b"9500"} <= set(logged.scripted()[1])
    assert sharded.scripted()[1][0] == b"SPUBLISH"
    lines = [redis.scripted()[1][-1].count(b"\n") for redis in (plain, sharded)]
    assert lines[0] > lines[1], "what gathered was not merged"


class Noted(SinkConnections):
    """Notes which servers are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str | None] = []

    def redis(self, url: str | None) -> Any:
        """As its parent does."""
        self.urls.append(url)
        return super().redis(url)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://:pw@h:1/chat?sharded=1", "redis://:pw@h:1/"),
        ("rediss://h/2/chat?ssl_cert_reqs=none&merge=0", "rediss://h/2?ssl_cert_reqs=none"),
        ("redis+cluster://a:1/chat", "redis+cluster://a:1/"),
        ("redis+sentinel://a:1,b:2/svc/chat", "redis+sentinel://a:1,b:2/svc"),
        ("redis+sentinel://a:1/svc/4/5?sentinel_password=p%26q", "redis+sentinel://a:1/svc/4?sentinel_password=p%26q"),
    ],
)
async def test_the_driver_gets_the_url_without_the_channel_and_our_options(url: str, server: str) -> None:
    async with Noted() as connections:
        SinkTemplate.read(url).open(connections=connections)
        assert connections.urls == [server]


async def test_sinks_of_one_server_share_its_connections() -> None:
    async with SinkConnections() as connections:
        assert connections.redis("redis://a") is connections.redis("redis://a")
        assert connections.redis("redis://a") is not connections.redis("redis://b")


async def test_a_pusher_url_is_a_channel_of_the_configured_app(environment: pytest.MonkeyPatch) -> None:
    async with StrictPusher() as server:
        environment.setenv("PUSHER_HOST", "127.0.0.1")
        environment.setenv("PUSHER_PORT", str(server.port))
        environment.setenv("PUSHER_SCHEME", "http")
        await fill("pusher://private-{stream_id}?max_messages_per_second=1000&event_name=said&max_event_bytes=5000")
        assert [event.type for event in server.events("private-str_1")][-1] == "done"
        assert {sent.name for sent in server.sent} == {"said"}


async def test_a_file_url_is_a_path(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    await fill(
        f"file://{tmp_path}/a%20b%7B{{channel}}-{{stream_id}}.jsonl?fsync=never&max_files=3&max_bytes=100000",
        channel="7",
    )
    environment.chdir(tmp_path)
    await fill("file:near.jsonl")
    for name in ("a b{7-str_1.jsonl", "near.jsonl"):
        assert list(read_events(tmp_path / name)) == STREAM


async def test_a_webhook_url_is_filled_in_with_its_own_query(environment: pytest.MonkeyPatch) -> None:
    secret = new_secret()
    environment.setenv("WEBHOOK_SECRET", secret)
    got: list[LLMEvent] = []

    def receive(request: Any) -> Reply:
        paths.append(request.path)
        got.extend(verify(request.headers, request.body, secret))
        return Reply(framing="length")

    paths: list[str] = []
    async with ScriptedEndpoint(handler=receive) as endpoint:
        base = endpoint.base_url.removesuffix("/v1")
        await fill(f"{base}/hooks/{{stream_id}}?to={{channel}}&fsync=1", channel="a=b;c")
    assert got[-1].type == "done"
    assert set(paths) == {"/hooks/str_1?to=a%3Db%3Bc&fsync=1"}


async def test_types_of_a_url_are_those_that_pass(tmp_path: Path) -> None:
    await fill(f"file://{tmp_path}/x.jsonl?types=text_delta,reasoning_delta")
    events = list(read_events(tmp_path / "x.jsonl"))
    assert [event.type for event in events] == ["meta", "text_delta", "text_delta", "done"]
    sink = open_sink(f"file://{tmp_path}/y.jsonl?types=text_delta")
    with pytest.raises(ClosedError):
        await sink.send(STREAM[0])
    await sink.aclose()
    await sink.aclose()


# What is refused


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "There is no such sink"),
        ("memory:", "redis://HOST/CHANNEL"),
        ("ftp://host/x", "There is no such sink"),
        ("postgres://user:hunter2@host/x", "There is no such sink"),
        ("redis://:hunter2@host", "ends in its channel"),
        ("redis://:hunter2@host/", "ends in its channel"),
        ("redis://:hunter2@host/0", "ends in its channel"),
        ("redis://:hunter2@host/0/", "ends in its channel"),
        ("redis+sentinel://:hunter2@host/service", "ends in its channel"),
        ("redis+sentinel://:hunter2@host/{channel}/x", "ends in its channel"),
        ("redis://:hunter2@host/chat?token=hunter2", "no option 'token'; there are types, sharded, replay"),
        ("redis://:hunter2@host/chat?sharded=hunter2", "sharded of a sink redis://… is 1 or 0"),
        ("redis://:hunter2@host/chat?replay=hunter2", "replay of a sink redis://… is a whole number"),
        ("redis://:hunter2@host/chat?replay_ttl=9", "goes with replay"),
        ("redis://:hunter2@host/chat?replay=9&replay_ttl=nan", "is a number"),
        ("redis://:hunter2@host/chat?replay=9&replay_ttl=inf", "at least one event"),
        ("redis://:hunter2@host/chat?replay=9&replay_ttl=1e300", "at least one event"),
        ("redis://:hunt?hunter2@host/chat", "no such option"),
        ("redis://:hunt?hunter2@host/chat", "written %3F"),
        ("redis://:hunt{hunter2}@host/chat", "something else in braces"),
        ("redis://:hunt{hunter2}@host/{chanel}", "{chanel}"),
        ("pusher://key:hunter2@chat", "pusher://CHANNEL"),
        ("redis://:hunter2@host/chat?sharded=1&sharded=1", "each option once"),
        ("redis://:hunter2@host/chat?sharded", "each option once"),
        ("redis://:hunter2@{channel}/chat", "can't be filled in"),
        ("redis://:hunter2@host:99999/chat", "URL of Redis can't be used"),
        ("redis://:hunter2@[host/chat", "makes no sense"),
        ("redis://:hunter2@host/{chanel}", "{chanel}"),
        ("redis://:hunter2@host/chat?replay=0", "at least one event"),
        ("pusher:///chat", "pusher://CHANNEL"),
        ("pusher://app/chat", "pusher://CHANNEL"),
        ("pusher://chat?max_messages_per_second=fast", "is a number"),
        ("file://host/x.jsonl", "three slashes"),
        ("file:///folder/", "three slashes"),
        ("file:", "three slashes"),
        ("file:///x.jsonl?types=words", "can't let 'words' pass"),
        ("file:///x.jsonl?fsync=often", "never or end or always"),
        ("https://hooks.example/x", "WEBHOOK_SECRET"),
        ("https://{channel}.example/x", "can't be filled in"),
    ],
)
def test_a_url_that_makes_no_sense_is_told_in_a_sentence_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_sink(url, stream_id=ID, channel="7")
    assert words in str(raised.value)
    cause: BaseException | None = raised.value
    while cause is not None:
        assert "hunter2" not in str(cause)
        cause = cause.__cause__ or cause.__context__


def test_a_missing_app_of_pusher_is_told_by_its_variables(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("PUSHER_AUTH_KEY")
    with pytest.raises(ConfigurationError, match="PUSHER_AUTH_KEY"):
        open_sink("pusher://chat")


@pytest.mark.parametrize("value", ["", "a/b", "..%2f", "a b", "é", "a\n", "a?b", "a#b", "{channel}", "x" * 165, None])
@pytest.mark.parametrize("url", ["redis://h/{channel}", "file:///{channel}.jsonl", "pusher://{channel}"])
def test_a_value_that_could_mean_something_else_is_refused(url: str, value: str | None) -> None:
    with pytest.raises(InvalidRequestError, match="channel"):
        open_sink(url, channel=value)


@pytest.mark.parametrize(("path", "value"), [("/{channel}", "a.000001"), ("/a.{channel}", "20261121")])
def test_a_value_makes_no_name_that_another_file_gets_when_it_rotates(path: str, value: str) -> None:
    with pytest.raises(InvalidRequestError, match="when it rotates"):
        open_sink(f"file://{path}", channel=value)
    open_sink(f"file://{path}.jsonl", channel=value)
    open_sink(f"file://{path}/x", channel=value)
    open_sink("file:///{channel}%2E20261121", channel=value)  # which is for the operator to say


@pytest.mark.parametrize(
    ("path", "value"), [("/{channel}/x", ".."), ("/a/{channel}", ".."), ("/a/.{channel}/b", "."), ("/{channel}/x", ".")]
)
def test_a_value_leads_to_no_other_folder(path: str, value: str) -> None:
    with pytest.raises(InvalidRequestError, match="folder"):
        open_sink(f"file://{path}", channel=value)


@pytest.mark.parametrize(
    ("url", "value"),
    [
        ("https://h/tenants/{channel}/in", ".."),
        ("https://h/tenants/{channel}/in", "."),
        ("https://h/tenants/{channel}?a={channel}", ".."),
        ("https://h/tenants/%2e{channel}/in", "."),
        ("https://h/tenants/x%2F{channel}/in", ".."),
        ("https://h/tenants/%2{channel}/in", "e"),
        ("https://h/tenants/%2{channel}../in", "f"),
        ("https://u:p@h/tenants/.{channel}/in", "."),
        ("file:///x/%2e{channel}/e.jsonl", "."),
        ("file:///x/y%2F{channel}/e.jsonl", ".."),
        ("redis://h/a/{channel}", ".."),
        ("redis://h/{channel}", "."),
        ("pusher://a%2F{channel}", ".."),
    ],
)
def test_a_value_steps_out_of_no_part_of_a_url(environment: pytest.MonkeyPatch, url: str, value: str) -> None:
    environment.setenv("WEBHOOK_SECRET", new_secret())
    with pytest.raises(InvalidRequestError, match="another folder, or path"):
        open_sink(url, channel=value)


def test_a_stream_id_steps_out_of_no_path_either(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WEBHOOK_SECRET", new_secret())
    with pytest.raises(InvalidRequestError, match="another folder, or path"):
        open_sink("https://h/{channel}{stream_id}/in", channel=".", stream_id=".")


async def test_dots_in_a_query_are_the_receivers(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WEBHOOK_SECRET", new_secret())
    async with ScriptedEndpoint(handler=lambda request: Reply(framing="length")) as endpoint:
        origin = endpoint.base_url.removesuffix("/v1")
        async with open_sink(f"{origin}/a/../in?c=x/{{channel}}", channel="..") as sink:
            await sink.send(STREAM[-1])
    assert [request.path for request in endpoint.requests] == ["/in?c=x/.."]


def test_dots_of_the_operators_own_stand(tmp_path: Path) -> None:
    open_sink(f"file://{tmp_path}/../{{channel}}..jsonl", channel="..")


@pytest.mark.parametrize(
    ("url", "module", "extra"), [("redis://h/x", "redis", "redis"), ("https://h/x", "standardwebhooks", "webhook")]
)
def test_a_driver_that_is_missing_is_told_by_its_extra(url: str, module: str, extra: str) -> None:
    code = f"""
import json, sys
sys.modules[{module!r}] = None
from sinks.opening import open_sink
from hub.errors import MissingExtraError
open_sink("file:///x.jsonl")
try:
    open_sink({url!r})
except MissingExtraError as exc:
    print(json.dumps(exc.extra))
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(run.stdout) == extra


def test_every_error_is_of_the_tree() -> None:
    with pytest.raises(HubError):
        open_sink("file:///{stream_id}.jsonl")
