"""An answer on the page: how it arrives, what it shows, how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from hub.result import ToolCall
from hub.testing import Gate, Hang, Reset, chat_reply, status_reply

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORDS = [f"word{number} " for number in range(59)] + ["end."]
TEXT = "".join(WORDS)

MARKDOWN = """# Title

A **bold** word, `code` and [a link](https://example.com/).

| a | b |
| - | - |
| 1 | 2 |

```python
print("hello")
```
"""

HOSTILE = (
    "Hello <img src=x onerror=alert(1)> <script>alert(2)</script> [here](javascript:alert(3)) "
    "![there](data:text/html,4) [local](/v1/info) end."
)


async def test_tokens_are_shown_as_they_arrive(tab: Any, endpoint: Any) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply([*WORDS[:10], gate, *WORDS[10:]], usage=True))
    await tab.ask("Count.")
    await tab.until_answer_has("word9")
    assert await tab.status() == "running"
    assert await tab.answer() == "".join(WORDS[:10]).rstrip()
    assert await tab.by_id("stop").is_visible()
    gate.open()
    await tab.until_ended()
    assert await tab.status() == "completed"
    assert await tab.answer() == TEXT
    assert await tab.by_id("send").is_visible()


async def test_usage_cost_and_speed_are_told(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(WORDS, usage=True))
    await tab.ask("Count.")
    await tab.until_ended()
    usage = await tab.by_id("usage").text_content()
    assert "7 in · 60 out · cost unknown" in usage
    assert "first token" in usage
    assert "estimated" not in usage


async def test_usage_that_was_counted_here_is_called_estimated(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(WORDS))
    await tab.ask("Count.")
    await tab.until_ended()
    assert "estimated" in await tab.by_id("usage").text_content()


async def test_the_conversation_goes_back_to_the_model(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply("Paris."), chat_reply("Lyon."))
    await tab.ask("The capital?")
    await tab.until_ended()
    await tab.ask("And the second city?")
    await tab.until_ended(answers=2)
    assert [(message["role"], message["content"]) for message in endpoint.requests[-1].json()["messages"]] == [
        ("user", "The capital?"),
        ("assistant", "Paris."),
        ("user", "And the second city?"),
    ]


async def test_markdown_becomes_elements(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(MARKDOWN))
    await tab.ask("Show me.")
    await tab.until_ended()
    answer = tab.by_id("answer")
    assert await answer.locator("h3").text_content() == "Title"
    assert await answer.locator("strong").text_content() == "bold"
    assert await answer.locator("td").all_text_contents() == ["1", "2"]
    assert await answer.locator("pre").text_content() == 'print("hello")'
    link = answer.locator("a")
    assert await link.get_attribute("href") == "https://example.com/"
    assert "noopener" in await link.get_attribute("rel")


async def test_nothing_a_model_writes_runs_or_loads(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(HOSTILE))
    await tab.ask("Attack me.")
    await tab.until_ended()
    answer = tab.by_id("answer")
    assert await answer.text_content() == HOSTILE
    assert await answer.locator("img, script, a, iframe").count() == 0


async def test_reasoning_is_folded_away_and_can_be_opened(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply("Four.", reasoning="Two and two."))
    await tab.ask("Sum?")
    await tab.until_ended()
    block = tab.by_id("answer").locator("details")
    assert not await block.get_by_text("Two and two.").is_visible()
    await block.locator("summary").click()
    assert await block.get_by_text("Two and two.").is_visible()


async def test_tool_calls_are_cards_with_readable_arguments(tab: Any, endpoint: Any) -> None:
    call = ToolCall(id="call_1", name="get_weather", arguments='{"city":"Lisbon","days":3}')
    endpoint.enqueue(chat_reply("", tool_calls=[call]))
    await tab.ask("Weather?")
    await tab.until_ended()
    answer = tab.by_id("answer")
    assert "get_weather" in await answer.text_content()
    assert await answer.locator("pre").first.text_content() == '{\n  "city": "Lisbon",\n  "days": 3\n}'


async def test_stop_stops_the_endpoint_too(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply([*WORDS[:10], Hang()]))
    await tab.ask("Count.")
    await tab.until_answer_has("word9")
    await tab.by_id("stop").click()
    await tab.until_ended()
    assert await tab.status() == "cancelled"
    assert await tab.answer() == "".join(WORDS[:10]).rstrip()
    assert await tab.by_id("answer-status").text_content() == "Stopped"
    await endpoint.requests[0].left.wait()


async def test_an_endpoint_that_fails_reads_as_a_sentence(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(status_reply(401, "Incorrect API key provided."))
    await tab.ask("Hello?")
    await tab.until_ended()
    assert await tab.status() == "failed"
    assert "The endpoint did not accept the hub’s key." in await tab.by_id("error").first.text_content()
    assert await tab.by_id("retry").count() == 0


async def test_a_failure_that_may_pass_can_be_tried_again(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(status_reply(503), chat_reply("Here I am."))
    await tab.ask("Hello?")
    await tab.until_ended()
    assert await tab.status() == "failed"
    await tab.by_id("retry").click()
    await tab.until_status("completed")
    assert await tab.answer() == "Here I am."
    assert [message["content"] for message in endpoint.requests[-1].json()["messages"]] == ["Hello?"]


async def test_what_came_before_a_failure_stays(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply([*WORDS[:10], Reset()]))
    await tab.ask("Count.")
    await tab.until_ended()
    assert await tab.status() == "failed"
    assert await tab.answer() == "".join(WORDS[:10]).rstrip()
    assert (await tab.by_id("error").first.text_content()).strip()
