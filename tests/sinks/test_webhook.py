"""The sink that posts to a URL, against a receiver that misbehaves as it is told."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook
from yarl import URL

from hub.completion import fold
from hub.errors import (
    ClosedError,
    ConfigurationError,
    MalformedEventError,
    SinkError,
    SinkRejectedError,
    SinkUnavailableError,
)
from hub.events import LLMEvent
from hub.sink import FanOut, pump
from hub.testing import Close, Gate, Hang, Pause, RecordedRequest, Reply, Reset, ScriptedEndpoint
from sinks.memory import MemorySink
from sinks.webhook import WebhookSink, new_secret, verify
from sinks.webhook.delivery import Delivery, backoff, parse_retry_after
from sinks.webhook.payload import freeze
from sinks.webhook.signature import Signer

from ..contracts.samples import a_stream, done, meta, positions, source, text, words

STREAM = a_stream("Hello", " world", "\x00😀 שלום")
SECRET = new_secret()
TAKEN = Reply(framing="length")


def refusing(status: int, **headers: str) -> Reply:
    return Reply(
        status=status, framing="length", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def sink_to(endpoint: ScriptedEndpoint, **options: Any) -> WebhookSink:
    return WebhookSink(endpoint.base_url, **({"secret": SECRET, "max_delay": 0, "retry_delay": 0.001} | options))


def received(endpoint: ScriptedEndpoint) -> list[LLMEvent]:
    """The events of each webhook once, however often it came."""
    once = {request.headers["webhook-id"]: request for request in endpoint.requests}
    return [event for each in once.values() for event in verify(each.headers, each.body, SECRET)]


async def send_all(sink: WebhookSink, events: list[LLMEvent]) -> None:
    for event in events:
        await sink.send(event)


async def test_a_stream_arrives_in_signed_webhooks_over_one_connection() -> None:
    connections = set()

    def take(request: RecordedRequest) -> Reply:
        connections.add(id(request.left))
        return Reply(status=202, steps=(b"thank", Pause(0.01), b" you"))

    async with ScriptedEndpoint(handler=take) as endpoint, sink_to(endpoint, max_batch_events=2) as sink:
        assert await pump(source(STREAM), sink) == fold(STREAM)
        assert fold(received(endpoint)) == fold(STREAM)
        assert positions(received(endpoint)) == positions(STREAM)
    for request in endpoint.requests:
        assert Webhook(SECRET).verify(request.body, request.headers)["type"] == "llm.events"
        assert request.headers["content-type"] == "application/json"
        assert (request.method, request.path) == ("POST", "/v1")
    assert len(endpoint.requests) > 1
    assert len(connections) == 1


async def test_what_gathers_while_a_request_is_under_way_goes_in_the_next() -> None:
    gate = Gate()
    held = Reply(framing="length", before=(gate,))
    async with ScriptedEndpoint(held, handler=lambda _: TAKEN) as endpoint, sink_to(endpoint) as sink:
        await sink.send(meta(0))
        await gate.reached()
        await send_all(sink, words(300))
        assert len(endpoint.requests) == 1
        gate.open()
        await sink.send(done(301))
    assert len(endpoint.requests) == 2
    assert positions(received(endpoint)) == list(range(302))


async def test_done_returns_once_the_receiver_has_it() -> None:
    gate = Gate()
    async with ScriptedEndpoint(Reply(framing="length", before=(gate,))) as endpoint, sink_to(endpoint) as sink:
        sending = asyncio.ensure_future(sink.send(done(0)))
        await gate.reached()
        assert not sending.done()
        gate.open()
        await sending


@pytest.mark.parametrize(
    "failure",
    [
        refusing(500),
        refusing(503, Retry_After="0"),
        refusing(429),
        refusing(408),
        Reply(before=(Close(),)),
        Reply(before=(Reset(),)),
        Reply(before=(b"this is no HTTP\r\n\r\n", Close())),
        Reply(before=(b"SSH-2.0-OpenSSH_9.6\r\n", Close())),
        Reply(before=(Hang(),)),
    ],
    ids=["500", "503", "429", "408", "closed", "reset", "nonsense", "other protocol", "hung"],
)
async def test_a_request_that_failed_is_sent_again_as_it_was_signed_anew(failure: Reply) -> None:
    times = iter(range(1_800_000_000, 1_900_000_000))
    async with (
        ScriptedEndpoint(failure, failure, handler=lambda _: TAKEN) as endpoint,
        sink_to(endpoint, request_timeout=0.5, now=lambda: next(times)) as sink,
    ):
        await sink.send(done(0))
    assert len(endpoint.requests) == 3
    assert len({request.headers["webhook-id"] for request in endpoint.requests}) == 1
    assert len({request.body for request in endpoint.requests}) == 1
    assert len({request.headers["webhook-timestamp"] for request in endpoint.requests}) == 3
    assert len({request.headers["webhook-signature"] for request in endpoint.requests}) == 3
    for request in endpoint.requests:
        signed_at = int(request.headers["webhook-timestamp"])
        assert verify(request.headers, request.body, SECRET, now=lambda signed_at=signed_at: signed_at) == [done(0)]


async def test_what_follows_a_request_that_failed_waits_for_it() -> None:
    async with (
        ScriptedEndpoint(refusing(500), refusing(500), handler=lambda _: TAKEN) as endpoint,
        sink_to(endpoint, max_batch_events=1) as sink,
    ):
        await send_all(sink, STREAM)
    heard = [verify(request.headers, request.body, SECRET)[0].seq for request in endpoint.requests]
    assert heard == sorted(heard)
    assert heard[:3] == [0, 0, 0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
async def test_a_refusal_is_raised_and_nothing_more_is_sent(status: int) -> None:
    async with ScriptedEndpoint(handler=lambda _: refusing(status)) as endpoint, sink_to(endpoint) as sink:
        for _ in range(2):
            with pytest.raises(SinkRejectedError, match=str(status)) as caught:
                await sink.send(done(0))
            assert (caught.value.status, caught.value.retryable) == (status, False)
        await sink.aclose()
    assert len(endpoint.requests) == 1


async def test_a_redirect_is_not_followed() -> None:
    async with ScriptedEndpoint(handler=lambda _: TAKEN) as elsewhere:
        moved = refusing(307, Location=elsewhere.base_url)
        async with ScriptedEndpoint(handler=lambda _: moved) as endpoint, sink_to(endpoint) as sink:
            with pytest.raises(SinkRejectedError, match="redirects are not followed"):
                await sink.send(done(0))
    assert elsewhere.requests == []


async def test_a_receiver_that_stays_away_is_given_up() -> None:
    async with ScriptedEndpoint() as gone:
        url = gone.base_url
    kept = MemorySink()
    async with WebhookSink(url, secret=SECRET, retry_delay=0.01, give_up_after=0.1) as sink:
        async with FanOut(sink, kept) as both:
            assert await pump(source(STREAM), both) == fold(STREAM)
        ((failed, error),) = both.failures
    assert failed is sink
    assert isinstance(error, SinkUnavailableError)
    assert "It was tried" in str(error)
    assert kept.events == STREAM


async def test_a_receiver_that_is_away_for_a_while_gets_everything() -> None:
    first = ScriptedEndpoint(handler=lambda _: TAKEN)
    async with first:
        url, port = first.base_url, int(first.base_url.split(":")[2].split("/")[0])
        sink = await WebhookSink(url, secret=SECRET, max_delay=0, retry_delay=0.01).__aenter__()
        await sink.send(STREAM[0])
        await first.received()
    sending = asyncio.ensure_future(send_all(sink, STREAM[1:]))
    async with ScriptedEndpoint(handler=lambda _: TAKEN, port=port) as second:
        await sending
        await sink.aclose()
    assert [*received(first), *received(second)][-1] == STREAM[-1]
    assert fold([*received(first), *received(second)]) == fold(STREAM)


async def test_a_wait_that_is_asked_for_beyond_the_end_gives_up_at_once() -> None:
    busy = refusing(503, Retry_After="3600")
    async with ScriptedEndpoint(handler=lambda _: busy) as endpoint, sink_to(endpoint) as sink:
        with pytest.raises(SinkUnavailableError, match="asked to wait 3600 s") as caught:
            await sink.send(done(0))
    assert (caught.value.status, caught.value.retry_after, caught.value.retryable) == (503, 3600.0, True)
    assert len(endpoint.requests) == 1


async def test_a_wait_that_is_asked_for_is_kept() -> None:
    clock = asyncio.get_running_loop().time
    times: list[float] = []

    def take(request: RecordedRequest) -> Reply:
        times.append(clock())
        return refusing(429, Retry_After="1") if len(times) == 1 else TAKEN

    async with ScriptedEndpoint(handler=take) as endpoint, sink_to(endpoint) as sink:
        await sink.send(done(0))
    assert times[1] - times[0] >= 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(steps=(b"x" * 1_000_000,)),
        Reply(steps=(Hang(),)),
        Reply(steps=(b"x", Close())),
        Reply(framing="length", headers={"Content-Encoding": "gzip"}, steps=(b"no gzip",)),
    ],
    ids=["endless", "hung", "cut", "not as it says"],
)
async def test_a_2xx_counts_whatever_its_body_does(reply: Reply) -> None:
    async with ScriptedEndpoint(reply, handler=lambda _: TAKEN) as endpoint, sink_to(endpoint) as sink:
        await sink.send(meta(0))
        await sink.send(done(1))
    assert len({request.headers["webhook-id"] for request in endpoint.requests}) == len(endpoint.requests)
    assert positions(received(endpoint)) == [0, 1]


async def test_a_long_answer_is_not_read_to_its_end() -> None:
    long = Reply(framing="length", steps=(b"x" * 1_000_000,))
    async with ScriptedEndpoint(long, handler=lambda _: TAKEN) as endpoint, sink_to(endpoint) as sink:
        await sink.send(done(0))
        await endpoint.requests[0].left.wait()


async def test_one_request_takes_no_longer_than_the_whole_batch_may() -> None:
    async with (
        asyncio.timeout(5),
        ScriptedEndpoint(handler=lambda _: Reply(before=(Hang(),))) as endpoint,
        sink_to(endpoint, give_up_after=0.05) as sink,
    ):
        with pytest.raises(SinkUnavailableError, match="did not answer within"):
            await sink.send(done(0))


async def test_a_slow_receiver_gets_fewer_larger_requests() -> None:
    slow = Reply(framing="length", before=(Pause(0.03),))
    async with ScriptedEndpoint(handler=lambda _: slow) as endpoint, sink_to(endpoint) as sink:
        for event in [meta(0), *words(100), done(101)]:
            await sink.send(event)
            await asyncio.sleep(0.001)
    assert positions(received(endpoint)) == list(range(102))
    assert len(endpoint.requests) < 20


async def test_a_large_text_has_a_request_to_itself() -> None:
    events = [meta(0), text(1, "😀" * 500_000), done(2)]
    async with ScriptedEndpoint(handler=lambda _: TAKEN) as endpoint, sink_to(endpoint) as sink:
        await send_all(sink, events)
    assert received(endpoint) == events


async def test_closing_does_not_wait_for_ever() -> None:
    async with ScriptedEndpoint(handler=lambda _: Reply(before=(Hang(),))) as endpoint:
        sink = await sink_to(endpoint, close_timeout=0.05).__aenter__()
        await sink.send(meta(0))
        with pytest.raises(SinkUnavailableError, match=r"within 0\.05 s"):
            await sink.aclose()
        await endpoint.all_closed()


async def test_half_a_character_is_refused_and_the_rest_arrives() -> None:
    async with ScriptedEndpoint(handler=lambda _: TAKEN) as endpoint, sink_to(endpoint) as sink:
        with pytest.raises(MalformedEventError):
            await sink.send(text(0, "\ud83d"))
        await sink.send(done(0))
    assert received(endpoint) == [done(0)]


async def test_a_session_that_is_lent_is_used_and_left_open() -> None:
    async with (
        ScriptedEndpoint(handler=lambda _: TAKEN) as endpoint,
        aiohttp.ClientSession(headers={"X-Mine": "1"}) as session,
    ):
        async with sink_to(endpoint, session=session) as sink:
            await sink.send(done(0))
        assert not session.closed
    assert endpoint.requests[0].headers["x-mine"] == "1"


async def test_the_secret_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", f"{new_secret()} {SECRET}")
    async with ScriptedEndpoint(handler=lambda _: TAKEN) as endpoint, sink_to(endpoint, secret=None) as sink:
        await sink.send(done(0))
    assert received(endpoint) == [done(0)]
    monkeypatch.delenv("WEBHOOK_SECRET")
    with pytest.raises(ConfigurationError, match="WEBHOOK_SECRET"):
        WebhookSink("https://example.com")


async def test_no_message_has_the_path_or_the_password_of_the_url() -> None:
    async with ScriptedEndpoint(handler=lambda _: Reply(before=(b"nonsense\r\n\r\n", Close()))) as endpoint:
        url = endpoint.base_url.replace("http://", "http://me:hush@") + "/hush?key=hush"
        async with WebhookSink(url, secret=SECRET, give_up_after=0.9, retry_delay=2) as sink:
            with pytest.raises(SinkUnavailableError) as caught:
                await sink.send(done(0))
    error: BaseException | None = caught.value
    while error is not None:
        assert "hush" not in str(error)
        error = error.__cause__
    assert endpoint.requests[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "url", ["", "example.com", "ftp://example.com/hush", "https:///hush", "http://example.com/hush", "https://[hush"]
)
def test_a_url_that_makes_no_sense_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="https") as caught:
        WebhookSink(url, secret=SECRET)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]/x", "http://localhost:8000", "http://a.localhost"])
def test_http_is_taken_to_this_machine(url: str) -> None:
    WebhookSink(url, secret=SECRET)


@pytest.mark.parametrize(
    "host", ["a..b", ".example", ".", "a" * 64 + ".example", "\u00e9" * 60 + ".example", "a%2eb..c"]
)
def test_a_host_that_no_name_can_be_is_refused_before_anything_is_sent(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"host|form"):
        WebhookSink(f"https://{host}/hush", secret=SECRET)


@pytest.mark.parametrize("host", ["b\u00fccher.example", "[::1]", "192.0.2.1", "example.", "under_score.example"])
def test_a_host_that_may_be_one_is_taken(host: str) -> None:
    WebhookSink(f"https://{host}/x", secret=SECRET)


async def test_a_host_that_no_look_up_takes_is_told_without_its_path() -> None:
    delivery = Delivery(URL("https://a..b/hush"), Signer(SECRET), request_timeout=5, give_up_after=5)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(SinkError, match=r"a\.\.b can't be asked") as caught:
            await delivery.deliver(session, freeze(STREAM, 0.0))
    assert "hush" not in str(caught.value)


async def test_a_lent_session_that_is_closed_is_told() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    async with WebhookSink("https://example.com/hush", secret=SECRET, session=session) as sink:
        with pytest.raises(SinkError, match="can't be asked: Session is closed"):
            await sink.send(done(0))


def test_http_elsewhere_is_taken_where_it_is_asked_for() -> None:
    WebhookSink("http://receiver.internal/x", secret=SECRET, allow_http=True)


@pytest.mark.parametrize(
    "options",
    [{"max_delay": -1}, *({name: 0} for name in ("max_batch_bytes", "max_batch_events", "max_held_bytes"))],
    ids=str,
)
def test_bounds_that_make_no_sense_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError, match="bounds"):
        WebhookSink("https://example.com", secret=SECRET, **options)


@pytest.mark.parametrize("name", ["request_timeout", "give_up_after", "retry_delay", "close_timeout"])
def test_timeouts_that_make_no_sense_are_refused(name: str) -> None:
    options: Any = {name: 0}
    with pytest.raises(ConfigurationError, match="above 0"):
        WebhookSink("https://example.com", secret=SECRET, **options)


async def test_it_is_entered_once() -> None:
    async with WebhookSink("https://example.com", secret=SECRET) as sink:
        with pytest.raises(ClosedError):
            await sink.__aenter__()


def test_each_wait_is_twice_the_last_up_to_the_most_with_up_to_half_of_it_off() -> None:
    assert [backoff(attempt, 0.5, 30.0, 0.0) for attempt in (1, 2, 3, 7, 500)] == [0.5, 1.0, 2.0, 30.0, 30.0]
    assert backoff(2, 0.5, 30.0, 1.0) == 0.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1" * 400, None),
        ("", None),
    ],
)
def test_a_retry_after_is_read_in_both_forms(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, 1_800_000_000.0) == expected


async def test_a_receiver_that_is_away_at_the_end_is_reported_with_the_last_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with ScriptedEndpoint(handler=lambda _: refusing(503)) as endpoint:
        sink = sink_to(endpoint, close_timeout=0.1)
        assert sink.trouble is None
        async with sink, FanOut(sink, drain_timeout=0.1) as fan_out:
            await fan_out.send(meta(0))
            await fan_out.send(done(1))
            while sink.trouble is None:  # noqa: ASYNC110 - a word that no event tells
                await asyncio.sleep(0.001)
            with pytest.raises(SinkError, match=r"the first one so: .*; the last try failed: it answered 503$"):
                await fan_out.aclose()
    assert "The webhook of 127.0.0.1 answered 503. It was attempt 1; the next is in 0.0 s." in caplog.messages


async def test_a_receiver_that_is_back_is_no_trouble() -> None:
    async with ScriptedEndpoint(refusing(503), handler=lambda _: TAKEN) as endpoint, sink_to(endpoint) as sink:
        await sink.send(done(0))
        assert sink.trouble is None


async def test_what_did_not_arrive_is_told_once_and_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    async def leave(endpoint: ScriptedEndpoint) -> None:
        async with sink_to(endpoint, close_timeout=0.1) as sink:
            await sink.send(meta(0))
            while sink.trouble is None:  # noqa: ASYNC110 - a word that no event tells
                await asyncio.sleep(0.001)
            raise LookupError

    async with ScriptedEndpoint(handler=lambda _: refusing(503)) as endpoint:
        with pytest.raises(LookupError):
            await leave(endpoint)
    assert caplog.messages == [
        (
            "What was held did not arrive. The webhook of 127.0.0.1 did not take the last events within 0.1 s; "
            "the last try failed: it answered 503."
        )
    ]
