"""`POST /pusher/auth`: a signature for whoever may read the stream, and for nobody else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pusher
import pytest

from hub.answerer import Answering
from hub.config import HubSettings, PusherSettings
from hub.errors import ConfigurationError
from hub.hub import Hub
from hub.server.app import create_app
from hub.server.edge import Edge
from hub.server.pusher_auth import PusherAuth, pusher_app
from hub.testing import FakeLLM
from sinks.pusher import PusherApp

from .test_streams import assert_problem

APP = PusherApp(app_id="1", key="the-key", secret="the-secret", host="localhost")
SDK = pusher.Pusher(app_id="1", key="the-key", secret="the-secret")
SOCKET = "123.456"


@dataclass
class Running:
    """A hub with one stream, and a client of it."""

    http: httpx2.AsyncClient
    stream_id: str

    async def ask(self, channel: str | None = None, **more: Any) -> httpx2.Response:
        """Ask as pusher-js does, with a form."""
        form = {"socket_id": SOCKET, "channel_name": channel or f"private-{self.stream_id}", **more}
        return await self.http.post("/pusher/auth", data=form)


StartHub = Callable[..., AbstractAsyncContextManager[Running]]


@asynccontextmanager
async def start(*, app: PusherApp | None = APP, **settings: Any) -> AsyncIterator[Running]:
    answering = Answering("scripted", None, "scripted", "Nobody.")
    async with Hub(FakeLLM("Hi")) as hub:
        info = await hub.start(messages=[{"role": "user", "content": "Hello"}])
        asgi = create_app(hub, Edge(), HubSettings(**settings), answering, pusher=app)
        transport = httpx2.ASGITransport(asgi)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield Running(http, info.stream_id)


async def test_a_private_channel_is_signed_as_the_sdk_signs_it() -> None:
    async with start() as running:
        response = await running.ask()
        assert response.status_code == 200
        assert response.json() == SDK.authenticate(f"private-{running.stream_id}", SOCKET)
        assert response.headers["cache-control"] == "no-store"


async def test_a_presence_channel_is_signed_with_who_the_page_says_is_there() -> None:
    async with start() as running:
        channel = f"presence-{running.stream_id}"
        response = await running.ask(channel, user_id="ann", user_info='{"name": "Ann שלום"}')
        answer = response.json()
        member = json.loads(answer["channel_data"])
        assert member == {"user_id": "ann", "user_info": {"name": "Ann שלום"}}
        expected = pusher.signature.sign("the-secret", f"{SOCKET}:{channel}:{answer['channel_data']}")
        assert answer["auth"] == f"the-key:{expected}"


async def test_who_does_not_say_who_is_there_is_someone_else_each_time() -> None:
    async with start() as running:
        answers = [(await running.ask(f"presence-{running.stream_id}")).json() for _ in range(2)]
    first, second = (json.loads(answer["channel_data"])["user_id"] for answer in answers)
    assert first != second


async def test_a_program_may_ask_with_json() -> None:
    async with start() as running:
        asked = {"socket_id": SOCKET, "channel_name": f"presence-{running.stream_id}", "user_info": {"n": 1}}
        response = await running.http.post("/pusher/auth", json=asked)
        assert json.loads(response.json()["channel_data"])["user_info"] == {"n": 1}


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic key"])
async def test_it_asks_for_the_same_key_as_the_events_do(authorization: str | None) -> None:
    async with start(api_keys="key") as running:
        running.http.headers.update({"Authorization": authorization} if authorization else {})
        assert_problem(await running.ask(), 401, "Bearer")
        assert_problem(await running.http.get(f"/v1/streams/{running.stream_id}/events"), 401, "Bearer")
        running.http.headers["Authorization"] = "Bearer key"
        assert (await running.ask()).status_code == 200


async def test_without_keys_it_answers_for_this_machine_s_names_only() -> None:
    async with start() as running:
        running.http.headers["Host"] = "rebound.example"
        assert_problem(await running.ask(), 421, "rebound.example")


async def test_a_stream_that_is_not_here_is_404() -> None:
    async with start() as running:
        assert_problem(await running.ask("private-str_nobody"), 404, "str_nobody")


@pytest.mark.parametrize("channel", ["chat", "private-", "presence-", "cache-{}", "my-private-{}"])
async def test_a_channel_of_no_stream_is_403(channel: str) -> None:
    async with start() as running:
        assert_problem(await running.ask(channel.format(running.stream_id)), 403, "no stream")


@pytest.mark.parametrize("channel", ["private-encrypted-{}", "private-{}:x", "private-{}\n"])
async def test_a_channel_that_pusher_or_we_would_not_have_is_422(channel: str) -> None:
    async with start() as running:
        assert_problem(await running.ask(channel.format(running.stream_id)), 422, "channel")


@pytest.mark.parametrize("socket_id", ["", "1", "1.2.3", "1.2:private-other", "x.y"])
async def test_a_socket_id_that_is_none_is_422(socket_id: str) -> None:
    async with start() as running:
        assert_problem(await running.ask(socket_id=socket_id), 422, "socket_id")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"user_id": "x" * 129}, "128"),
        ({"user_info": "{"}, "JSON object"),
        ({"user_info": "null"}, "JSON object"),
        ({"user_info": "[]"}, "JSON object"),
        ({"user_info": '"x"'}, "JSON object"),
        ({"user_info": f'{{"name":"{"x" * 2_000}"}}'}, "1,024"),
    ],
)
async def test_who_is_there_keeps_to_pusher_s_bounds(more: dict[str, str], words: str) -> None:
    async with start() as running:
        assert_problem(await running.ask(f"presence-{running.stream_id}", **more), 422, words)


@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [
        ("text/plain", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[]", 400),
        ("application/json", b'{"socket_id": 1}', 422),
        ("application/json", b"{}", 422),
        ("application/x-www-form-urlencoded", b"socket_id=%ff", 400),
        ("application/x-www-form-urlencoded", b"\xff", 400),
        ("application/x-www-form-urlencoded", b"a=1&" * 100, 400),
        ("application/x-www-form-urlencoded", b"a=" + b"1" * 20_000, 413),
    ],
)
async def test_a_body_that_is_no_such_request_is_refused(media_type: str, body: bytes, status: int) -> None:
    async with start() as running:
        response = await running.http.post("/pusher/auth", content=body, headers={"Content-Type": media_type})
        assert response.status_code == status


async def test_pages_of_allowed_origins_may_ask_with_their_key() -> None:
    async with start(api_keys="key", cors_origins="https://app.example") as running:
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        headers = {"Origin": "https://app.example", **asking}
        response = await running.http.options("/pusher/auth", headers=headers)
        assert response.headers["access-control-allow-origin"] == "https://app.example"


async def test_without_an_app_there_is_no_such_path() -> None:
    async with start(app=None) as running:
        assert (await running.ask()).status_code == 404


async def test_channels_may_be_named_otherwise() -> None:
    async with Hub(FakeLLM("Hi")) as hub:
        info = await hub.start(messages=[{"role": "user", "content": "Hello"}])
        auth = PusherAuth(hub, APP, HubSettings(), channels=("private-my.app-{stream_id}",))
        assert auth._stream_of(f"private-my.app-{info.stream_id}") == info.stream_id
        with pytest.raises(Exception, match="no stream"):
            auth._stream_of(f"private-myxapp-{info.stream_id}")


def test_the_settings_name_the_app() -> None:
    settings = PusherSettings(
        app_id="1", auth_key="the-key", auth_secret="the-secret", host="localhost", port=6001, scheme="http"
    )
    assert pusher_app(settings) == PusherApp(
        app_id="1", key="the-key", secret="the-secret", host="localhost", port=6001, ssl=False
    )


def test_no_settings_are_no_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSHER_APP_ID", "9")  # read into the settings or not at all
    assert pusher_app(PusherSettings(app_id="")) is None


def test_half_an_app_is_a_mistake_that_is_told() -> None:
    with pytest.raises(ConfigurationError, match="PUSHER_AUTH_SECRET and PUSHER_APP_CLUSTER"):
        pusher_app(PusherSettings(app_id="1", auth_key="key"))
