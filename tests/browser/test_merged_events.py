"""A page that follows several streams on one connection, as docs/server.md shows it, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hub.testing import Gate, chat_reply

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
WORDS = [f"word{number} " for number in range(60)]

FOLLOW = """
(streams) => {
  window.shown = {};
  window.over = [];
  window.ids = [];
  window.source = follow(streams, (streamId, text, isOver) => {
    window.shown[streamId] = text;
    if (isOver) window.over.push(streamId);
  });
  window.source.addEventListener("text_delta", (message) => window.ids.push(message.lastEventId));
}
"""


def _example() -> str:
    """The documented function."""
    (code,) = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


async def _start(tab: Any) -> str:
    body = {"messages": [{"role": "user", "content": "Count."}]}
    return str(
        await tab.page.evaluate(
            """async (body) => {
              const headers = { "Content-Type": "application/json" };
              const response = await fetch("/v1/streams", { method: "POST", headers, body: JSON.stringify(body) });
              return (await response.json()).stream_id;
            }""",
            body,
        )
    )


async def test_every_word_of_every_stream_is_shown_once_over_cuts(profile: Any, wire: Any, endpoint: Any) -> None:
    tab = await profile(wire.url, script=f"{_example()}\nwindow.follow = follow;")
    gates = {}
    for number in range(3):
        gate, name = Gate(), f"s{number}-"
        pieces: list[str | Gate] = [name + word for word in WORDS]
        pieces.insert(20 * number, gate)
        endpoint.enqueue(chat_reply(pieces, usage=True))
        gates[await _start(tab)] = (gate, name)
    streams = list(gates)
    await tab.page.evaluate(FOLLOW, streams)
    for count, (gate, _) in enumerate(gates.values(), 1):
        wire.cut()
        await tab.until("() => source.readyState === EventSource.CONNECTING")
        gate.open()
        wire.mend()
        await tab.until("count => over.length >= count", count)
    # The response has ended; the browser asks once more, is told 204, and leaves it at that.
    await tab.until("() => source.readyState === EventSource.CLOSED")
    shown = await tab.page.evaluate("shown")
    for stream_id, (_, name) in gates.items():
        assert shown[stream_id] == "".join(name + word for word in WORDS)
    assert sorted(await tab.page.evaluate("over")) == sorted(streams)
    ids = await tab.page.evaluate("ids")
    assert len(ids) == len(set(ids)) == 3 * len(WORDS)
