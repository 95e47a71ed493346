"""Who may open a WebSocket: keys, hosts, and the pages of which origins."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from hub.testing import chat_reply

from .conftest import RunningHub, StartHub
from .websocket_readers import hear, opened, refusal

KEYS = "first-key, s3cret/+=,second"
ORIGIN = "https://app.example"


def as_subprotocol(key: str) -> str:
    return "bearer." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


async def a_stream(running: RunningHub, **headers: str) -> str:
    running.endpoint.enqueue(chat_reply("Hello"))
    running.http.headers.update(headers)
    return await running.start()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"additional_headers": {"Authorization": "Bearer wrong"}},
        {"additional_headers": {"Authorization": "Basic first-key"}},
        {"subprotocols": ["llm-stream-hub"]},
        {"subprotocols": ["llm-stream-hub", as_subprotocol("wrong")]},
        {"subprotocols": ["llm-stream-hub", "bearer.first-key"]},
        {"subprotocols": ["llm-stream-hub", "bearer.!"]},
        {"subprotocols": ["first-key"]},
    ],
)
async def test_without_the_right_key_a_websocket_is_401(start_hub: StartHub, options: dict[str, Any]) -> None:
    async with start_hub(api_keys=KEYS) as running:
        response = await refusal(running, "str_x", **options)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.headers["content-type"] == "application/problem+json"
    assert "key" in json.loads(response.body)["detail"]


@pytest.mark.parametrize("key", ["first-key", "s3cret/+=", "second"])
@pytest.mark.parametrize("way", ["header", "subprotocol"])
async def test_each_key_opens_the_hub_and_is_never_sent_back(start_hub: StartHub, key: str, way: str) -> None:
    async with start_hub(api_keys=KEYS) as running:
        stream_id = await a_stream(running, Authorization=f"Bearer {key}")
        options: dict[str, Any] = {"additional_headers": {"Authorization": f"Bearer {key}"}}
        if way == "subprotocol":
            options = {"subprotocols": [as_subprotocol(key), "llm-stream-hub"]}
        async with opened(running, stream_id, **options) as websocket:
            assert websocket.response is not None
            assert key not in str(websocket.response.headers)
            assert as_subprotocol(key) not in str(websocket.response.headers)
            assert websocket.subprotocol == ("llm-stream-hub" if way == "subprotocol" else None)
        assert (await hear(running, stream_id, **options)).code == 1000


async def test_a_wrong_key_in_the_header_is_not_made_good_by_another(start_hub: StartHub) -> None:
    async with start_hub(api_keys=KEYS) as running:
        both = {"additional_headers": {"Authorization": "Bearer wrong"}, "subprotocols": [as_subprotocol("first-key")]}
        assert (await refusal(running, "str_x", **both)).status_code == 401


async def test_a_key_in_the_subprotocol_opens_no_other_route(start_hub: StartHub) -> None:
    async with start_hub(api_keys=KEYS) as running:
        headers = {"Sec-WebSocket-Protocol": as_subprotocol("first-key")}
        assert (await running.http.get("/v1/streams", headers=headers)).status_code == 401


async def test_under_another_host_name_a_websocket_is_421(running_hub: RunningHub) -> None:
    # As of a page whose name was made to resolve to this machine: its origin is the host that it asks for.
    headers = {"Origin": "http://evil.example:8080"}
    response = await refusal(running_hub, "str_x", host="evil.example:8080", additional_headers=headers)
    assert response.status_code == 421


@pytest.mark.parametrize("settings", [{}, {"api_keys": "first-key"}, {"insecure": True}])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:3000", "http://127.0.0.1.evil.example"]
)
async def test_a_page_of_another_origin_may_not_whatever_else_it_has(
    start_hub: StartHub, settings: dict[str, Any], origin: str
) -> None:
    async with start_hub(**settings) as running:
        stream_id = await a_stream(running, Authorization="Bearer first-key")
        headers = {"Authorization": "Bearer first-key", "Origin": origin}
        response = await refusal(running, stream_id, additional_headers=headers)
    assert response.status_code == 403
    assert "HUB_CORS_ORIGINS" in json.loads(response.body)["detail"]


@pytest.mark.parametrize(
    ("settings", "origin", "host"),
    [
        ({}, "http://localhost:8080", "localhost:8080"),
        ({"insecure": True}, "https://app.example", "app.example"),
        ({"insecure": True}, "https://app.example:8443", "APP.example:8443"),
        ({"cors_origins": f"https://other.example, {ORIGIN}"}, ORIGIN, "localhost:8080"),
        ({"cors_origins": "*"}, ORIGIN, "localhost:8080"),
    ],
)
async def test_the_hub_s_own_pages_and_those_of_allowed_origins_may(
    start_hub: StartHub, settings: dict[str, Any], origin: str, host: str
) -> None:
    async with start_hub(**settings) as running:
        stream_id = await a_stream(running)
        heard = await hear(running, stream_id, host=host, additional_headers={"Origin": origin})
    assert heard.code == 1000
