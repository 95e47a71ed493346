"""Keys: every route but /healthz and the page's own files asks for one."""

from __future__ import annotations

import pytest

from .conftest import HELLO, StartHub
from .test_streams import assert_problem

KEYS = "first-key, second-key"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/info"),
        ("GET", "/v1/streams"),
        ("POST", "/v1/streams"),
        ("GET", "/v1/streams/str_x"),
        ("DELETE", "/v1/streams/str_x"),
        ("GET", "/v1/streams/str_x/events"),
        ("GET", "/v1/events?stream=str_x"),
    ],
)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", "Basic first-key", "first-key"])
async def test_without_the_right_key_every_route_is_401(
    start_hub: StartHub, method: str, path: str, authorization: str | None
) -> None:
    async with start_hub(api_keys=KEYS) as running:
        headers = {"Authorization": authorization} if authorization else {}
        response = await running.http.request(method, path, headers=headers)
        assert_problem(response, 401, "Bearer")
        assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("key", ["first-key", "second-key"])
async def test_each_key_opens_the_hub(start_hub: StartHub, key: str) -> None:
    async with start_hub(api_keys=KEYS) as running:
        running.http.headers["Authorization"] = f"Bearer {key}"
        assert (await running.http.post("/v1/streams", json=HELLO)).status_code == 201


async def test_health_and_the_page_need_no_key(start_hub: StartHub) -> None:
    async with start_hub(api_keys=KEYS) as running:
        for path in ("/healthz", "/", "/page/app.js"):
            response = await running.http.get(path)
            assert response.status_code == 200, path


async def test_the_page_loads_nothing_from_elsewhere(start_hub: StartHub) -> None:
    async with start_hub() as running:
        policy = (await running.http.get("/")).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


async def test_a_page_of_an_allowed_origin_may_read_and_no_other(start_hub: StartHub) -> None:
    async with start_hub(api_keys=KEYS, cors_origins="https://app.example") as running:
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        allowed = await running.http.options("/v1/streams", headers={"Origin": "https://app.example", **asking})
        refused = await running.http.options("/v1/streams", headers={"Origin": "https://evil.example", **asking})
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-origin" not in refused.headers


async def test_a_page_of_an_allowed_origin_may_send_an_idempotency_key(start_hub: StartHub) -> None:
    async with start_hub(cors_origins="https://app.example") as running:
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}
        response = await running.http.options("/v1/streams", headers={"Origin": "https://app.example", **asking})
    assert response.status_code == 200
    assert "idempotency-key" in response.headers["access-control-allow-headers"].lower()
