"""The transport beneath the SDK: proxies, probes, the kinds of its errors, and other uses of the SDK over it."""

from __future__ import annotations

import socket
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI

from hub.testing import Close, RecordedRequest, Reply, ScriptedEndpoint, completion_reply, json_reply, raw_reply, refuse
from hub.upstream.transport import AiohttpTransport

from .support import HELLO, within
from .test_clocks import full_backlog, silent_listener


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def ask(url: str, **options: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=AiohttpTransport(), **options) as http:
        # Not GET: that would be sent again by itself where a connection drops.
        return await within(http.post(url))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refuse(), httpx2.RemoteProtocolError),
        (raw_reply(b"x", Close(), headers={"Content-Length": "9"}, framing="length"), httpx2.RemoteProtocolError),
        (Reply(before=(b"no HTTP\r\n\r\n",)), httpx2.RemoteProtocolError),
    ],
    ids=["dropped", "cut off", "no HTTP"],
)
async def test_an_error_has_the_kind_httpx2_gives_it(reply: Reply, kind: type[Exception]) -> None:
    async with ScriptedEndpoint(reply) as endpoint:
        with pytest.raises(kind):
            await ask(endpoint.base_url)


async def test_a_refused_connection_is_a_connect_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(httpx2.ConnectError):
            await ask(f"http://127.0.0.1:{unused.getsockname()[1]}")


async def test_the_clocks_of_httpx2_have_their_kinds() -> None:
    with full_backlog() as port, pytest.raises(httpx2.ConnectTimeout):
        await ask(f"http://127.0.0.1:{port}", timeout=httpx2.Timeout(0.05))
    with silent_listener() as port, pytest.raises(httpx2.ReadTimeout):
        await ask(f"http://127.0.0.1:{port}", timeout=httpx2.Timeout(0.05))


async def test_connections_are_probed_while_they_are_silent() -> None:
    made: list[socket.socket] = []

    class Watched(socket.socket):
        def setsockopt(self, *args: Any) -> None:
            if args[:2] == (socket.SOL_SOCKET, socket.SO_KEEPALIVE):
                made.append(self)
            super().setsockopt(*args)

    async with ScriptedEndpoint(json_reply({})) as endpoint:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "socket", Watched)
            await ask(endpoint.base_url)
    assert len(made) == 1


async def test_the_proxy_that_the_environment_names_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedEndpoint(json_reply({"by": "proxy"})) as proxy:
        address = proxy.base_url.removesuffix("/v1").replace("://", "://me:pass@")
        monkeypatch.setenv("HTTP_PROXY", address)
        assert (await ask("http://models.example/v1/models")).json() == {"by": "proxy"}
        request = proxy.requests[0]
    assert request.path == "http://models.example/v1/models"
    assert request.headers["proxy-authorization"] == "Basic bWU6cGFzcw=="


async def test_hosts_that_need_no_proxy_are_asked_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with ScriptedEndpoint(json_reply({"by": "itself"})) as endpoint:
        assert (await ask(endpoint.base_url)).json() == {"by": "itself"}


async def test_the_sdk_works_over_it_for_everything_else() -> None:
    def handle(request: RecordedRequest) -> Reply:
        if request.path == "/v1/files":
            assert b"some content" in request.body
            return json_reply({"id": "file-1", "object": "file"})
        return completion_reply("Hi")

    http = httpx2.AsyncClient(transport=AiohttpTransport())
    async with (
        ScriptedEndpoint(handler=handle) as endpoint,
        AsyncOpenAI(base_url=endpoint.base_url, api_key="EMPTY", http_client=http) as sdk,
    ):
        whole = await sdk.chat.completions.create(model="m", messages=HELLO)
        assert whole.choices[0].message.content == "Hi"
        assert (await sdk.files.create(file=b"some content", purpose="batch")).id == "file-1"
