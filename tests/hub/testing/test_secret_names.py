"""What a recording hides of a request: by the names of members and parameters, and in URLs."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hub.testing import ScriptedTransport, json_reply, raw_reply, recorded

URL = "http://endpoint.invalid/v1/x"
SECRET = "tok-ABCDEFGH12345678"


async def recording(path: Path, body: Any = None, *, echo: str = "", **more: Any) -> str:
    """The file of one request, whose answer says `echo`."""
    file = path / "one.json"
    async with recorded(file, mode="record", inner=ScriptedTransport(raw_reply(echo.encode()))) as http:
        await http.post(URL, json=body, **more)
    return file.read_text()


async def kept(path: Path, body: Any) -> Any:
    """The body as the recording has it."""
    return json.loads(await recording(path, body))["exchanges"][0]["request"]["body"]


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "mcp", "server_label": "a", "authorization": SECRET}]},
        {"tools": [{"type": "mcp", "headers": {"Authorization": f"Bearer {SECRET}"}}]},
        {"tools": [{"type": "mcp", "headers": {"X-Goog-Api-Key": SECRET, "X-Auth": SECRET, "Cookie": f"a={SECRET}"}}]},
        {"tools": [{"type": "mcp", "server_url": f"https://host/sse?a=1&api_key={SECRET}"}]},
        {"tools": [{"type": "mcp", "server_url": f"https://bob:{SECRET}@host/sse"}]},
        {"tools": [{"type": "mcp", "server_url": f"https://bob:a@{SECRET}@host"}]},
        {"tools": [{"type": "mcp", "server_url": f"https://host/?code={SECRET}#access_token={SECRET}"}]},
        {"provider": {"api_key": SECRET, "name": "x"}},
        {"a": [[{"b": {"clientSecret": SECRET}}]]},
        {"apiKey": SECRET, "accessToken": SECRET, "api-token": SECRET, "x-my-key": SECRET},
        {"token": SECRET, "auth": SECRET, "credentials": SECRET, "key": SECRET},
        {"api_key": [SECRET, {"password": SECRET}]},
        {"OPENAI_API_KEY": SECRET, "hf_token": SECRET, "db": {"password": "short", "passwd": SECRET}},
    ],
)
async def test_a_secret_is_hidden_however_deep_in_the_body(tmp_path: Path, body: Any) -> None:
    text = json.dumps(await kept(tmp_path, body))
    assert SECRET not in text
    assert "short" not in text
    assert "***" in text


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 5, "usage": {"prompt_tokens": 1, "total_tokens": 2}, "token": 7, "api_key": None},
        {"content": [{"logprobs": [{"token": "extraordinary", "logprob": -0.1, "top_logprobs": []}]}]},
        {"prompt_cache_key": "user-123456789", "eos_token": "<|endoftext|>", "next_page_token": "abcdefghij"},
        {"filters": {"type": "eq", "key": "region", "value": "us"}, "token": "kept"},
        {"parameters": {"properties": {"token": {"type": "string"}, "password": {"description": "A password."}}}},
        {"messages": [{"role": "user", "content": "My key is in https://host/?api_key=x, see?"}]},
        {"image_url": {"url": "data:image/png;base64,AAAA"}, "file": "https://host/a?page=2&size=3#key"},
        {"keys": ["ctrl", "shift"], "author": "someone else", "tokens": [1, 2], "secretary": "Ada Lovelace"},
    ],
)
async def test_what_is_no_secret_is_kept(tmp_path: Path, body: Any) -> None:
    assert await kept(tmp_path, body) == body


async def test_the_rest_of_a_url_is_kept(tmp_path: Path) -> None:
    body = {"url": f"wss://bob:{SECRET}@host:81/a?b=1&sig={SECRET}&c=#d"}
    assert await kept(tmp_path, body) == {"url": "wss://***@host:81/a?b=1&sig=***&c=#d"}


@pytest.mark.parametrize(
    "request_",
    [
        {"headers": {"X-Auth": SECRET}},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"headers": {"Authorization": f"Basic {b64encode(f'bob:{SECRET}'.encode()).decode()}"}},
        {"headers": {"Cookie": f"theme=dark; session={SECRET}"}},
        {"params": {"code": SECRET}},
        {"body": {"tools": [{"headers": {"Authorization": f"Bearer {SECRET}"}}]}},
        {"body": {"provider": {"api_key": SECRET}}},
    ],
)
async def test_a_secret_that_the_answer_quotes_is_hidden_there(tmp_path: Path, request_: dict[str, Any]) -> None:
    text = await recording(tmp_path, echo=f"{SECRET} is wrong, bob", **request_)
    assert SECRET not in text
    assert "*** is wrong, bob" in text


async def test_what_only_may_be_a_secret_is_hidden_in_its_place_alone(tmp_path: Path) -> None:
    text = await recording(tmp_path, {"key": "customer_id", "say": "the customer_id"}, echo="which customer_id?")
    assert '"key": "***"' in text
    assert text.count("customer_id") == 2


async def test_a_request_with_secrets_deep_in_it_is_found_again(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    async with recorded(file, mode="record", inner=ScriptedTransport(json_reply({}))) as http:
        await http.post(URL, json={"tools": [{"authorization": "the first key"}]})
    async with recorded(file, mode="replay") as http:
        response: httpx2.Response = await http.post(URL, json={"tools": [{"authorization": "another key"}]})
    assert response.status_code == 200
