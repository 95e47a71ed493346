"""What the endpoint says in these tests: numbered tokens at a steady pace, so that loss, doubling and order show."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass

import msgspec

from hub.testing import RecordedRequest, Reply, chat_reply, json_reply

__all__ = ("Answering", "Asked", "Question", "tokens_of")

MODEL = "numbers"

_TOKEN = re.compile(r"(\d+)\.(\d+) ")


class Question(msgspec.Struct, frozen=True):
    """What is asked for, as JSON in the user's message.

    Attributes:
        label: Tells the question from others.
        tokens: How many the answer has.
        rate: Tokens a second.
    """

    label: str
    tokens: int
    rate: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came: when, in the loop's time; the port that it was sent to; the number of its answer."""

    label: str
    at: float
    port: int
    number: int


class Answering:
    """A handler for a `ScriptedEndpoint`. Each answer's tokens are `<number of the answer>.<number of the token> `.

    Attributes:
        asked: Every question so far.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._numbers = itertools.count(1)

    def __call__(self, request: RecordedRequest) -> Reply:
        """The reply to one request."""
        if request.method == "GET":
            return json_reply({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0}]})
        question = msgspec.json.decode(request.json()["messages"][-1]["content"], type=Question)
        number = next(self._numbers)
        port = int(request.headers.get("host", ":0").rpartition(":")[2])
        self.asked.append(Asked(question.label, asyncio.get_running_loop().time(), port, number))
        tokens = [f"{number}.{index} " for index in range(question.tokens)]
        return chat_reply(tokens, model=MODEL, usage=True, delay=1 / question.rate)

    def asked_for(self, label: str) -> list[Asked]:
        """The requests of one question, in order."""
        return [each for each in self.asked if each.label == label]


def tokens_of(text: str) -> tuple[int | None, int]:
    """The number of the answer that a text is of, and how many of its first tokens it has.

    Raises:
        AssertionError: Tokens are missing, doubled or out of order, or another answer's.
    """
    found = _TOKEN.findall(text)
    assert "".join(f"{answer}.{token} " for answer, token in found) == text, f"no whole tokens: {text[-80:]!r}"
    answers = {int(answer) for answer, _ in found}
    assert len(answers) <= 1, f"answers {sorted(answers)} in one attempt: two writers"
    numbers = [int(token) for _, token in found]
    for due, number in enumerate(numbers):
        assert number == due, f"token {number} stands where {due} is due"
    return (answers.pop() if answers else None), len(numbers)
