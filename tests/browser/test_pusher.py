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

from hub.events import LLMEvent, ToolResult, decode_event, encode_event, merge
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
  const { hub, port, channel, key, question, late } = Object.fromEntries(new URLSearchParams(location.search));
  const { Assembler, catchUpFrom, readChannel } = await import(`${hub}/page/pusher.js`);
  const { emptyAnswer, fold, place } = await import(`${hub}/page/fold.js`);
  const headers = { Authorization: `Bearer ${key}` };
  const pusher = new Pusher("app-key", {
    cluster: "", wsHost: "127.0.0.1", wsPort: port, forceTLS: false, enabledTransports: ["ws"],
    channelAuthorization: { endpoint: `${hub}/pusher/auth`, transport: "ajax", headers, params: { user_id: "ann" } },
  });
  window.pusher = pusher;
  const main = document.querySelector("main");
  const assembler = new Assembler();
  let answer = emptyAnswer("");
  const show = (event) => {
    if (place(answer.seq, event) !== "next" && event.type !== "done") throw new Error(`${event.seq} out of turn`);
    answer = fold(answer, event);
    main.textContent = answer.parts.map((part) => part.text).join("");
    main.dataset.status = answer.status;
    main.dataset.last = event.type;
    main.dataset.shown = Number(main.dataset.shown ?? 0) + 1;
    if (event.type === "snapshot") main.dataset.snapshots = Number(main.dataset.snapshots ?? 0) + 1;
  };
  const catchUp = catchUpFrom(hub, { headers, assembler, onEvent: show });
  const begin = async () => {
    const body = JSON.stringify({ messages: [{ role: "user", content: question }], sinks: ["live"] });
    const asking = { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body };
    return (await (await fetch(`${hub}/v1/streams`, asking)).json()).stream_id;
  };
  const streamId = late || (question && (await begin()));
  const subscribed = pusher.subscribe(streamId ? `private-${streamId}` : channel);
  subscribed.bind("pusher:subscription_succeeded", (members) => {
    main.dataset.subscribed = members?.me?.id ?? "yes";
    if (streamId) catchUp(streamId);
  });
  subscribed.bind("pusher:subscription_error", (error) => { main.dataset.error = error.status; });
  readChannel(subscribed, show, { onGap: catchUp, assembler });
</script>
"""

ASSEMBLE = """async (messages) => {
  const { Assembler } = await import('/page/pusher.js');
  const assembler = new Assembler();
  return messages.map((message) => [assembler.add(JSON.parse(message)), assembler.missing('str_1')]);
}"""


REFUSED = """async () => {
  const { Assembler, catchUpFrom } = await import('/page/pusher.js');
  const catchUp = catchUpFrom(location.origin, { assembler: new Assembler(), onEvent: () => {} });
  const both = [catchUp('str_nobody_began'), catchUp('str_nobody_began')];
  return (await Promise.allSettled(both)).map((each) => each.reason?.message);
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


async def begun(http: httpx2.AsyncClient, question: str = QUESTION, **more: Any) -> str:
    """The id of a new stream."""
    body = {"messages": [{"role": "user", "content": question}], **more}
    stream_id: str = (await http.post("/v1/streams", json=body)).json()["stream_id"]
    return stream_id


async def answered(http: httpx2.AsyncClient) -> tuple[str, list[LLMEvent], str]:
    """A stream that has ended: its id, its events, its text."""
    return await read(http, await begun(http))


async def read(http: httpx2.AsyncClient, stream_id: str) -> tuple[str, list[LLMEvent], str]:
    """A stream once it has ended: its id, its events, its text."""
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


def asked(tab: Tab) -> list[str]:
    """What the page asked the hub for, but for the signatures of its subscriptions."""
    return [url.partition("/v1/streams/")[2].partition("/")[2] for url in tab.requested if "/v1/streams/" in url]


async def until(tab: Tab, what: str) -> None:
    await tab.until(f"() => {{ const main = document.querySelector('main'); return {what}; }}")


async def test_a_page_asks_the_hub_and_shows_the_answer_as_it_comes_over_pusher(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, endpoint: Script
) -> None:
    gates = [Gate(), Gate()]
    endpoint.enqueue(chat_reply(["One ", "😀 ", gates[0], "שלום ", gates[1], "three."], usage=True))
    async with opened(browser, origin, pusher_hub, soketi, question="Count") as tab:
        await until(tab, "main.textContent === 'One 😀 '")
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


async def test_a_page_that_comes_late_asks_the_hub_twice_at_most(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, http: httpx2.AsyncClient, endpoint: Script
) -> None:
    endpoint.enqueue(chat_reply([f"word{number} " for number in range(700)], delay=0.004, usage=True))
    stream_id = await begun(http, sinks=["live"])
    async with opened(browser, origin, pusher_hub, soketi, late=stream_id) as tab:
        await until(tab, "main.dataset.last === 'done'")
        assert await tab.answer() == (await read(http, stream_id))[2]
        main = tab.by_id("answer")
        assert int(await main.get_attribute("data-shown")) > 20
        assert await main.get_attribute("data-snapshots") == "1"
        assert 1 <= len(asked(tab)) <= 2
        assert tab.faults == []


async def test_an_event_that_merges_a_snapshot_s_end_with_more_is_made_up_of_single_events(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, http: httpx2.AsyncClient, endpoint: Script
) -> None:
    gate = Gate()
    words = [f"word{number} " for number in range(40)]
    endpoint.enqueue(chat_reply([*words[:20], gate, *words[20:]], usage=True))
    stream_id = await begun(http)
    async with opened(browser, origin, pusher_hub, soketi, late=stream_id) as tab:
        await until(tab, "main.textContent.endsWith('word19 ')")
        gate.open()
        _, events, text = await read(http, stream_id)
        merged = [merge(events[first : first + 7]) for first in range(4, 39, 7)]
        await sent(soketi, f"private-{stream_id}", [*merged, *events[merged[-1].seq + 1 :]])
        await until(tab, "main.dataset.last === 'done'")
        assert await tab.answer() == text
        assert asked(tab) == ["events?after=-1&snapshot=1", "events?after=20"]
        assert await tab.by_id("answer").get_attribute("data-snapshots") == "1"
        assert tab.faults == []


async def test_events_that_were_lost_on_the_way_are_fetched_one_by_one(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, http: httpx2.AsyncClient
) -> None:
    stream_id, events, text = await answered(http)
    channel = f"private-{stream_id}"
    async with opened(browser, origin, pusher_hub, soketi, channel=channel) as tab:
        await until(tab, "main.dataset.subscribed")
        await sent(soketi, channel, [*events[:5], *events[8:]])
        await until(tab, "main.dataset.last === 'done'")
        assert await tab.answer() == text
        assert asked(tab) == ["events?after=4"]
        assert await tab.by_id("answer").get_attribute("data-snapshots") is None


async def test_a_page_that_comes_after_the_end_gets_the_answer_and_its_end(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, http: httpx2.AsyncClient
) -> None:
    stream_id, _, text = await answered(http)
    async with opened(browser, origin, pusher_hub, soketi, late=stream_id) as tab:
        await until(tab, "main.dataset.last === 'done' && main.dataset.status === 'completed'")
        assert await tab.answer() == text
        assert await tab.by_id("answer").get_attribute("data-shown") == "2"
        assert len(asked(tab)) == 1


async def test_a_page_whose_connection_was_lost_over_the_end_gets_the_rest_and_the_end(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, http: httpx2.AsyncClient, endpoint: Script
) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply(["One ", "two ", gate, "three."], usage=True))
    stream_id = await begun(http, sinks=["live"])
    async with opened(browser, origin, pusher_hub, soketi, late=stream_id) as tab:
        await until(tab, "main.textContent === 'One two '")
        await tab.page.evaluate("() => pusher.disconnect()")
        gate.open()
        await read(http, stream_id)
        await tab.page.evaluate("() => pusher.connect()")
        await until(tab, "main.dataset.last === 'done'")
        assert await tab.answer() == "One two three."
        await tab.page.evaluate("() => pusher.disconnect()")
        before = len(asked(tab))
        await tab.page.evaluate("() => { delete document.querySelector('main').dataset.subscribed; pusher.connect(); }")
        await until(tab, "main.dataset.subscribed")
        assert len(asked(tab)) == before
        assert tab.faults == []


async def test_a_page_asks_again_where_the_hub_was_away(
    browser: Any, origin: str, pusher_hub: Hub, soketi: Soketi, http: httpx2.AsyncClient
) -> None:
    stream_id, events, text = await answered(http)
    channel = f"private-{stream_id}"
    async with opened(browser, origin, pusher_hub, soketi, channel=channel) as tab:
        await until(tab, "main.dataset.subscribed")
        await tab.page.route("**/v1/streams/**", lambda route: route.abort(), times=1)
        await sent(soketi, channel, events[8:])
        await until(tab, "main.dataset.last === 'done'")
        assert await tab.answer() == text
        assert len(asked(tab)) == 2


async def test_a_stream_that_the_hub_does_not_have_is_asked_for_once(tab: Tab) -> None:
    (path,) = set(await tab.page.evaluate(REFUSED))
    assert path == "The hub answers 404 for /v1/streams/str_nobody_began/events."
    assert len(asked(tab)) == 1


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


BOUNDED = """async () => {
  const { Assembler } = await import('/page/pusher.js');
  const part = (id, index, count, data = '') => ({ type: 'chunk', id, index, count, data });
  const said = (call) => { try { return call(); } catch (error) { return error.message; } };
  const assembler = new Assembler({ maxWaiting: 10, maxPartChars: 10_000 });
  for (let number = 0; number < 30; number += 1) assembler.add(part(`lost-${number % 3}`, number, 100_000));
  for (let number = 0; number < 3; number += 1) assembler.add(part('lost', number, 100_000, 'x'.repeat(3_000)));
  const tooLarge = said(() => assembler.add(part('lost', 3, 100_000, 'x'.repeat(3_000))));
  assembler.add(part('a', 0, 2, '{"type":"meta","stream_id":"str_1",'));
  const wrong = [[5, 10], [0, 3], [2, 2], [-1, 2], [0.5, 2]].map(([index, count]) =>
    said(() => assembler.add(part('a', index, count))));
  return [tooLarge, wrong, assembler.add(part('a', 1, 2, '"seq":0,"model":"m"}'))];
}"""


async def test_the_page_s_module_bounds_the_parts_that_wait_as_python_does(tab: Tab) -> None:
    too_large, wrong, read = await tab.page.evaluate(BOUNDED)
    assert too_large == "The parts of an event have more than 10000 characters."
    assert [each.endswith(" is none of its event.") for each in wrong] == [True] * 5
    assert [event["type"] for event in read] == ["meta"]
