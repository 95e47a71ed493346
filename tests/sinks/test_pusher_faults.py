"""What a PusherSink makes of a Pusher that refuses, fails, hangs, goes away, or answers nonsense."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from hub.completion import fold
from hub.errors import SinkError, SinkRejectedError, SinkUnavailableError
from hub.sink import FanOut, pump
from sinks.memory import MemorySink
from sinks.pusher import PusherApp, PusherSink
from sinks.pusher.replies import refusal

from ..contracts.samples import a_stream, meta, now, source, text
from .leaping_time import in_leaping_time
from .strict_pusher import KEY, SECRET, StrictPusher, answering

ANSWER = a_stream(*(f" {number}" for number in range(40)))


def sink_of(server: StrictPusher, **arguments: Any) -> PusherSink:
    return PusherSink("chat", app=server.app, **{"random": lambda: 1.0, **arguments})


async def failure_of(sink: PusherSink) -> SinkError:
    """What a sink raises once it has failed, at a send and again at each one after."""

    async def send_on() -> None:
        for seq in range(1, 1_000):
            await asyncio.sleep(0.1)
            await sink.send(text(seq))

    async with sink:
        await sink.send(meta(0))
        with pytest.raises(SinkError) as caught:
            await send_on()
        with pytest.raises(SinkError):
            await sink.send(text(1_000))
    return caught.value


async def hang() -> web.StreamResponse:
    """No answer at all."""
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "malformed"),
        (401, "PUSHER_AUTH_SECRET"),
        (403, "quota"),
        (404, "PUSHER_APP_ID"),
        (413, "max_event_bytes"),
        (302, "PUSHER_HOST"),
        (410, "410"),
    ],
)
@in_leaping_time
async def test_a_refusal_is_told_with_its_status_and_not_tried_again(status: int, words: str) -> None:
    async with StrictPusher() as server:
        server.next_answers.append(answering(status, "Some sentence of Pusher's", Location="http://127.0.0.1:1/"))
        error = await failure_of(sink_of(server))
        assert len(server.asked) == 1
    assert isinstance(error, SinkRejectedError)
    assert (error.status, error.retryable) == (status, False)
    assert words in str(error)
    assert "Some sentence of Pusher's." in str(error)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
@in_leaping_time
async def test_what_may_pass_is_tried_again_and_nothing_is_lost_or_out_of_order(status: int) -> None:
    async with StrictPusher() as server:
        server.next_answers += [answering(status, "later")] * 3
        async with sink_of(server) as sink:
            await pump(source(ANSWER), sink)
        assert fold(server.events("chat")) == fold(ANSWER)
        assert server.asked[0].body == server.asked[3].body


@in_leaping_time
async def test_pauses_grow_and_each_try_is_signed_anew() -> None:
    async with StrictPusher(clock=now) as server:
        server.next_answers += [answering(503, "later")] * 6
        async with sink_of(server, clock=now) as sink:
            await sink.send(meta(0))
        assert now() == pytest.approx(0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 3.2, abs=0.1)
        assert server.refused == []
    assert server.asked[0].query["auth_timestamp"] == "0"
    assert server.asked[-1].query["auth_timestamp"] == "6"


@in_leaping_time
async def test_pusher_is_given_the_patience_it_asks_for() -> None:
    async with StrictPusher() as server:
        server.next_answers.append(answering(429, "slow down", **{"Retry-After": "7"}))
        async with sink_of(server) as sink:
            await sink.send(meta(0))
        assert now() == pytest.approx(7.0, abs=0.1)
        assert server.events("chat") == [meta(0)]


@in_leaping_time
async def test_patience_beyond_max_outage_is_not_begun() -> None:
    async with StrictPusher() as server:
        server.next_answers.append(answering(429, "slow down", **{"Retry-After": "3600"}))
        error = await failure_of(sink_of(server))
    assert isinstance(error, SinkUnavailableError)
    assert (error.status, error.retry_after, error.retryable) == (429, 3600.0, True)
    assert now() < 1.0


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ('{"error":"The event data should be less than 10 KB.","code":413}', SinkRejectedError, 413),
        ('{"error":"No such app","code":404}', SinkRejectedError, 404),
        ('{"error":"who knows"}', SinkRejectedError, 200),
        ('{"error":{"odd":true},"code":"x"}', SinkRejectedError, 200),
    ],
)
@in_leaping_time
async def test_an_answer_of_200_with_an_error_in_it_is_an_error(body: str, kind: type, status: int) -> None:
    async with StrictPusher() as server:
        server.next_answers.append(answering(200, body))
        error = await failure_of(sink_of(server))
        assert len(server.asked) == 1
    assert type(error) is kind
    assert error.status == status


@in_leaping_time
async def test_an_answer_of_200_that_asks_for_patience_is_tried_again() -> None:
    async with StrictPusher() as server:
        server.next_answers.append(answering(200, '{"error":"Too many requests.","code":429}'))
        async with sink_of(server) as sink:
            await pump(source(ANSWER), sink)
        assert fold(server.events("chat")) == fold(ANSWER)


@pytest.mark.parametrize("body", ["", "ok", "<html>Sign in to the Wi-Fi</html>", "[]", "\x00\xff", "x" * 1_000_000])
@in_leaping_time
async def test_nonsense_is_no_answer_and_tried_again_until_max_outage(body: str) -> None:
    async with StrictPusher() as server:
        server.next_answers += [answering(200, body)] * 100
        error = await failure_of(sink_of(server, max_outage=5))
    assert isinstance(error, SinkUnavailableError)
    assert "no server of Pusher's protocol" in str(error)
    assert len(str(error)) < 500
    assert 3.0 < now() < 6.0


@in_leaping_time
async def test_bytes_that_are_no_http_are_tried_again_until_max_outage() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"220 smtp.example.org ESMTP\r\n" * 10)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        app = PusherApp(
            app_id="1", key=KEY, secret=SECRET, host="127.0.0.1", port=server.sockets[0].getsockname()[1], ssl=False
        )
        error = await failure_of(PusherSink("chat", app=app, max_outage=2))
    assert isinstance(error, SinkUnavailableError)
    assert "auth_signature" not in str(error)


@pytest.mark.parametrize(("off", "words"), [(-1_000, "1000 s behind"), (1_000, "1000 s ahead")])
@in_leaping_time
async def test_a_clock_that_is_wrong_is_named_as_the_reason(off: int, words: str) -> None:
    async with StrictPusher() as server:
        error = await failure_of(sink_of(server, clock=lambda: time.time() + off))
    assert isinstance(error, SinkRejectedError)
    assert error.status == 401
    assert words.split(" ", 1)[1] in str(error)
    assert "no request more than 600 s off" in str(error)


@pytest.mark.parametrize("date", [None, "yesterday", "", "Sat, 21 Nov 2026 12:00:00 GMT"])
def test_a_clock_is_blamed_only_where_it_is_known_to_be_wrong(date: str | None) -> None:
    app = PusherApp(app_id="1", key=KEY, secret=SECRET, host="example.org")
    now = datetime(2026, 11, 21, 12, 9, 59, tzinfo=UTC).timestamp()
    error = refusal(app, 401, {} if date is None else {"date": date}, b"no", now=now)
    assert isinstance(error, SinkRejectedError)
    assert str(error) == "Pusher at example.org answered 401: no. Check PUSHER_AUTH_KEY and PUSHER_AUTH_SECRET."


@in_leaping_time
async def test_a_wrong_secret_is_refused_and_no_secret_is_told() -> None:
    async with StrictPusher() as server:
        app = PusherApp(app_id="1234", key=KEY, secret="not-it", host="127.0.0.1", port=server.port, ssl=False)
        error = await failure_of(PusherSink("chat", app=app))
        assert (error.status, "PUSHER_AUTH_SECRET" in str(error)) == (401, True)
        server.next_answers.append(answering(401, f"your secret is {SECRET}"))
        assert SECRET not in str(await failure_of(sink_of(server)))


@in_leaping_time
async def test_what_is_too_large_for_this_app_says_how_to_make_it_smaller() -> None:
    async with StrictPusher(max_event_bytes=5_000) as server:
        async with PusherSink("chat", app=server.app) as sink:
            await sink.send(text(0, "x" * 9_000))
            with pytest.raises(SinkRejectedError, match="pass a smaller max_event_bytes"):
                await sink.aclose()
        async with PusherSink("chat", app=server.app, max_event_bytes=5_000) as sink:
            await sink.send(text(0, "x" * 9_000))
        assert server.events("chat") == [text(0, "x" * 9_000)]


@in_leaping_time
async def test_a_request_without_an_answer_is_given_up_and_sent_again() -> None:
    async with StrictPusher() as server:
        server.next_answers.append(hang)
        async with sink_of(server, timeout=3) as sink:
            await pump(source(ANSWER), sink)
        assert now() > 3.0
        assert fold(server.events("chat")) == fold(ANSWER)


@in_leaping_time
async def test_a_lost_answer_doubles_messages_and_readers_have_each_event_once() -> None:
    async with StrictPusher() as server:

        async def take_and_break_off() -> web.StreamResponse:
            assert server.take(server.asked[-1]).status == 200
            return web.Response(status=502, text="the answer is lost")

        server.next_answers.append(take_and_break_off)
        async with sink_of(server) as sink:
            await pump(source(ANSWER), sink)
        assert len({sent.data for sent in server.sent}) < len(server.sent)
        assert fold(server.events("chat")) == fold(ANSWER)


@in_leaping_time
async def test_pusher_may_be_slow() -> None:
    async with StrictPusher() as server:
        async with sink_of(server) as sink:
            server.hold(True)
            loop = asyncio.get_running_loop()
            loop.call_later(2, server.hold, False)
            for event in ANSWER:
                await sink.send(event)
                await asyncio.sleep(0.05)
        assert fold(server.events("chat")) == fold(ANSWER)
        # What gathered meanwhile went merged.
        assert len(server.sent) < 10


@in_leaping_time
async def test_pusher_may_be_away_for_five_seconds() -> None:
    async with StrictPusher() as server:
        kept = MemorySink()
        sink = sink_of(server)
        async with sink, FanOut(sink, kept, drain_timeout=20) as both:
            for number, event in enumerate(ANSWER):
                if number == 10:
                    await server.stop()
                if number == 35:
                    await server.start()
                await both.send(event)
                await asyncio.sleep(0.2)
            assert kept.result() == fold(ANSWER)
        assert both.failures == []
        assert fold(server.events("chat")) == fold(ANSWER)


@in_leaping_time
async def test_when_pusher_is_gone_for_good_the_stream_and_the_other_sinks_go_on() -> None:
    async with StrictPusher() as server:
        kept = MemorySink()
        sink = sink_of(server, max_outage=3)
        async with FanOut(sink, kept, drain_timeout=20) as both:
            await sink.__aenter__()
            for number, event in enumerate(ANSWER):
                if number == 10:
                    await server.stop()
                await both.send(event)
                await asyncio.sleep(0.2)
        assert kept.result() == fold(ANSWER)
        ((failed, error),) = both.failures
        assert failed is sink
        assert isinstance(error, SinkUnavailableError)
        assert f"127.0.0.1:{server.port} can't be reached" in str(error)


@in_leaping_time
async def test_closing_tells_of_a_failure_that_no_send_has_told() -> None:
    async with StrictPusher() as server:
        server.next_answers.append(answering(403, "over quota"))
        sink = await sink_of(server).__aenter__()
        await sink.send(meta(0))
        with pytest.raises(SinkRejectedError, match="over quota"):
            await sink.aclose()
        await sink.aclose()


@in_leaping_time
async def test_a_sink_that_waits_for_room_hears_of_the_failure() -> None:
    async def send_many(sink: PusherSink) -> None:
        for seq in range(1_000):
            await sink.send(text(seq, choice=seq % 2))

    async with StrictPusher() as server:
        server.next_answers.append(hang)
        server.next_answers += [answering(503, "later")] * 100
        async with sink_of(server, max_queue=3, timeout=1, max_outage=2) as sink:
            with pytest.raises(SinkUnavailableError):
                await send_many(sink)
        assert now() < 5


async def test_a_defect_within_fails_the_sink_and_cancels_nobody() -> None:
    async def send_on(sink: PusherSink) -> None:
        for seq in range(1, 1_000):
            await asyncio.sleep(0)
            await sink.send(text(seq))

    async with asyncio.timeout(10), StrictPusher() as server:
        whole = MemorySink()
        async with sink_of(server, clock=[].pop) as broken_sink, FanOut(broken_sink, whole) as fan_out:
            await pump(source(ANSWER), fan_out)
        assert whole.events == ANSWER
        assert isinstance(fan_out.failures[0][1], SinkError)
        # The second request asks a clock that is broken, when the connection is open.
        async with sink_of(server, clock=[time.time()].pop) as sink:
            await sink.send(meta(0))
            with pytest.raises(SinkError, match=r"failed from within \(IndexError\)") as caught:
                await send_on(sink)
            assert isinstance(caught.value.__cause__, IndexError)


def test_what_an_answer_says_obeys_no_terminal() -> None:
    app = PusherApp(app_id="1", key=KEY, secret=SECRET, host="h")
    error = refusal(app, 403, {}, b"\x1b[2J\x07 no \xe2\x80\xae more" + b"x" * 5_000, now=0.0)
    assert error is not None
    assert "?[2J? no ? more" in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 400


@in_leaping_time
async def test_a_fan_out_that_waits_in_vain_says_what_pusher_answered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with StrictPusher() as server:
        server.next_answers += [answering(503, "later")] * 100
        async with sink_of(server) as sink, FanOut(sink, MemorySink(), drain_timeout=5.0) as fan_out:
            await fan_out.send(meta(0))
            await fan_out.aclose()
        ((_, error),) = fan_out.failures
    cause = "the last try failed: Pusher at 127.0.0.1 answered 503: later"
    assert str(error) == f"it took no end within 5 s; {cause}"
    assert "Pusher at 127.0.0.1 answered 503: later. The request is sent again in 0.1 s." in caplog.messages


@in_leaping_time
async def test_a_request_that_was_taken_at_last_is_no_trouble() -> None:
    async with StrictPusher() as server:
        server.next_answers.append(answering(503, "later"))
        async with sink_of(server) as sink:
            await sink.send(meta(0))
            await server.has(1)
        assert sink.trouble is None
