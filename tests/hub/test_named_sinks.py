"""The sinks of HUB_SINKS: how the list is read, who may name what, and that a stream gets there."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from hub.errors import ConfigurationError, InvalidRequestError
from hub.hub import Hub
from hub.named_sinks import NamedSinks, open_relays, parse_sinks
from hub.relaying import SinkRequest
from sinks.jsonl import read_events

from ..contracts.generations import HELLO, WORDS, Scripts, whole


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("live=file:///live.jsonl", {"live": "file:///live.jsonl"}),
        (
            " live = pusher://private-{stream_id} ,chat=redis://:a,b=c@localhost/chat:{channel},\n",
            {"live": "pusher://private-{stream_id}", "chat": "redis://:a,b=c@localhost/chat:{channel}"},
        ),
        (
            "a=redis+sentinel://h:1,h:2/svc/x?replay=9, b-2=https://hooks.example/x?y=1,2",
            {"a": "redis+sentinel://h:1,h:2/svc/x?replay=9", "b-2": "https://hooks.example/x?y=1,2"},
        ),
    ],
)
def test_a_list_has_names_and_urls_which_may_have_commas(text: str, urls: dict[str, str]) -> None:
    assert parse_sinks(text) == urls


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("redis://:hunter2@host/chat", "part 1 is not NAME=URL"),
        ("live=file:///x, =redis://:hunter2@host/chat", "part 1"),
        ("live=file:///x,=redis://:hunter2@host/chat", "part 1"),
        ("live=file:///x, my chat=redis://:hunter2@host/chat", "part 1"),
        ("live=file:x, my chat=redis://:hunter2@host/chat", "part 1"),
        ("live", "part 1"),
        ("live=", "part 1"),
        ("my sink=file:///x", "part 1"),
        ("live=file:///x, live=redis://:hunter2@host/chat", "live is there twice"),
        ("live=file:///x, chat=redis://:hunter2@host", "sink chat: .*ends in its channel"),
        ("chat=redis://:hunter2@host/{room}", "sink chat: .*{room}"),
        ("push=pusher://chat", "sink push: .*PUSHER_APP_ID"),
        ("push=pusher://chat:{channel}", "sink push: "),
    ],
)
async def test_a_list_that_can_t_be_used_is_told_without_its_passwords(
    text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PUSHER_APP_ID", "PUSHER_AUTH_KEY", "PUSHER_AUTH_SECRET"):
        monkeypatch.delenv(name, raising=False)
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationError, match=f"(?s)^HUB_SINKS: .*({words})") as raised:
            await open_relays(stack, text)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("text", [None, ""])
async def test_without_a_list_there_is_nothing_to_name(text: str | None) -> None:
    async with AsyncExitStack() as stack:
        assert await open_relays(stack, text) is None


def test_a_name_is_checked_in_code_too() -> None:
    with pytest.raises(ConfigurationError, match="'my sink'"):
        NamedSinks({"my sink": "file:///x.jsonl"})


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (SinkRequest("elsewhere"), "no sink 'elsewhere' here; there are: live, chat"),
        (SinkRequest("live", "42"), "'live' takes no channel"),
        (SinkRequest("chat"), "'chat': This sink needs a channel"),
        (SinkRequest("chat", "../../etc"), "'chat': A sink's channel has 1 to 164"),
        (SinkRequest("chat", ".."), "'chat': .*another folder"),
    ],
)
def test_a_request_that_can_t_be_had_is_refused(request_: SinkRequest, words: str) -> None:
    named = NamedSinks({"live": "file:///live.jsonl", "chat": "file:///{channel}/chat.jsonl"})
    with pytest.raises(InvalidRequestError, match=words):
        named.check(request_, "str_1")


async def test_an_id_of_the_callers_own_that_has_no_place_in_a_url_is_refused(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        relays = await open_relays(stack, f"live=file://{tmp_path}/{{stream_id}}.jsonl")
        hub = await stack.enter_async_context(Hub(Scripts(), relays=relays))
        with pytest.raises(InvalidRequestError, match="stream_id"):
            await hub.start(messages=HELLO, stream_id="../str_1", sinks=["live"])


async def test_a_stream_is_written_where_its_request_says(tmp_path: Path) -> None:
    sinks: Any = ["live", {"name": "chat", "channel": "42"}]
    async with AsyncExitStack() as stack:
        urls = f"live=file://{tmp_path}/{{stream_id}}.jsonl, chat=file://{tmp_path}/chat-{{channel}}.jsonl"
        relays = await open_relays(stack, urls)
        async with Hub(Scripts([WORDS]), relays=relays) as hub:
            await hub.start(messages=HELLO, stream_id="str_1", sinks=sinks)
            await whole(hub)
    for name in ("chat-42.jsonl", "str_1.jsonl"):
        assert list(read_events(tmp_path / name)) == WORDS
