"""What an endpoint, or a careless caller, can't do: go on for ever, learn another's key, break a call by its shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hub.client import Fallback, OpenAIClient
from hub.errors import ConfigurationError, EndpointError, InvalidRequestError
from hub.events import Error
from hub.models.catalog import GPT6Point1Sol
from hub.observe import Call, Observer, Outcome
from hub.testing import ScriptedEndpoint, chat_reply, responses_reply, sse, status_reply
from hub.upstream import attempt
from hub.upstream.clocks import Timeouts
from hub.upstream.failures import MAX_MESSAGE_CHARS
from hub.upstream.retry import RetryPolicy
from hub.upstream.route import CoolDown

from .support import HELLO, chunk, client_of, events_of, outcome

ONCE = RetryPolicy(attempts=1)
KEY = "kEy.withNoKnownPrefix.0123456789"


class _Endless:
    """A body that is always ready and never ends."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield sse(chunk("x" * 100), done=False)


async def test_the_total_clock_ends_an_answer_that_never_lets_us_wait() -> None:
    events = await events_of(_Endless(), timeouts=Timeouts(total_timeout=0.05))  # type: ignore[arg-type]
    (error,) = [event for event in events if isinstance(event, Error)]
    assert error.code == "total_timeout"


async def test_an_answer_has_a_size_that_it_does_not_exceed() -> None:
    piece = sse(chunk("x" * 8_000_000), done=False)
    events = await events_of([piece] * (attempt.MAX_OUTPUT_CHARS // 8_000_000 + 2))
    (error,) = [event for event in events if isinstance(event, Error)]
    assert error.code == "budget_exceeded"


@pytest.mark.parametrize("before", range(MAX_MESSAGE_CHARS - len(KEY) - 5, MAX_MESSAGE_CHARS + 5, 7))
async def test_no_part_of_a_key_is_left_where_a_message_is_cut(before: int) -> None:
    said = "x" * before + KEY
    replies = status_reply(401, said), status_reply(401, said)
    async with ScriptedEndpoint(*replies) as endpoint, client_of(endpoint, api_key=KEY, retry=ONCE) as client:
        result = await outcome(client.stream(messages=HELLO))
        with pytest.raises(EndpointError) as caught:
            await client.embedding("a")
    assert result.error is not None
    for message in (result.error.message, str(caught.value)):
        assert KEY[:8] not in message
        assert len(message) < MAX_MESSAGE_CHARS + 100


async def test_keys_of_one_call_are_not_shown_when_they_are_quoted() -> None:
    said = f"what is {KEY}x or {KEY}y?"
    async with ScriptedEndpoint(status_reply(401, said)) as endpoint, client_of(endpoint, retry=ONCE) as client:
        own = {"extra_headers": {"Authorization": f"Bearer {KEY}x"}, "extra_query": {"key": f"{KEY}y"}}
        result = await outcome(client.stream(messages=HELLO, **own))
    assert KEY not in repr(result)


async def test_the_password_of_an_address_is_not_shown_when_it_is_quoted() -> None:
    async with ScriptedEndpoint(status_reply(401, "hunter2hunter2 is wrong")) as endpoint:
        url = endpoint.base_url.replace("http://", "http://bob:hunter2hunter2@")
        async with OpenAIClient("m", base_url=url, retry=ONCE) as client:
            assert "hunter2" not in repr(await outcome(client.stream(messages=HELLO)))
            assert "hunter2" not in repr(Fallback(base_url=url))


async def test_a_dictionary_shows_no_key_of_the_call() -> None:
    async with ScriptedEndpoint() as endpoint, client_of(endpoint) as client:
        response = await client.get_response(
            messages=HELLO,
            extra_headers={"X-Key": KEY},
            extra_query={"api-key": KEY},
            extra_body={"api_key": KEY, "top_k": 5},
        )
    assert KEY not in repr(response)
    assert response["params"]["extra_body"] == {"top_k": 5}


@pytest.mark.parametrize("is_openais", [False, True])
async def test_what_the_sdk_reads_of_openai_stays_with_openai(
    is_openais: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Custom: secret-of-mine\nAuthorization: Bearer also-of-mine")
    async with ScriptedEndpoint() as endpoint:
        if is_openais:
            monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        async with client_of(endpoint, api_key="k-1", default_headers={"X-Own": "own"}) as client:
            await outcome(client.stream(messages=HELLO))
            await client.embedding("a")
    for request in endpoint.requests:
        sent = repr(request.headers)
        assert request.headers["x-own"] == "own"
        assert ("org-mine" in sent, "secret-of-mine" in sent) == (is_openais, is_openais)
        if not is_openais:
            assert request.headers["authorization"] == "Bearer k-1"
            assert "of-mine" not in sent


async def test_what_can_be_read_once_reaches_every_fallback() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    part = {"type": "text", "text": "Hello"}
    async with ScriptedEndpoint(status_reply(500), chat_reply("Hi")) as endpoint:
        async with client_of(endpoint, fallbacks=["m-2"], retry=ONCE) as client:
            messages = [{"role": "user", "content": iter([part])}]
            await outcome(client.stream(messages=messages, tools=iter([tool])))
        for request in endpoint.requests:
            assert request.json()["tools"] == [tool]
            assert request.json()["messages"][0]["content"] == [part]


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"tools": 5},
        {"tools": "f"},
        {"include": 5},
        {"stream_options": 5},
        {"extra_headers": 5},
        {"extra_query": 5},
        {"messages": [{"role": "assistant", "tool_calls": 5}]},
    ],
    ids=str,
)
async def test_a_wrong_shape_is_refused_at_the_call(wrong: Any, api: Any) -> None:
    async with ScriptedEndpoint() as endpoint, client_of(endpoint) as client:
        if api == "chat" and "messages" in wrong:
            await outcome(client.stream(messages=wrong["messages"]))  # the endpoint's to judge
            return
        with pytest.raises(InvalidRequestError):
            client.stream(**{"messages": HELLO, "api": api, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 2.5}, {"attempts": True}, {"backoff": float("nan")}, {"max_backoff": float("inf")}, {"backoff": -1}],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


def test_no_number_of_tries_is_too_large_for_the_backoff() -> None:
    error = EndpointError("down", code="endpoint_error", retryable=True)
    assert RetryPolicy(attempts=10_000).delay(error, 9_000, 0.0) == 4.0


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 0, -1])
def test_a_clock_without_an_end_is_none(seconds: float) -> None:
    with pytest.raises(ValueError, match="None"):
        Timeouts(connect_timeout=seconds)


async def test_no_endpoint_is_left_alone_for_longer_than_an_hour() -> None:
    now = 0.0
    cool_down = CoolDown(30.0, clock=lambda: now)
    cool_down.failed(EndpointError("busy", code="rate_limited", retry_after=1e9))
    now = 3_600.0
    assert cool_down.is_over


async def test_a_model_of_one_call_that_is_not_found_says_nothing_against_the_endpoint() -> None:
    async with ScriptedEndpoint(status_reply(404), chat_reply("a"), chat_reply("b")) as endpoint:
        async with client_of(endpoint, fallbacks=["m-2"], retry=ONCE) as client:
            await outcome(client.stream(messages=HELLO, model="typo"))
            await outcome(client.stream(messages=HELLO))
        assert [request.json()["model"] for request in endpoint.requests] == ["typo", "m-2", "m-1"]


async def test_a_fallback_that_has_no_form_for_the_request_is_left_out() -> None:
    async with ScriptedEndpoint(status_reply(500)) as endpoint:
        fallback = Fallback(base_url=endpoint.base_url, api_key="EMPTY", model=GPT6Point1Sol)
        async with client_of(endpoint, fallbacks=[fallback], retry=ONCE) as client:
            result = await outcome(client.stream(messages=HELLO, stop=["x"]))
            assert result.error is not None
            assert len(endpoint.requests) == 1
            with pytest.raises(InvalidRequestError, match="stop"):
                client.stream(messages=HELLO, stop=["x"], api="responses")


async def test_a_fallback_may_name_its_api() -> None:
    async with ScriptedEndpoint(status_reply(500), responses_reply("Hi")) as endpoint:
        fallback = Fallback(model="m-2", api="responses")
        async with client_of(endpoint, fallbacks=[fallback], retry=ONCE) as client:
            assert (await outcome(client.stream(messages=HELLO))).text == "Hi"


async def test_another_request_bears_another_idempotency_key() -> None:
    async with ScriptedEndpoint(status_reply(500), chat_reply("Hi")) as endpoint:
        async with client_of(endpoint, fallbacks=["m-2"], retry=ONCE) as client:
            await outcome(client.stream(messages=HELLO))
        first, second = endpoint.requests
        assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
        assert first.headers["x-client-request-id"] == second.headers["x-client-request-id"]


class _Meddling(Observer):
    def on_start(self, call: Call) -> None:
        call.params.clear()  # type: ignore[attr-defined]

    def request_headers(self, call: Call) -> Any:
        return {"x": None, 7: "y", "Authorization": "Bearer mine", "X-Trace": "t"}


class _Awaitable(Observer):
    async def on_end(self, call: Call, outcome: Outcome) -> None:  # type: ignore[override]
        """Would never be awaited."""


async def test_an_observer_that_meddles_changes_nothing() -> None:
    async with ScriptedEndpoint() as endpoint, client_of(endpoint, observers=[_Meddling()], api_key="k-1") as client:
        assert (await outcome(client.stream(messages=HELLO))).status == "completed"
        request = endpoint.requests[0]
    assert request.json()["messages"] == HELLO
    assert request.headers["authorization"] == "Bearer k-1"
    assert request.headers["x-trace"] == "t"


def test_a_hook_that_would_have_to_be_awaited_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="coroutine"):
        OpenAIClient("m", base_url="http://localhost/v1", observers=[_Awaitable()])
