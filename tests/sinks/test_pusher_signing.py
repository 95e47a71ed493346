"""Pusher's signatures: the same as those of its own package, and as its documentation works out by hand."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pusher
import pytest
from yarl import URL

from hub.errors import InvalidRequestError
from sinks.pusher import PusherApp, channel_auth
from sinks.pusher.signing import signed_target

from .strict_pusher import StrictPusher

APP = PusherApp(app_id="1234", key="the-key", secret="the-secret", host="example.org", ssl=False)


@pytest.fixture
def sdk() -> Any:
    return pusher.Pusher(app_id="1234", key="the-key", secret="the-secret", host="example.org", ssl=False)


@pytest.mark.parametrize("data", ["{}", '{"text":"שלום 😀\\u0000"}', "x" * 9_000])
def test_a_request_is_signed_as_the_sdk_signs_it(sdk: Any, data: str) -> None:
    theirs = sdk._pusher_client.trigger.make_request(["chat", "news"], "text_delta", data)
    at = int(theirs.query_params["auth_timestamp"])
    path, _, query = signed_target(APP, theirs.path, theirs.body, at=at).partition("?")
    assert path == "/apps/1234/events"
    assert dict(pair.split("=") for pair in query.split("&")) == theirs.query_params


def test_a_request_is_signed_as_the_documentation_works_it_out() -> None:
    # pusher.com/docs/channels/library_auth_reference/rest-api, "Worked authentication example", read 2026-11-21.
    app = PusherApp(app_id="3", key="278d425bdf160c739803", secret="7ad3773142a6692b25b8", host="example.org")
    body = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
    query = signed_target(app, "/apps/3/events", body, at=1353088179).partition("?")[2]
    assert "body_md5=ec365a775a4cd0599faeb73354201b6f" in query
    assert query.endswith("auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c")


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda path, body: (path, body), 200),
        (lambda path, body: (path, body.replace(b"chat", b"chut")), 401),
        (lambda path, body: (path.replace("/events", "/batch_events"), body), 401),
        (lambda path, body: (path.replace("auth_timestamp=1", "auth_timestamp=2"), body), 401),
        (lambda path, body: (path + "&more=1", body), 401),
    ],
    ids=["as it is", "other body", "other path", "other time", "more in the query"],
)
async def test_the_strict_server_takes_what_the_sdk_signs_and_nothing_else(sdk: Any, spoil: Any, status: int) -> None:
    request = sdk._pusher_client.trigger.make_request("chat", "text_delta", "{}")
    path, body = spoil(request.signed_path, request.body)
    async with StrictPusher() as server, aiohttp.ClientSession() as session:
        url = URL(f"http://127.0.0.1:{server.port}{path}", encoded=True)
        async with session.post(url, data=body, headers=request.headers) as response:
            assert response.status == status
        assert len(server.sent) == (status == 200)


def test_the_version_that_is_configured_is_signed() -> None:
    app = PusherApp(app_id="1", key="k", secret="s", host="h", auth_version="2.1")
    assert "&auth_version=2.1&" in signed_target(app, "/apps/1/events", b"{}", at=1)


def test_a_private_channel_is_signed_as_the_sdk_signs_it(sdk: Any) -> None:
    assert channel_auth(APP, socket_id="1.2", channel="private-x") == sdk.authenticate("private-x", "1.2")


def test_a_presence_channel_is_signed_as_the_sdk_signs_it(sdk: Any) -> None:
    data = {"user_id": "ann", "user_info": {"name": "Ann שלום"}}
    theirs = sdk.authenticate("presence-x", "1.2", data)
    assert channel_auth(APP, socket_id="1.2", channel="presence-x", channel_data=json.dumps(data)) == theirs


@pytest.mark.parametrize("socket_id", ["", "1", "1.", "1.2.3", "1.2:private-y", "1.2\n", "a.b", "١.٢"])
def test_what_is_no_socket_id_is_not_signed(socket_id: str) -> None:
    with pytest.raises(InvalidRequestError, match="socket_id"):
        channel_auth(APP, socket_id=socket_id, channel="private-x")


@pytest.mark.parametrize("channel", ["", "private-x:y", "private-é", "private-" + "x" * 200, "private-encrypted-x"])
def test_what_is_no_channel_of_ours_is_not_signed(channel: str) -> None:
    with pytest.raises(InvalidRequestError, match="channel"):
        channel_auth(APP, socket_id="1.2", channel=channel)


def test_a_public_channel_needs_no_signature_and_gets_none() -> None:
    with pytest.raises(InvalidRequestError, match="public"):
        channel_auth(APP, socket_id="1.2", channel="chat")


@pytest.mark.parametrize(("channel", "data"), [("private-x", "{}"), ("presence-x", None)])
def test_who_is_there_goes_with_presence_channels_and_no_others(channel: str, data: str | None) -> None:
    with pytest.raises(InvalidRequestError, match="presence channel"):
        channel_auth(APP, socket_id="1.2", channel=channel, channel_data=data)
