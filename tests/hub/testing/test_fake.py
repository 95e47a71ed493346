"""The fake language model: its answers, its streams, what it records."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from pydantic import BaseModel

from hub.completion import fold
from hub.errors import ClosedError, EndpointStatusError, InvalidRequestError, OutputValidationError
from hub.events import ReasoningDelta
from hub.hub import Hub
from hub.result import ChoiceResult, Failure, LLMResult, TokenUsage, ToolCall
from hub.testing import (
    Answer,
    FakeLLM,
    Gate,
    Hang,
    Pause,
    UnexpectedCallError,
    check_grammar,
    collect,
    fake_answer,
    fake_vector,
)
from hub.upstream.clocks import Timeouts

HELLO: Any = [{"role": "user", "content": "Hello"}]
CALL = ToolCall(id="call_1", name="weather", arguments='{"city": "Oslo"}')
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
BUSY = EndpointStatusError("Too many requests.", code="rate_limited", status=429, retryable=True)
BUSY_FAILURE = Failure(code="rate_limited", message="Too many requests.", status=429, retryable=True)
TIMEOUT = 10.0


@pytest.mark.parametrize(
    "answer",
    [
        "Hello world",
        "",
        ["Hello", " world"],
        [],
        CALL,
        [CALL, CALL],
        ["Let me see.", CALL],
        BUSY,
        BUSY_FAILURE,
        ["Hello", BUSY],
        ["Hello", Pause(0), ReasoningDelta(stream_id="other", seq=99, text="Hm")],
        fake_answer("Hello", reasoning="Hm, hm", refusal="No", tool_calls=[CALL], model="m", finish_reason="length"),
        fake_answer("Hello", error=BUSY_FAILURE),
        LLMResult(stream_id="", last_seq=0, status="cancelled", text="Hel"),
    ],
)
async def test_every_answer_keeps_to_the_grammar(answer: Answer) -> None:
    check_grammar(await collect(FakeLLM(answer).stream(messages=HELLO)))


async def test_a_text_comes_word_by_word_and_pieces_as_they_are() -> None:
    llm = FakeLLM("Hello big world", ["Hello b", "ig world"])
    words, pieces = [await collect(llm.stream(messages=HELLO)) for _ in range(2)]
    assert [event.text for event in words if event.type == "text_delta"] == ["Hello", " big", " world"]
    assert [event.text for event in pieces if event.type == "text_delta"] == ["Hello b", "ig world"]


async def test_invoke_gives_what_the_stream_folds_to() -> None:
    answer = fake_answer("Hi there", reasoning="Hm", tool_calls=[CALL])
    llm = FakeLLM(answer, answer)
    invoked = await llm.invoke(messages=HELLO, stream_id="str_1")
    assert invoked == fold(await collect(llm.stream(messages=HELLO, stream_id="str_1")))
    assert (invoked.text, invoked.reasoning, invoked.tool_calls) == ("Hi there", "Hm", (CALL,))
    assert (invoked.finish_reason, invoked.status, invoked.model) == ("tool_calls", "completed", "fake")


async def test_tool_calls_of_a_list_are_numbered_and_their_arguments_come_in_parts() -> None:
    events = await collect(FakeLLM([CALL, ToolCall(id="call_2", name="time", arguments="{}")]).stream(messages=HELLO))
    deltas = [event for event in events if event.type == "tool_call_delta"]
    assert [(delta.index, delta.id) for delta in deltas] == [
        (0, "call_1"), (0, None), (0, None), (1, "call_2"), (1, None), (1, None),
    ]  # fmt: skip
    assert fold(events).tool_calls == (CALL, ToolCall(id="call_2", name="time", arguments="{}", index=1))


async def test_a_failure_is_an_event_and_in_the_result() -> None:
    llm = FakeLLM(BUSY, ["Hel", BUSY_FAILURE, "lo"])
    at_once, later = [await llm.invoke(messages=HELLO) for _ in range(2)]
    assert (at_once.status, at_once.error, at_once.usage) == ("failed", BUSY_FAILURE, TokenUsage())
    assert (later.status, later.error, later.text) == ("failed", BUSY_FAILURE, "Hel")
    with pytest.raises(EndpointStatusError):
        at_once.raise_for_status()


async def test_any_other_exception_is_raised_at_the_call() -> None:
    with pytest.raises(ZeroDivisionError):
        FakeLLM(ZeroDivisionError()).stream(messages=HELLO)


async def test_a_result_is_told_as_it_is() -> None:
    usage = TokenUsage(input_tokens=3, output_tokens=2, total_tokens=5, cost_usd=0.5)
    choices = (
        ChoiceResult(choice=0, text="Hi", finish_reason="stop"),
        ChoiceResult(choice=1, text="Ho", finish_reason="length"),
    )
    given = LLMResult(
        stream_id="", last_seq=0, status="completed", model="m", usage=usage, choices=choices, response_id="r",
        created=7, cached=True, text="Hi", finish_reason="stop", finish_reasons=("stop", "length"),
    )  # fmt: skip
    told = await FakeLLM(given).invoke(messages=HELLO, identifier="mine")
    for name in ("model", "usage", "choices", "response_id", "created", "cached", "text", "finish_reasons"):
        assert getattr(told, name) == getattr(given, name), name
    assert told.identifier == "mine"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (LLMResult(stream_id="", last_seq=0, status="running"), ValueError),
        (LLMResult(stream_id="", last_seq=0, status="failed"), ValueError),
        (7, TypeError),
        ([b"bytes"], TypeError),
    ],
)
async def test_what_no_call_can_give_is_refused(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"fake"):
        FakeLLM(answer).stream(messages=HELLO)


async def test_a_function_answers_by_messages_and_parameters() -> None:
    def answer(messages: Any, params: Any) -> Answer:
        return f"{messages[-1]['content']} at {params['temperature']}"

    llm = FakeLLM(answer, handler=lambda messages, params: ["handled"])
    assert (await llm.invoke(messages=HELLO, temperature=0)).text == "Hello at 0"
    assert [(await llm.invoke(messages=HELLO)).text for _ in range(2)] == ["handled", "handled"]


async def test_a_call_beyond_the_answers_is_an_error_that_nothing_catches_by_mistake() -> None:
    llm = FakeLLM("one")
    await llm.invoke(messages=HELLO)
    with pytest.raises(UnexpectedCallError, match=r"no answer for call 2.*'Hello'"):
        await llm.invoke(messages=HELLO)
    llm.enqueue("three")
    assert (await llm.invoke(messages=HELLO)).text == "three"
    assert not issubclass(UnexpectedCallError, Exception)


async def test_calls_are_recorded_as_they_were_when_made() -> None:
    llm = FakeLLM("Hi")
    messages = [*HELLO]
    await llm.invoke(messages=messages, model="m", tools=TOOLS, identifier="mine")
    messages.append({"role": "assistant", "content": "Hi"})
    await llm.embedding(["a", "b"], dimensions=4)
    chat, embedding = llm.calls
    assert (chat.operation, chat.messages) == ("chat", HELLO)
    assert chat.params == {"model": "m", "tools": TOOLS, "identifier": "mine"}
    assert (embedding.operation, embedding.params) == ("embeddings", {"input": ["a", "b"], "dimensions": 4})


async def test_messages_changed_later_stay_as_they_were() -> None:
    llm = FakeLLM("Hi")
    message = {"role": "user", "content": "Hello"}
    await llm.invoke(messages=iter([message]))
    message["content"] = "Bye"
    assert llm.calls[0].messages == HELLO


async def test_an_input_is_recorded_as_messages_too() -> None:
    llm = FakeLLM(*["Hi"] * 3)
    await llm.invoke(input="Hello", instructions="Be kind.")
    await llm.invoke(input="Hello", api="responses", previous_response_id="r")
    await llm.invoke(messages=HELLO, api="responses")
    assert llm.calls[0].messages == [{"role": "system", "content": "Be kind."}, *HELLO]
    assert (llm.calls[1].messages, llm.calls[1].params["input"]) == ([], "Hello")
    assert llm.calls[2].messages == HELLO


@pytest.mark.parametrize("arguments", [{}, {"max_tokens": -1}, {"temperature": "hot"}, {"stream": True}, {"api": "x"}])
async def test_other_arguments_are_checked_as_well(arguments: dict[str, Any]) -> None:
    llm = FakeLLM("Hi")
    with pytest.raises(InvalidRequestError):
        await llm.invoke(**{"messages": HELLO, **arguments} if arguments else {})
    assert llm.calls == []


@pytest.mark.parametrize("messages", [[], "Hello", {"role": "user"}, None, ["Hello"], [{"content": "Hello"}]])
def test_messages_are_checked_as_the_client_checks_them(messages: Any) -> None:
    with pytest.raises(InvalidRequestError, match="messages"):
        FakeLLM("Hi").stream(messages=messages)


async def test_a_closed_fake_takes_no_call() -> None:
    async with FakeLLM("Hi") as llm:
        pass
    with pytest.raises(ClosedError):
        llm.stream(messages=HELLO)
    with pytest.raises(ClosedError):
        await llm.embedding("a")


# Streams


async def test_a_gate_holds_the_stream_and_stop_ends_it_in_order() -> None:
    gate = Gate()
    stream = FakeLLM(["Hello", gate, " world"]).stream(messages=HELLO)
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(collect(stream))
        await gate.reached()
        stream.stop()
    check_grammar(reading.result())
    result = fold(reading.result())
    assert (result.text, result.status, result.finish_reason) == ("Hello", "cancelled", None)


async def test_a_stream_stopped_before_it_is_read_says_nothing() -> None:
    stream = FakeLLM("Hello").stream(messages=HELLO)
    stream.stop()
    events = await collect(stream)
    check_grammar(events)
    assert [event.type for event in events] == ["meta", "usage", "done"]


async def test_a_stream_left_early_is_seen_to_be_left() -> None:
    llm = FakeLLM("Hello world", "Hello world", "Hello world")
    async with llm.stream(messages=HELLO) as stream:
        assert (await anext(aiter(stream))).type == "meta"
    async for _ in llm.stream(messages=HELLO):
        break
    gc.collect()
    await asyncio.sleep(0)
    await collect(llm.stream(messages=HELLO))
    assert [call.left for call in llm.calls] == [True, True, False]


@pytest.mark.parametrize("clock", ["first_token_timeout", "stall_timeout", "total_timeout"])
async def test_a_wait_runs_into_the_clocks_of_the_call(clock: str) -> None:
    said: list[Any] = ["Hello"] if clock == "stall_timeout" else []
    timeouts = Timeouts(**{clock: 0.01})
    result = await FakeLLM([*said, Hang()]).invoke(messages=HELLO, timeouts=timeouts)
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == (clock, True)


async def test_a_hub_can_be_driven_by_it() -> None:
    gate = Gate()
    async with asyncio.timeout(TIMEOUT), Hub(FakeLLM(["Hello", gate, " world"])) as hub:
        info = await hub.start(messages=HELLO)
        await gate.reached()
        gate.open()
        events = [event async for event in hub.subscribe(info.stream_id, after=-1)]
    check_grammar(events)
    assert fold(events).text == "Hello world"


async def test_a_cancelled_reader_can_tell_others_the_end() -> None:
    stream = FakeLLM("Hello world").stream(messages=HELLO)
    told = [await anext(aiter(stream)) for _ in range(2)]
    told += stream.ending("cancelled")
    check_grammar(told)
    assert stream.ending("cancelled") == []


# Objects


class Person(BaseModel):
    name: str
    age: int


async def test_an_answer_can_be_an_object() -> None:
    llm = FakeLLM('{"name": "Ada", "age": 36}', ['{"name": "Ada"', ', "age": 36}'])
    assert await llm.invoke(messages=HELLO, response_model=Person) == Person(name="Ada", age=36)
    stream = llm.stream(messages=HELLO, response_model=Person)
    grown = [partial async for partial in stream.partials()]
    assert (grown[0].name, grown[-1].age) == ("Ada", 36)
    assert await stream.parsed() == Person(name="Ada", age=36)
    assert llm.calls[0].params == {"response_model": Person}


async def test_an_answer_that_is_no_object_raises_or_is_asked_for_again() -> None:
    llm = FakeLLM("none", "none", '{"name": "Ada", "age": 36}')
    with pytest.raises(OutputValidationError):
        await llm.invoke(messages=HELLO, response_model=Person)
    assert (await llm.invoke(messages=HELLO, response_model=Person, max_reasks=1)).name == "Ada"
    assert [len(call.messages) for call in llm.calls] == [1, 1, 3]
    with pytest.raises(InvalidRequestError):
        await llm.invoke(messages=HELLO, max_reasks=1)


async def test_a_failure_in_the_place_of_an_object_raises() -> None:
    with pytest.raises(EndpointStatusError):
        await FakeLLM(BUSY).invoke(messages=HELLO, response_model=Person)


# Embeddings


async def test_equal_texts_have_equal_vectors_of_length_1() -> None:
    one, other, again = await FakeLLM().embedding(["a", "b", "a"])
    assert one == again == fake_vector("a")
    assert one != other


async def test_embeddings_take_dimensions_a_model_and_one_text() -> None:
    embeddings = await FakeLLM(dimensions=3).embedding("a", model="m")
    assert (len(embeddings.vector), embeddings.model) == (3, "m")
    assert len((await FakeLLM().embedding([1, 2, 3], dimensions=5)).vector) == 5


@pytest.mark.parametrize("value", ["", [], None, b"a", {"a": 1}, ["a", ""], [None]])
async def test_what_is_no_text_has_no_vector(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match="input"):
        await FakeLLM().embedding(value)
