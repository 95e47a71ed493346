"""What a scripted endpoint answers without a script: it says what it is, and echoes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from hub.testing.chat import chat_reply, completion_reply, usage_counts, words
from hub.testing.embeddings import embeddings_answer
from hub.testing.replies import Reply, json_reply, status_reply
from hub.testing.request import RecordedRequest
from hub.testing.responses import responses_reply, responses_usage, whole_response_reply

__all__ = ("EchoHandler",)

INTRODUCTION = "This is the scripted endpoint, not a language model."

MARKDOWN = """

## A sample of Markdown

Plain text with **bold**, *italic*, `code`, a [link](https://example.com/) and an entity: a < b && c > d.

1. First
2. Second
   - nested

| word | letters |
| --- | ---: |
| stream | 6 |
| hub | 3 |

```python
def greet(name: str) -> str:
    return f"Hello, {name}!"
```

> A quotation, naïve café, 漢字, 👋🏽.
"""


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ChatRequest(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


class _ResponsesRequest(msgspec.Struct):
    model: str
    input: str | list[dict[str, Any]]
    stream: bool | None = None


class EchoHandler:
    """Serves `GET /v1/models` and `POST` to `/v1/chat/completions`, `/v1/responses` and `/v1/embeddings`.

    The answer says first that no language model is behind it, then repeats the last user message word by word; a
    message with the word "markdown" in it gets a sample of Markdown as well. Embeddings are the `fake_vector` of
    each text. Anything else gets an error such as OpenAI sends.

    Args:
        word_delay: Seconds before each word.
        model: The name it answers under, whatever model was asked for.
    """

    def __init__(self, word_delay: float = 0.03, *, model: str = "scripted") -> None:
        self._word_delay = word_delay
        self._model = model
        self._numbers = itertools.count(1)

    def __call__(self, request: RecordedRequest) -> Reply:
        """The reply to one request."""
        match request.method, request.path.partition("?")[0]:
            case "GET", "/v1/models":
                model = {"id": self._model, "object": "model", "created": 0, "owned_by": "llm-stream-hub"}
                return json_reply({"object": "list", "data": [model]})
            case "POST", "/v1/chat/completions":
                return self._chat(request.body)
            case "POST", "/v1/responses":
                return self._respond(request.body)
            case "POST", "/v1/embeddings":
                return embeddings_answer(request, model=self._model)
            case _, "/v1/models" | "/v1/chat/completions" | "/v1/responses" | "/v1/embeddings":
                return status_reply(405, f"Not allowed here: {request.method}.")
            case _, path:
                return status_reply(404, f"Invalid URL ({request.method} {path})")

    def _chat(self, body: bytes) -> Reply:
        try:
            chat = msgspec.json.decode(body, type=_ChatRequest)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            return status_reply(400, f"The body is no chat request: {exc}.")
        if not chat.messages:
            return status_reply(400, "'messages' is empty: at least one is needed.", param="messages")
        answer = _answer(_last_user_text(chat.messages))
        usage = usage_counts(sum(len(words(_text(message))) for message in chat.messages), len(words(answer)))
        created, response_id = int(time.time()), f"chatcmpl-scripted-{next(self._numbers)}"
        if not chat.stream:
            return completion_reply(answer, model=self._model, usage=usage, created=created, response_id=response_id)
        wanted = chat.stream_options is not None and chat.stream_options.include_usage
        return chat_reply(
            answer,
            model=self._model,
            usage=usage if wanted else False,
            delay=self._word_delay,
            response_id=response_id,
            created=created,
        )

    def _respond(self, body: bytes) -> Reply:
        try:
            asked = msgspec.json.decode(body, type=_ResponsesRequest)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            return status_reply(400, f"The body is no request for a response: {exc}.")
        messages = _of_input(asked.input)
        if not messages:
            return status_reply(400, "'input' is empty: at least one message is needed.", param="input")
        answer = _answer(_last_user_text(messages))
        usage = responses_usage(sum(len(words(_text(message))) for message in messages), len(words(answer)))
        created, response_id = int(time.time()), f"resp-scripted-{next(self._numbers)}"
        named: dict[str, Any] = {"model": self._model, "created": created, "response_id": response_id}
        if not asked.stream:
            return whole_response_reply(answer, usage=usage, **named)
        return responses_reply(answer, usage=usage, delay=self._word_delay, **named)


def _answer(said: str) -> str:
    echo = f" You said: {said}" if said else " There was no user message."
    return INTRODUCTION + echo + (MARKDOWN if "markdown" in said.lower() else "")


def _last_user_text(messages: Sequence[_Message]) -> str:
    return next((_text(message) for message in reversed(messages) if message.role == "user"), "")


def _of_input(given: str | list[dict[str, Any]]) -> list[_Message]:
    """The messages of a Responses `input`; calls of tools and their outputs are none."""
    if isinstance(given, str):
        return [_Message(role="user", content=given)] if given else []
    return [
        _Message(role=str(item["role"]), content=item.get("content"))
        for item in given
        if "role" in item and isinstance(item.get("content"), str | list)
    ]


def _text(message: _Message) -> str:
    match message.content:
        case str(text):
            return text
        case None:
            return ""
        case parts:
            return " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))
