"""A page that reads a stream over a WebSocket, as docs/server.md shows it, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hub.testing import Gate, chat_reply

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
WORDS = [f"word{number} " for number in range(60)]

READ = """
([streamId, key]) => {
  window.messages = [];
  window.codes = [];
  const Socket = window.WebSocket;
  window.WebSocket = class extends Socket {
    constructor(...args) {
      super(...args);
      window.socket = this;
      this.addEventListener("message", ({ data }) => window.messages.push(JSON.parse(data)));
      this.addEventListener("close", ({ code }) => window.codes.push(code));
    }
  };
  listen(streamId, (text, isOver) => { window.shown = text; window.over = isOver; }, { key, delay: 100 });
}
"""


def _example() -> str:
    """The documented function."""
    (code,) = re.findall(r"```javascript\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


async def _start(tab: Any, key: str = "") -> str:
    body = {"messages": [{"role": "user", "content": "Count."}]}
    return str(
        await tab.page.evaluate(
            """async ([body, key]) => {
              const headers = { "Content-Type": "application/json", Authorization: `Bearer ${key}` };
              const response = await fetch("/v1/streams", { method: "POST", headers, body: JSON.stringify(body) });
              return (await response.json()).stream_id;
            }""",
            [body, key],
        )
    )


async def _read(tab: Any, stream_id: str, key: str | None = None) -> None:
    await tab.page.evaluate(READ, [stream_id, key])


async def test_every_word_is_shown_once_over_cuts(profile: Any, wire: Any, endpoint: Any) -> None:
    tab = await profile(wire.url, script=f"{_example()}\nwindow.listen = listen;")
    gates = [Gate() for _ in range(3)]
    pieces: list[str | Gate] = list(WORDS)
    for number, gate in enumerate(gates):
        pieces.insert(16 * (number + 1), gate)
    endpoint.enqueue(chat_reply(pieces, usage=True))
    await _read(tab, await _start(tab))
    for number, gate in enumerate(gates, 1):
        await gate.reached()
        await tab.until("text => window.shown?.endsWith(text)", WORDS[16 * number - number])
        wire.cut()
        await tab.until("count => codes.length >= count", number)
        gate.open()
        wire.mend()
        await tab.until("count => messages.length > count", 16 * number)
    await tab.until("() => window.over")
    await tab.until("() => socket.readyState === WebSocket.CLOSED")
    assert await tab.page.evaluate("shown") == "".join(WORDS)
    seqs = await tab.page.evaluate("messages.map(message => message.seq)")
    assert seqs == list(range(len(WORDS) + 3))
    codes = await tab.page.evaluate("codes")
    assert codes[-1] == 1000
    assert set(codes[:-1]) == {1006}
    # The browser reports each connection that was cut.
    tab.faults = [fault for fault in tab.faults if "WebSocket connection to" not in fault]


async def test_a_second_tab_and_a_reload_see_the_whole(profile: Any, hub: Any, endpoint: Any) -> None:
    script = f"{_example()}\nwindow.listen = listen;"
    first = await profile(hub.url, script=script)
    gate = Gate()
    endpoint.enqueue(chat_reply([*WORDS[:30], gate, *WORDS[30:]], usage=True))
    stream_id = await _start(first)
    await _read(first, stream_id)
    await gate.reached()
    await first.until("text => window.shown?.endsWith(text)", WORDS[29])
    second = await profile(hub.url, script=script)
    await _read(second, stream_id)
    await second.until("text => window.shown?.endsWith(text)", WORDS[29])
    await first.page.reload()
    await _read(first, stream_id)
    gate.open()
    for tab in (first, second):
        await tab.until("() => window.over")
        assert await tab.page.evaluate("shown") == "".join(WORDS)


async def test_a_page_sends_its_key_as_a_subprotocol(profile: Any, start_hub: Any, endpoint: Any) -> None:
    key = "key/+="
    hub = await start_hub(HUB_API_KEYS=key)
    tab = await profile(hub.url, script=f"{_example()}\nwindow.listen = listen;")
    endpoint.enqueue(chat_reply(WORDS, usage=True))
    await _read(tab, await _start(tab, key), key)
    await tab.until("() => window.over")
    assert await tab.page.evaluate("shown") == "".join(WORDS)
    assert await tab.page.evaluate("socket.protocol") == "llm-stream-hub"
