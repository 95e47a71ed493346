"""The client as its callers meet it: settings, every way to ask, failures, misuse, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage

import hub
from hub.client import EventStream, OpenAIClient
from hub.completion import fold
from hub.errors import (
    ClosedError,
    ConfigurationError,
    EndpointConnectionError,
    EndpointError,
    EndpointStatusError,
    EndpointStreamError,
    EndpointTimeoutError,
    InvalidRequestError,
    MissingKeyError,
)
from hub.events import LLMEvent, decode_event
from hub.testing import (
    Gate,
    Hang,
    Reply,
    ScriptedEndpoint,
    chat_chunk,
    chat_reply,
    check_grammar,
    never_answer,
    raw_reply,
    refuse,
    sse,
    status_reply,
)
from hub.upstream.clocks import Timeouts
from hub.upstream.retry import RetryPolicy

HELLO: Any = [{"role": "user", "content": "Hello"}]
ONCE = RetryPolicy(attempts=1)
KEY = "kEy.withNoKnownPrefix.0123456789"
VARIABLES = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "LLM_BASE_URL", "LLM_API_KEY", "LLM_MODEL", "LLM_MAX_TOKENS"),
    *("LLM_TEMPERATURE", "LLM_ATTEMPTS", "LLM_CONNECT_TIMEOUT", "LLM_STALL_TIMEOUT", "LLM_TOTAL_TIMEOUT"),
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint(handler=lambda _: chat_reply("Hi there", usage=True)) as running:
        yield running


@pytest.fixture
async def client(endpoint: ScriptedEndpoint) -> AsyncIterator[OpenAIClient]:
    async with OpenAIClient("m-1", base_url=endpoint.base_url, api_key=KEY, retry=ONCE) as opened:
        yield opened


class ListSink:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.events: list[LLMEvent] = []
        self.closed = False

    async def send(self, event: LLMEvent) -> None:
        self.events.append(event)

    async def aclose(self) -> None:
        self.closed = True


def body(endpoint: ScriptedEndpoint) -> Any:
    return endpoint.requests[-1].json()


# Every way to ask


async def test_stream_gives_typed_events(client: OpenAIClient) -> None:
    events = [event async for event in client.stream(messages=HELLO, stream_id="str_mine", identifier="q1")]
    check_grammar(events)
    assert [event.type for event in events] == ["meta", "text_delta", "text_delta", "usage", "done"]
    assert {event.stream_id for event in events} == {"str_mine"}
    assert fold(events).identifier == "q1"


async def test_each_stream_has_an_id_of_its_own(client: OpenAIClient) -> None:
    assert client.stream(messages=HELLO).stream_id != client.stream(messages=HELLO).stream_id


async def test_batches_hold_the_same_events_in_lists(client: OpenAIClient) -> None:
    check_grammar([event async for batch in client.stream(messages=HELLO).batches() for event in batch])


async def test_invoke_gives_the_whole_answer(client: OpenAIClient) -> None:
    result = await client.invoke(messages=HELLO)
    assert (result.status, result.text, result.finish_reason) == ("completed", "Hi there", "stop")
    assert result.usage is not None
    assert (result.usage.input_tokens, result.usage.estimated) == (7, False)
    assert result.raise_for_status() is result


async def test_generate_gives_the_text(client: OpenAIClient) -> None:
    assert await client.generate(HELLO) == "Hi there"


async def test_generate_streaming_gives_the_text_in_pieces(client: OpenAIClient) -> None:
    assert [text async for text in client.generate_streaming(HELLO)] == ["Hi", " there"]


async def test_stream_sse_gives_frames(client: OpenAIClient) -> None:
    frames = [frame async for frame in client.stream_sse(messages=HELLO)]
    assert frames[0].startswith(b"id: 0\nevent: meta\ndata: {")
    check_grammar([decode_event(frame.partition(b"data: ")[2].strip()) for frame in frames])


async def test_stream_to_sink_sends_every_event_and_leaves_the_sink_open(client: OpenAIClient) -> None:
    sink = ListSink()
    result = await client.stream_to_sink(sink, messages=HELLO)
    check_grammar(sink.events)
    assert (result.text, fold(sink.events), sink.closed) == ("Hi there", result, False)


async def test_a_sink_that_fails_ends_the_asking(endpoint: ScriptedEndpoint, client: OpenAIClient) -> None:
    class Broken(ListSink):
        async def send(self, event: LLMEvent) -> None:
            raise OSError("full")

    endpoint.enqueue(raw_reply(sse(chat_chunk(content="Hi"), done=False), Hang()))
    with pytest.raises(OSError, match="full"):
        await client.stream_to_sink(Broken(), messages=HELLO)
    await asyncio.wait_for(endpoint.all_closed(), 5)


async def test_a_cancelled_stream_to_sink_still_tells_the_sink_the_end(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply(["Hi", gate, "!"]))
    sink = ListSink()
    task = asyncio.create_task(client.stream_to_sink(sink, messages=HELLO))
    await asyncio.wait_for(gate.reached(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    check_grammar(sink.events)
    assert fold(sink.events).status == "cancelled"


async def test_of_several_choices_the_text_is_the_first_ones(endpoint: ScriptedEndpoint, client: OpenAIClient) -> None:
    chunks = [chat_chunk(content=f"{number}", choice=number) for number in (0, 1)] * 2
    ends = [chat_chunk(choice=number, finish_reason="stop") for number in (0, 1)]
    for _ in range(3):
        endpoint.enqueue(raw_reply(sse(*chunks, *ends)))
    assert await client.generate(HELLO, n=2) == "00"
    assert [text async for text in client.generate_streaming(HELLO, n=2)] == ["0", "0"]
    assert [choice.text for choice in (await client.invoke(messages=HELLO, n=2)).choices] == ["00", "11"]


async def test_messages_may_be_any_iterable_and_the_sdks_own_objects(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    earlier = ChatCompletionMessage(role="assistant", content="Hi")
    await client.invoke(messages=(message for message in [*HELLO, earlier]))
    assert body(endpoint)["messages"] == [*HELLO, {"role": "assistant", "content": "Hi"}]


async def test_calls_run_side_by_side(client: OpenAIClient) -> None:
    texts = await asyncio.gather(*(client.generate(HELLO) for _ in range(50)))
    assert texts == ["Hi there"] * 50


# Failures

FAILURES: list[tuple[Reply, type[Exception], str]] = [
    (status_reply(401, "wrong key"), EndpointStatusError, "unauthorized"),
    (refuse(), EndpointConnectionError, "connection_failed"),
    (raw_reply(sse(chat_chunk(content="Hi"), done=False)), EndpointStreamError, "truncated"),
    (never_answer(), EndpointTimeoutError, "first_token_timeout"),
]


@pytest.mark.parametrize(("reply", "kind", "code"), FAILURES, ids=[code for _, _, code in FAILURES])
async def test_a_failure_is_an_event_a_status_or_an_exception_as_each_way_promises(
    endpoint: ScriptedEndpoint, client: OpenAIClient, reply: Reply, kind: Any, code: str
) -> None:
    endpoint.enqueue(*[reply] * 6)
    quick: Any = {"timeouts": Timeouts(first_token_timeout=0.1)} if code == "first_token_timeout" else {}
    events = [event async for event in client.stream(messages=HELLO, **quick)]
    check_grammar(events)
    assert [event.code for event in events if event.type == "error"] == [code]
    frames = [frame async for frame in client.stream_sse(messages=HELLO, **quick)]
    assert any(b'"type":"error"' in frame and code.encode() in frame for frame in frames)
    sink = ListSink()
    assert (await client.stream_to_sink(sink, messages=HELLO, **quick)).status == "failed"
    assert any(event.type == "error" for event in sink.events)
    result = await client.invoke(messages=HELLO, **quick)
    assert (result.status, result.error and result.error.code) == ("failed", code)
    with pytest.raises(kind) as raised:
        result.raise_for_status()
    assert raised.value.code == code
    with pytest.raises(kind):
        await client.generate(HELLO, **quick)
    with pytest.raises(kind):
        _ = [text async for text in client.generate_streaming(HELLO, **quick)]


async def test_the_pieces_before_a_failure_come_out_first(endpoint: ScriptedEndpoint, client: OpenAIClient) -> None:
    endpoint.enqueue(raw_reply(sse(chat_chunk(content="Hi"), {"error": {"message": "gone", "code": 500}})))
    pieces = client.generate_streaming(HELLO)
    assert await anext(pieces) == "Hi"
    with pytest.raises(EndpointStatusError, match="gone"):
        await anext(pieces)


# Misuse raises at the call


WRONG: list[dict[str, Any]] = [
    {"messages": []},
    {"messages": None},
    {"messages": "Hello"},
    {"messages": b"Hello"},
    {"messages": HELLO[0]},
    {"messages": 7},
    {"messages": [7]},
    {"messages": ["Hello"]},
    {"messages": [{"content": "no role"}]},
    {"messages": [{"role": 7}]},
    {"messages": HELLO, "model": 7},
    {"messages": HELLO, "model": ""},
    {"messages": HELLO, "max_tokens": "many"},
    {"messages": HELLO, "max_tokens": -1},
    {"messages": HELLO, "max_tokens": 1.5},
    {"messages": HELLO, "max_tokens": True},
    {"messages": HELLO, "temperature": "hot"},
    {"messages": HELLO, "temperature": -0.1},
    {"messages": HELLO, "temperature": float("nan")},
    {"messages": HELLO, "stream": True},
    {"messages": HELLO, "timeout": 5},
    {"messages": HELLO, "timeouts": 5},
    {"messages": HELLO, "retry": 3},
    {"messages": HELLO, "stream_id": 7},
    {"messages": HELLO, "identifier": 7},
]


@pytest.mark.parametrize("arguments", WRONG, ids=str)
async def test_wrong_arguments_raise_at_the_call(
    endpoint: ScriptedEndpoint, client: OpenAIClient, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError):
        client.stream(**arguments)
    with pytest.raises(InvalidRequestError):
        client.stream_sse(**arguments)
    with pytest.raises(InvalidRequestError):
        client.generate_streaming(**arguments)
    with pytest.raises(InvalidRequestError):
        await client.invoke(**arguments)
    with pytest.raises(InvalidRequestError):
        await client.generate(**arguments)
    with pytest.raises(InvalidRequestError):
        await client.stream_to_sink(ListSink(), **arguments)
    assert endpoint.requests == []


async def test_missing_messages_raise_at_the_call(client: OpenAIClient) -> None:
    with pytest.raises(InvalidRequestError, match="messages"):
        client.stream()


async def test_a_closed_client_raises_at_the_call(client: OpenAIClient) -> None:
    await client.aclose()
    await client.aclose()
    await client.close()
    with pytest.raises(ClosedError):
        client.stream(messages=HELLO)
    with pytest.raises(ClosedError):
        await client.generate(HELLO)


@pytest.mark.parametrize(
    "options",
    [
        {"model": 7},
        {"max_tokens": -1},
        {"temperature": "x"},
        {"timeouts": 5},
        {"retry": 3},
        {"base_url": 7},
        {"api_key": 7},
    ],
    ids=str,
)
def test_wrong_options_raise_in_the_constructor(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        OpenAIClient(**{"model": "m", "base_url": "http://localhost/v1", **options})


def test_without_a_model_the_error_says_how_to_name_one() -> None:
    with pytest.raises(ConfigurationError, match="LLM_MODEL"):
        OpenAIClient(base_url="http://localhost/v1")


def test_without_a_key_the_error_says_which_variable_to_set() -> None:
    with pytest.raises(MissingKeyError, match="OPENAI_API_KEY"):
        OpenAIClient("gpt-5.1")


# What it keeps to itself


async def test_a_password_in_the_url_is_sent_as_a_header_and_shown_nowhere(
    endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = endpoint.base_url.replace("://", "://me:very-secret@")
    async with OpenAIClient("m", base_url=url) as client:
        await client.invoke(messages=HELLO)
        assert endpoint.requests[-1].headers["authorization"] == "Basic bWU6dmVyeS1zZWNyZXQ="
        assert "secret" not in repr(client) + client.base_url + caplog.text


async def test_keys_are_in_no_log_no_repr_and_no_message(
    endpoint: ScriptedEndpoint, client: OpenAIClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    header = "another-secret-value"
    quoting = f"The key {KEY} and {header} are wrong"
    async with OpenAIClient("m", base_url=endpoint.base_url, api_key=KEY, default_headers={"api-key": header}) as other:
        endpoint.enqueue(
            status_reply(401, quoting),
            raw_reply(sse(chat_chunk(content="Hi"), {"error": {"message": quoting}})),
            status_reply(503, quoting),
            status_reply(400, f"stream_options: {quoting}"),
        )
        shown = [repr(other), str(other), repr(other.profile)]
        for _ in range(3):
            stream = other.stream(messages=HELLO, extra_headers={"X-Key": KEY})
            shown += [repr(stream), *map(repr, [event async for event in stream])]
        assert "***" in "".join(shown)
        assert KEY not in "".join(shown) + caplog.text
        assert header not in "".join(shown) + caplog.text


# Size


async def test_a_long_answer_takes_no_memory_that_grows_with_it(
    endpoint: ScriptedEndpoint, client: OpenAIClient
) -> None:
    piece = sse(*[chat_chunk(content="word ")] * 500, done=False)
    endpoint.enqueue(raw_reply(*[piece] * 80, sse(chat_chunk(finish_reason="stop"))))
    count, early = 0, 0
    tracemalloc.start()
    async for _ in client.stream(messages=HELLO):
        count += 1
        if count == 5_000:
            early, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40_003
    assert peak - early < 3_000_000


def test_the_stream_of_events_is_public() -> None:
    assert hub.EventStream is EventStream


async def test_a_key_that_the_endpoint_quotes_is_not_shown_by_the_list_of_models() -> None:
    quoting = status_reply(401, "Incorrect API key provided: sk-very-secret-1")
    async with (
        ScriptedEndpoint(quoting) as endpoint,
        OpenAIClient("m", base_url=endpoint.base_url, api_key="sk-very-secret-1") as client,
    ):
        with pytest.raises(EndpointError) as raised:
            await client.list_models()
    assert "very-secret" not in f"{raised.value} {raised.value.message} {raised.value!r}"
    assert raised.value.code == "unauthorized"
