"""The transport beneath the SDK: proxies, probes, the kinds of its errors, and other uses of the SDK over it."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI

from hub.testing import Close, RecordedRequest, Reply, ScriptedEndpoint, completion_reply, json_reply, raw_reply, refuse
from hub.upstream.transport import AiohttpTransport, RedirectsElsewhereError, check_redirect

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


@pytest.mark.parametrize(
    ("here", "location", "is_followed"),
    [
        ("http://a/v1", "/v2", True),
        ("http://a/v1", "http://A:80/v2", True),
        ("http://a/v1", "https://a/v1", True),
        ("http://a:8000/v1", "https://a:8443/v1", True),
        ("https://a/v1", "http://a/v1", False),
        ("http://a/v1", "http://a:8000/v1", False),
        ("http://a/v1", "//b/v1", False),
        ("http://a:8000/v1", "http:/v1", False),
        ("http://a/v1", "https://b/v1", False),
        ("https://a/v1", "https://a.b/v1", False),
        ("https://a/v1", "https://a@b/v1", False),
    ],
)
async def test_redirects_are_followed_at_the_same_host_only(here: str, location: str, is_followed: bool) -> None:
    asked: list[httpx2.URL] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url)
        return httpx2.Response(200) if asked[1:] else httpx2.Response(307, headers={"Location": location})

    transport = httpx2.MockTransport(respond)
    hooks = {"request": [check_redirect]}
    async with httpx2.AsyncClient(transport=transport, follow_redirects=True, event_hooks=hooks) as http:
        if is_followed:
            await http.post(here)
        else:
            with pytest.raises(RedirectsElsewhereError):
                await http.post(here)
    assert len(asked) == (2 if is_followed else 1)


@pytest.mark.parametrize("in_order", [True, False])
def test_a_client_serves_one_event_loop_after_another(in_order: bool) -> None:
    answers: list[Any] = []
    complaints: list[Any] = []
    http = httpx2.AsyncClient(transport=AiohttpTransport())

    async def use(*, last: bool = False) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with ScriptedEndpoint(json_reply({})) as endpoint:
            answers.append((await within(http.post(endpoint.base_url))).status_code)
        gc.collect()
        if last:
            await http.aclose()

    with warnings.catch_warnings():
        # A loop that isn't shut down in order leaves its sockets to the collector.
        warnings.simplefilter("error" if in_order else "ignore", ResourceWarning)
        for last in (False, False, True):
            if in_order:
                asyncio.run(use(last=last))
            else:
                loop = asyncio.new_event_loop()
                loop.run_until_complete(use(last=last))
                loop.close()
        gc.collect()
    assert (answers, complaints) == ([200] * 3, [])


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
