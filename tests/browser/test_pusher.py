"""A page of another origin shows a stream over Pusher: a private channel, the hub's own signature, pusher-js."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from aiohttp import web

from hub.events import LLMEvent, ToolResult, decode_event, encode_event
from hub.testing import Gate, chat_reply
from hub.upstream.wire.sse import SSEDecoder
from sinks.pusher import Assembler, PusherSink
from sinks.pusher.messages import messages_of

from ..contracts.samples import STREAM, RandomStream
from ..real.soketi import APP_KEY, APP_SECRET, Soketi, node_modules
from .conftest import Hub, Script, Stage, Tab

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(400),  # the first test waits until everything is installed
]

QUESTION = 'Say this: שלום 😀 \\ " <b>bold</b> ' + "and then some more " * 100
KEY = "the-key-of-the-hub"

PAGE = """<!doctype html><meta charset="utf-8"><title>A page of somebody's own</title><link rel="icon" href="data:,">
<main data-testid="answer"></main>
<script src="/pusher-js.js"></script>
<script type="module">
  const { hub, port, channel, key, question } = Object.fromEntries(new URLSearchParams(location.search));
  const { Assembler, readChannel } = await import(`${hub}/page/pusher.js`);
  const { emptyAnswer, fold } = await import(`${hub}/page/fold.js`);
  const headers = { Authorization: `Bearer ${key}` };
  const pusher = new Pusher("app-key", {
    cluster: "", wsHost: "127.0.0.1", wsPort: port, forceTLS: false, enabledTransports: ["ws"],
    channelAuthorization: { endpoint: `${hub}/pusher/auth`, transport: "ajax", headers, params: { user_id: "ann" } },
  });
  const main = document.querySelector("main");
  const assembler = new Assembler();
  let answer = emptyAnswer("");
  const show = (event) => {
    answer = fold(answer, event);
    main.textContent = answer.parts.map((part) => part.text).join("");
    main.dataset.status = answer.status;
    main.dataset.shown = Number(main.dataset.shown ?? 0) + 1;
  };
  const fetchSnapshot = async (streamId) => {
    const result = await (await fetch(`${hub}/v1/streams/${streamId}`, { headers })).json();
    const snapshot = { type: "snapshot", stream_id: streamId, seq: result.last_seq, result, reason: "requested" };
    main.dataset.snapshots = Number(main.dataset.snapshots ?? 0) + 1;
    assembler.addEvent(snapshot).forEach(show);
  };
  const begin = async () => {
    const body = JSON.stringify({ messages: [{ role: "user", content: question }], sinks: ["live"] });
    const asking = { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body };
    return (await (await fetch(`${hub}/v1/streams`, asking)).json()).stream_id;
  };
  const streamId = question && (await begin());
  const subscribed = pusher.subscribe(streamId ? `private-${streamId}` : channel);
  subscribed.bind("pusher:subscription_succeeded", (members) => {
    main.dataset.subscribed = members?.me?.id ?? "yes";
    if (streamId) fetchSnapshot(streamId);
  });
  subscribed.bind("pusher:subscription_error", (error) => { main.dataset.error = error.status; });
  readChannel(subscribed, show, { onGap: fetchSnapshot, assembler });
</script>
"""

ASSEMBLE = """async (messages) => {
  const { Assembler } = await import('/page/pusher.js');
  const assembler = new Assembler();
  return messages.map((message) => [assembler.add(JSON.parse(message)), assembler.missing('str_1')]);
}"""


@pytest.fixture(scope="module")
def soketi() -> Iterator[Soketi]:
    with Soketi() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def origin() -> AsyncIterator[str]:
    """Where the page comes from, which is not the hub."""

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text=PAGE, content_type="text/html")

    async def pusher_js(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(node_modules() / "pusher-js/dist/web/pusher.min.js")

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/pusher-js.js", pusher_js)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pusher_hub(soketi: Soketi, origin: str, stage: Stage) -> AsyncIterator[Hub]:
    """A hub with a key, whose streams may be read over Pusher by pages of that origin."""
    hub = Hub(
        stage.endpoint.base_url,
        HUB_API_KEYS=KEY,
        HUB_CORS_ORIGINS=origin,
        HUB_SINKS="live=pusher://private-{stream_id}?max_messages_per_second=50",
        PUSHER_APP_ID=soketi.app.app_id,
        PUSHER_AUTH_KEY=APP_KEY,
        PUSHER_AUTH_SECRET=APP_SECRET,
        PUSHER_HOST=soketi.app.host,
        PUSHER_PORT=str(soketi.port),
        PUSHER_SCHEME="http",
    )
    try:
        await hub.start()
        yield hub
    finally:
        await hub.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def http(pusher_hub: Hub) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(base_url=pusher_hub.url, headers=headers, timeout=20) as client:
        yield client


async def answered(http: httpx2.AsyncClient) -> tuple[str, list[LLMEvent], str]:
    """A stream that has ended: its id, its events, its text."""
    body = {"messages": [{"role": "user", "content": QUESTION}]}
    stream_id = (await http.post("/v1/streams", json=body)).json()["stream_id"]
    frames = SSEDecoder().feed((await http.get(f"/v1/streams/{stream_id}/events")).content)
    events = [decode_event(frame.data) for frame in frames]
    return stream_id, events, (await http.get(f"/v1/streams/{stream_id}")).json()["text"]


@asynccontextmanager
async def opened(
    browser: Any, origin: str, hub: Hub, soketi: Soketi, *, key: str = KEY, **what: str
) -> AsyncIterator[Tab]:
    """The page with a `channel` to read, or a `question` to ask."""
    context = await browser.new_context()
    context.set_default_timeout(20_000)
    tab = Tab(await context.new_page())
    query = httpx2.QueryParams({"hub": hub.url, "port": str(soketi.port), "key": key, **what})
    try:
        await tab.open(f"{origin}/?{query}")
        yield tab
    finally:
        await context.close()


async def sent(soketi: Soketi, channel: str, events: list[LLMEvent]) -> None:
    async with PusherSink(channel, app=soketi.app, max_messages_per_second=200) as sink:
        for event in events:
            await sink.send(event)
            await asyncio.sleep(0.001)


async def until(tab: Tab, what: str) -> None:
    await tab.until(f"() => {{ const main = document.querySelector('main'); return {what}; }}")


async def test_a_page_asks_the_hub_and_shows_the_answer_as_it_comes_over_pusher(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, endpoint: Script
) -> None:
    gates = [Gate(), Gate()]
    endpoint.enqueue(chat_reply(["One ", "😀 ", gates[0], "שלום ", gates[1], "three."], usage=True))
    async with opened(browser, origin, pusher_hub, soketi, question="Count") as tab:
        await until(tab, "main.dataset.snapshots && main.textContent === 'One 😀 '")
        gates[0].open()
        await until(tab, "main.textContent === 'One 😀 שלום '")
        assert await tab.by_id("answer").get_attribute("data-status") == "running"
        gates[1].open()
        await until(tab, "main.dataset.status === 'completed'")
        assert await tab.answer() == "One 😀 שלום three."
        assert tab.faults == []


async def test_a_page_shows_a_stream_that_comes_over_a_private_channel(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, http: httpx2.AsyncClient
) -> None:
    stream_id, events, text = await answered(http)
    channel = f"private-{stream_id}"
    async with opened(browser, origin, pusher_hub, soketi, channel=channel) as tab:
        await until(tab, "main.dataset.subscribed")
        await sent(soketi, channel, events)
        await until(tab, "main.dataset.status === 'completed'")
        assert await tab.answer() == text
        main = tab.by_id("answer")
        assert int(await main.get_attribute("data-shown")) > 5
        assert await main.get_attribute("data-snapshots") is None
        assert tab.faults == []


async def test_a_page_that_comes_late_completes_the_answer_from_the_hub(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, http: httpx2.AsyncClient
) -> None:
    stream_id, events, text = await answered(http)
    channel = f"private-{stream_id}"
    half = len(events) // 2
    await sent(soketi, channel, events[:half])
    async with opened(browser, origin, pusher_hub, soketi, channel=channel) as tab:
        await until(tab, "main.dataset.subscribed")
        await sent(soketi, channel, events[half:])
        await until(tab, "main.dataset.status === 'completed'")
        assert await tab.answer() == text
        assert await tab.by_id("answer").get_attribute("data-snapshots") == "1"


async def test_a_page_joins_a_presence_channel_as_who_it_says_it_is(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, http: httpx2.AsyncClient
) -> None:
    stream_id, _, _ = await answered(http)
    async with opened(browser, origin, pusher_hub, soketi, channel=f"presence-{stream_id}") as tab:
        await until(tab, "main.dataset.subscribed || main.dataset.error")
        main = tab.by_id("answer")
        assert (await main.get_attribute("data-subscribed"), await main.get_attribute("data-error")) == ("ann", None)


@pytest.mark.parametrize(("channel", "key", "status"), [("private-{}", "wrong", "401"), ("private-x{}", KEY, "404")])
async def test_a_page_that_may_not_read_the_stream_may_not_subscribe(
    browser: Any,
    origin: str,
    pusher_hub: Hub,
    soketi: Soketi,
    http: httpx2.AsyncClient,
    channel: str,
    key: str,
    status: str,
) -> None:
    stream_id, _, _ = await answered(http)
    async with opened(browser, origin, pusher_hub, soketi, channel=channel.format(stream_id), key=key) as tab:
        await until(tab, f"main.dataset.error === '{status}'")


@pytest.mark.parametrize("seed", range(5))
async def test_the_page_s_module_reads_as_python_does(tab: Tab, seed: int) -> None:
    chance = random.Random(seed)
    events: list[LLMEvent] = [*RandomStream(seed, snapshots=True).events]
    large = ToolResult(stream_id="str_2", seq=0, id="c", name="f", output='"\\😀' * 2_000)
    messages = [encode_event(event) for event in events]
    messages += [each.data for each in messages_of(encode_event(large), "tool_result", max_bytes=1_000, chunk_id="a")]
    messages = sorted([*messages, *chance.sample(messages, 5)], key=lambda each: chance.random())
    assembler = Assembler()
    expected = []
    for message in messages:
        read = [json.loads(encode_event(event)) for event in assembler.add(message)]
        missing = assembler.missing(STREAM)
        expected.append([read, list(missing) if missing else None])
    assert await tab.page.evaluate(ASSEMBLE, [message.decode() for message in messages]) == expected
