"""Requests in both APIs' forms: what each part becomes, what is refused, and that nothing gets lost on the way."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses import ResponseFunctionToolCall
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from hub.errors import InvalidRequestError
from hub.upstream.forms.translate import to_chat, to_responses

HELLO = [{"role": "user", "content": "Hello"}]
ITEMS = [{"type": "message", "role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def responses(**params: Any) -> dict[str, Any]:
    """What parameters beside `messages` become in the Responses API's form, without the input."""
    made = to_responses({"messages": HELLO, **params})
    assert made.pop("input") == ITEMS
    return made


def chat(**params: Any) -> dict[str, Any]:
    """What parameters beside `input` become in Chat Completions' form, without the messages."""
    made = to_chat({"input": "Hello", **params})
    assert made.pop("messages") == HELLO
    return made


# Parameters


PARAMETERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_completion_tokens": 9}, {"max_output_tokens": 9}),
    ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
    ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
    ),
    (
        {"logprobs": True, "top_logprobs": 3},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 3},
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "description": "d"}}]},
        {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "description": "d", "strict": False}]},
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}]},
        {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}]},
    ),
    (
        {"tools": [{"type": "custom", "custom": {"name": "c", "description": "d"}}]},
        {"tools": [{"type": "custom", "name": "c", "description": "d"}]},
    ),
    (
        {
            "tools": [
                {
                    "type": "custom",
                    "custom": {
                        "name": "c",
                        "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}},
                    },
                }
            ]
        },
        {
            "tools": [
                {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "regex", "definition": "a+"}}
            ]
        },
    ),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "function", "name": "f"}},
    ),
    ({"tool_choice": {"type": "custom", "custom": {"name": "c"}}}, {"tool_choice": {"type": "custom", "name": "c"}}),
    (
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            }
        },
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
    ),
    ({"stream_options": {"include_obfuscation": False}}, {"stream_options": {"include_obfuscation": False}}),
    *(
        (each, each)
        for each in (
            {"model": "m"},
            {"temperature": 0},
            {"top_p": 0.5},
            {"metadata": {"a": "b"}},
            {"user": "u"},
            {"store": False},
            {"service_tier": "flex"},
            {"parallel_tool_calls": False},
            {"prompt_cache_key": "k"},
            {"safety_identifier": "s"},
            {"extra_body": {"seed": 7}},
            {"of_some_other_endpoint": [1]},
        )
    ),
]


@pytest.mark.parametrize(("in_chat", "in_responses"), PARAMETERS)
def test_each_parameter_has_its_counterpart(in_chat: dict[str, Any], in_responses: dict[str, Any]) -> None:
    assert responses(**in_chat) == in_responses
    assert chat(**in_responses) == in_chat


@pytest.mark.parametrize(("in_chat", "in_responses"), PARAMETERS)
def test_what_is_in_the_right_form_already_stays_as_it_is(
    in_chat: dict[str, Any], in_responses: dict[str, Any]
) -> None:
    assert to_responses({"input": "Hello", **in_responses}) == {"input": "Hello", **in_responses}
    assert to_chat({"messages": HELLO, **in_chat}) == {"messages": HELLO, **in_chat}


def test_every_parameter_that_the_sdk_knows_is_either_translated_or_refused() -> None:
    """A parameter that a new release of the SDK adds has to be looked at here."""
    known = CompletionCreateParamsNonStreaming.__annotations__.keys()
    ours = ResponseCreateParamsNonStreaming.__annotations__.keys()
    same = known & ours
    changed = {"messages", "response_format", "max_tokens", "max_completion_tokens", "reasoning_effort", "verbosity"}
    for name in known - same - changed - {"logprobs"}:
        with pytest.raises(InvalidRequestError, match=rf"^{name} has no counterpart in the Responses API\. "):
            responses(**{name: "x"})
    back = {"input", "instructions", "text", "max_output_tokens", "reasoning", "include"}
    for name in ours - same - back:
        with pytest.raises(InvalidRequestError, match=rf"^{name} has no counterpart in Chat Completions\. "):
            chat(**{name: "x"})


@pytest.mark.parametrize(
    "params",
    [
        {"n": 1, "stop": None, "logit_bias": {}, "frequency_penalty": 0, "presence_penalty": 0.0, "seed": None},
        {"modalities": ["text"], "logprobs": False, "functions": [], "verbosity": None, "response_format": None},
        {"stream_options": {"include_usage": True}, "max_tokens": None, "reasoning_effort": None},
    ],
)
def test_what_says_nothing_is_left_out(params: dict[str, Any]) -> None:
    assert responses(**params) == {}


def test_what_says_nothing_to_chat_is_left_out() -> None:
    params = {"background": False, "truncation": "disabled", "previous_response_id": None, "include": []}
    assert chat(**params, reasoning={"summary": None}, text={}) == {}


@pytest.mark.parametrize(
    ("params", "limit"),
    [
        ({"max_tokens": 1}, 1),
        ({"max_tokens": 1, "max_completion_tokens": 2}, 2),
        ({"max_tokens": 1, "max_completion_tokens": 2, "max_output_tokens": 3}, 3),
    ],
)
def test_the_newest_name_of_the_limit_counts(params: dict[str, Any], limit: int) -> None:
    assert responses(**params) == {"max_output_tokens": limit}


def test_chat_gets_one_limit_alone() -> None:
    assert chat(max_output_tokens=3, max_tokens=1) == {"max_completion_tokens": 3}
    assert chat(max_output_tokens=3, max_completion_tokens=2) == {"max_completion_tokens": 2}


def test_members_of_both_forms_join() -> None:
    made = responses(
        verbosity="low", text={"format": {"type": "text"}}, reasoning_effort="low", reasoning={"summary": "auto"}
    )
    assert made == {
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "reasoning": {"summary": "auto", "effort": "low"},
    }


def test_what_is_included_already_stays_included() -> None:
    made = responses(logprobs=True, include=["reasoning.encrypted_content"])
    assert made == {"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}


def test_tools_that_the_endpoint_runs_stay_in_the_responses_api() -> None:
    tools = [{"type": "web_search"}, {"type": "mcp", "server_label": "l"}]
    assert responses(tools=tools, tool_choice={"type": "web_search_preview"})["tools"] == tools


def test_a_function_without_parameters_has_none_in_either_api() -> None:
    (tool,) = responses(tools=[{"type": "function", "function": {"name": "f"}}])["tools"]
    assert tool == {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n": 2}, "n has no counterpart in the Responses API. Ask several times."),
        ({"seed": 7}, "seed has no counterpart .* pass it in extra_body"),
        ({"stop": ["\n"]}, "stop has no counterpart"),
        ({"functions": [{"name": "f"}]}, "functions has no counterpart .* Use tools."),
        ({"response_format": "json"}, "response_format must be a mapping"),
        ({"tools": {"type": "function"}}, "tools must be a list, not dict"),
        ({"tools": [{"name": "f"}]}, r"tools\[0\] must be a mapping with a 'type'"),
        ({"stream_options": True}, "stream_options must be a mapping, not bool"),
        ({"text": "short", "verbosity": "low"}, "text must be a mapping, not str"),
        ({"verbosity": "low", "text": {"verbosity": "high"}}, "text.verbosity is given twice"),
    ],
)
def test_what_the_responses_api_lacks_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        responses(**params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id has no counterpart .* Give all messages."),
        ({"background": True}, "background has no counterpart"),
        ({"tools": [{"type": "web_search"}]}, r"tools\[0\] of type 'web_search' has no counterpart"),
        ({"tools": [{"type": "function", "name": "f", "defer_loading": True}]}, r"tools\[0\].defer_loading has no"),
        ({"tools": [7]}, r"tools\[0\] must be a mapping"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice of type 'file_search' has no counterpart"),
        ({"tool_choice": 7}, "tool_choice must be"),
        ({"include": ["file_search_call.results"]}, "include='file_search_call.results' has no counterpart"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary has no counterpart"),
        ({"text": {"format": "json"}}, "text.format must be a mapping"),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, "reasoning.effort is given twice"),
    ],
)
def test_what_chat_completions_lacks_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        chat(**params)


@pytest.mark.parametrize("translate", [to_chat, to_responses])
def test_messages_and_input_are_one_thing_and_needed(translate: Any) -> None:
    with pytest.raises(InvalidRequestError, match="messages and input are two forms of the same"):
        translate({"messages": HELLO, "input": "Hello"})
    with pytest.raises(InvalidRequestError, match="messages is missing"):
        translate({"model": "m", "input": None})


@pytest.mark.parametrize("translate", [to_chat, to_responses])
def test_the_parameters_given_are_left_as_they_are(translate: Any) -> None:
    conversation = {"messages": HELLO} if translate is to_responses else {"input": ITEMS}
    params = {**conversation, "text": {"format": {"type": "text"}}, "reasoning": {"effort": "low"}, "tools": []}
    before = msgspec.json.encode(params)
    translate(params)
    assert msgspec.json.encode(params) == before


# Messages


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALL_ITEM = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
CUSTOM = {"id": "call_2", "type": "custom", "custom": {"name": "c", "input": "x"}}
CUSTOM_ITEM = {"type": "custom_tool_call", "call_id": "call_2", "name": "c", "input": "x"}


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def asked(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


CONVERSATIONS: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]] = [
    *(
        ([{"role": role, "content": "x"}], [{"type": "message", "role": role, "content": "x"}])
        for role in ("user", "system", "developer")
    ),
    ([{"role": "assistant", "content": "x"}], [said({"type": "output_text", "text": "x"})]),
    (
        [{"role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}],
        [said({"type": "output_text", "text": "x"}, {"type": "output_text", "text": "y"})],
    ),
    (
        [{"role": "assistant", "content": None, "refusal": "no"}],
        [said({"type": "refusal", "refusal": "no"})],
    ),
    (
        [
            {"role": "assistant", "content": "I look.", "tool_calls": [CALL, CUSTOM]},
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "2"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
        ],
        [
            said({"type": "output_text", "text": "I look."}),
            CALL_ITEM,
            CUSTOM_ITEM,
            {"type": "function_call_output", "call_id": "call_1", "output": "1"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "2"}]},
            CALL_ITEM,
        ],
    ),
    (
        [
            asked(
                {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "image_url", "image_url": {"url": "https://e.x/a.png"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "file", "file": {"file_data": "AA==", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            )
        ],
        [
            {"type": "message"}
            | asked(
                {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "input_image", "image_url": "https://e.x/a.png", "detail": "auto"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
                {"type": "input_file", "file_data": "AA==", "filename": "a.pdf"},
                {"type": "input_file", "file_id": "file-1"},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            )
        ],
    ),
]


@pytest.mark.parametrize(("messages", "items"), CONVERSATIONS)
def test_messages_and_items_stand_for_each_other(messages: list[Any], items: list[Any]) -> None:
    assert to_responses({"messages": messages}) == {"input": items}
    assert to_chat({"input": items}) == {"messages": messages}


def test_a_text_is_what_the_user_says() -> None:
    assert to_chat({"input": "Hello"}) == {"messages": HELLO}
    assert to_responses({"input": "Hello"}) == {"input": "Hello"}


def test_instructions_are_the_systems_first_message() -> None:
    brief = {"role": "system", "content": "Be brief."}
    assert to_chat({"input": "Hello", "instructions": "Be brief."}) == {"messages": [brief, *HELLO]}
    assert to_chat({"messages": HELLO, "instructions": "Be brief."}) == {"messages": [brief, *HELLO]}
    assert to_responses({"messages": HELLO, "instructions": "Be brief."})["instructions"] == "Be brief."


def test_items_of_an_earlier_answer_can_be_sent_back_to_chat() -> None:
    items = [
        {"role": "user", "content": "Hello"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        said({"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []})
        | {"id": "m", "status": "completed"},
        ResponseFunctionToolCall(type="function_call", id="fc_1", call_id="call_1", name="f", arguments="{}"),
        {"type": "function_call_output", "call_id": "call_1", "output": "1"},
    ]
    assert to_chat({"input": items})["messages"] == [
        *HELLO,
        {"role": "assistant", "content": "Hi", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]


def test_what_belongs_to_a_call_goes_back_with_it() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    call = {**CALL, "reasoning_items": [reasoning], "item_id": "fc_1", "namespace": "crm"}
    items = to_responses({"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]})["input"]
    assert items == [reasoning, {**CALL_ITEM, "id": "fc_1", "namespace": "crm"}]


def test_a_custom_call_that_was_told_as_a_function_goes_back_as_custom() -> None:
    call = {**CALL, "item_type": "custom_tool_call"}
    answer = {"role": "tool", "tool_call_id": "call_1", "content": "1"}
    items = to_responses({"messages": [{"role": "assistant", "tool_calls": [call]}, answer]})["input"]
    assert [item["type"] for item in items] == ["custom_tool_call", "custom_tool_call_output"]
    assert items[0]["input"] == "{}"


def test_an_assistant_that_said_nothing_still_has_its_turn() -> None:
    (item,) = to_responses({"messages": [{"role": "assistant", "content": ""}]})["input"]
    assert item == said({"type": "output_text", "text": ""})


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ("Hello", "messages must be a list, not str"),
        ([], "messages is empty"),
        (["Hello"], r"messages\[0\] must be a mapping, not str"),
        ([{"content": "x"}], r"messages\[0\] must be a mapping with a 'role'"),
        ([*HELLO, {"role": "function", "name": None, "content": "x"}], r"messages\[1\]: the role 'function' has no"),
        ([{"role": "user", "name": "Ann", "content": "x"}], r"messages\[0\].name has no counterpart"),
        ([{"role": "assistant", "audio": {"id": "a"}}], r"messages\[0\].audio has no counterpart"),
        ([{"role": "user", "content": None}], r"messages\[0\].content must be a text or a list of parts, not NoneType"),
        ([{"role": "user", "content": ["x"]}], r"messages\[0\].content\[0\] must be a mapping with a 'type'"),
        ([{"role": "user", "content": [{"type": "video"}]}], r"messages\[0\].content\[0\] of type 'video' has no"),
        ([{"role": "tool", "content": "x"}], r"messages\[0\] needs 'tool_call_id', a text"),
        ([{"role": "assistant", "tool_calls": ["x"]}], r"messages\[0\].tool_calls\[0\] must be a mapping, not str"),
        ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], r"messages\[0\].tool_calls must each have a 'function'"),
    ],
)
def test_messages_without_a_counterpart_are_refused(messages: Any, error: str) -> None:
    with pytest.raises(InvalidRequestError, match=error):
        to_responses({"messages": messages})


@pytest.mark.parametrize(
    ("items", "error"),
    [
        (7, "input must be a list, not int"),
        ([], "input is empty"),
        ([{"type": "item_reference", "id": "m"}], r"input\[0\] of type 'item_reference' has no counterpart"),
        ([{"type": "web_search_call", "id": "ws"}], r"input\[0\] of type 'web_search_call' has no counterpart"),
        ([{"type": "message", "content": "x"}], r"input\[0\] must be a mapping with a 'type'"),
        ([{"type": "function_call", "call_id": "a", "name": "f"}], r"input\[0\] needs 'arguments'"),
        ([asked({"type": "input_file", "file_url": "https://e.x/a"})], "of type 'input_file' has no counterpart"),
        ([asked({"type": "input_image", "file_id": "file-1"})], "of type 'input_image' has no counterpart"),
        (
            [{"type": "function_call_output", "call_id": "a", "output": [{"type": "input_image", "image_url": "u"}]}],
            "image_url has no place in a message of role 'tool'",
        ),
    ],
)
def test_items_without_a_counterpart_are_refused(items: Any, error: str) -> None:
    with pytest.raises(InvalidRequestError, match=error):
        to_chat({"input": items})


# There and back


def any_conversation(rand: random.Random) -> list[dict[str, Any]]:
    """A conversation such as agents have: no two turns of the assistant without another's between them."""
    messages: list[dict[str, Any]] = [dict(message) for message in CONVERSATIONS[rand.randrange(3)][0]]
    for number in range(rand.randrange(1, 6)):
        parts: list[Any] = CONVERSATIONS[-1][0][0]["content"]
        messages.append({"role": "user", "content": rand.choice(["x", "", rand.sample(parts, k=rand.randrange(1, 6))])})
        calls = [{**rand.choice([CALL, CUSTOM]), "id": f"call_{number}_{each}"} for each in range(rand.randrange(3))]
        turn: dict[str, Any] = {"role": "assistant", "content": rand.choice(["Yes.", None]) if calls else "Yes."}
        messages.append(turn | {"tool_calls": calls} if calls else turn)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": "1"} for call in calls]
    return messages


@pytest.mark.parametrize("seed", range(50))
def test_what_goes_to_the_other_form_and_back_is_the_same(seed: int) -> None:
    rand = random.Random(seed)
    params: dict[str, Any] = {"messages": any_conversation(rand)}
    for in_chat, _ in rand.sample(PARAMETERS, k=6):
        params |= in_chat
    there = to_responses(params)
    assert to_chat(there) == params
    assert to_responses(to_chat(there)) == there


def test_an_endless_conversation_is_linear() -> None:
    def operations(count: int) -> int:
        """How often a message's members are looked up."""
        lookups = 0

        class Counted(dict[str, Any]):
            def get(self, key: str, default: Any = None) -> Any:
                nonlocal lookups
                lookups += 1
                return super().get(key, default)

        turn = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
        turn.append({"role": "tool", "tool_call_id": "call_1", "content": "1"})
        items = to_responses({"messages": [Counted(message) for _ in range(count) for message in turn]})["input"]
        assert len(to_chat({"input": [Counted(item) for item in items]})["messages"]) == 3 * count
        return lookups

    assert operations(2_000) == 10 * operations(200)
