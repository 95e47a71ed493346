"""An answer outlives whatever happens to the page: each of its words is shown once, and none is lost."""

from __future__ import annotations

from typing import Any

import pytest

from hub.testing import Gate, Hang, chat_reply

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORDS = [f"word{number} " for number in range(119)] + ["end."]
TEXT = "".join(WORDS)

NO_STORAGE = """
for (const area of ['localStorage', 'sessionStorage'])
  Object.defineProperty(window, area, { get() { throw new DOMException('blocked', 'SecurityError'); } });
"""

FULL_STORAGE = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"

HIDDEN_TAB = """
window.frames_ = [];
window.requestAnimationFrame = (draw) => window.frames_.push(draw);
"""


def _gated(*positions: int) -> tuple[list[Gate], list[str | Gate]]:
    """The words, with a gate before each of these positions."""
    gates = [Gate() for _ in positions]
    pieces: list[str | Gate] = []
    for number, word in enumerate(WORDS):
        if number in positions:
            pieces.append(gates[positions.index(number)])
        pieces.append(word)
    return gates, pieces


async def test_a_reload_goes_on_where_the_answer_was(tab: Any, endpoint: Any) -> None:
    gates, pieces = _gated(20, 50, 90)
    endpoint.enqueue(chat_reply(pieces, usage=True))
    await tab.ask("Count.")
    for gate, last in zip(gates, (19, 49, 89), strict=True):
        await tab.until_answer_has(f"word{last}")
        await tab.page.reload()
        await tab.until_answer_has(f"word{last}")
        gate.open()
    await tab.until_ended()
    assert await tab.status() == "completed"
    assert await tab.answer() == TEXT


async def test_a_reload_keeps_the_figures_that_were_measured(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(WORDS, usage=True))
    await tab.ask("Count.")
    await tab.until_ended()
    usage = await tab.by_id("usage").text_content()
    await tab.page.reload()
    await tab.until_ended()
    assert await tab.by_id("usage").text_content() == usage
    assert "first token" in usage


async def test_a_cut_connection_goes_on_where_it_was(profile: Any, wire: Any, endpoint: Any) -> None:
    gates, pieces = _gated(20, 50, 90)
    endpoint.enqueue(chat_reply(pieces, usage=True))
    tab = await profile(wire.url)
    await tab.ask("Count.")
    for gate, last in zip(gates, (19, 49, 89), strict=True):
        await tab.until_answer_has(f"word{last}")
        wire.cut()
        await tab.until_status("reconnecting")
        assert await tab.by_id("connection").get_attribute("data-state") == "reconnecting"
        gate.open()
        wire.mend()
        await tab.until("() => document.querySelector('[data-testid=answer]').dataset.status !== 'reconnecting'")
    await tab.until_ended()
    assert await tab.status() == "completed"
    assert await tab.answer() == TEXT


async def test_two_tabs_show_the_same(profile: Any, hub: Any, endpoint: Any) -> None:
    [gate], pieces = _gated(40)
    endpoint.enqueue(chat_reply(pieces))
    one = await profile(hub.url)
    await one.ask("Count.")
    await one.until_answer_has("word39")
    two = await profile(hub.url)
    await two.until_answer_has("word39")
    gate.open()
    for tab in (one, two):
        await tab.until_ended()
        assert await tab.answer() == TEXT


async def test_a_question_asked_in_one_tab_appears_in_the_other(profile: Any, hub: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply([*WORDS[:5], Hang()]))
    one, two = await profile(hub.url), await profile(hub.url)
    await one.ask("Count.")
    await two.until_answer_has("word4")
    await two.by_id("stop").click()
    for tab in (one, two):
        await tab.until_ended()
        assert await tab.status() == "cancelled"


async def test_a_stream_can_be_opened_alone_in_another_browser(
    tab: Any, other_profile: Any, hub: Any, endpoint: Any
) -> None:
    [gate], pieces = _gated(40)
    endpoint.enqueue(chat_reply(pieces))
    await tab.ask("Count.")
    await tab.until_answer_has("word39")
    stream_id = await tab.page.evaluate("JSON.parse(localStorage.getItem('hub.turns'))[0].streamId")
    other = await other_profile(f"{hub.url}/#{stream_id}")
    await other.until_answer_has("word39")
    gate.open()
    await other.until_ended()
    assert await other.answer() == TEXT
    assert not await other.by_id("composer").is_visible()


async def test_an_answer_the_hub_has_lost_is_kept_and_called_interrupted(
    profile: Any, start_hub: Any, endpoint: Any
) -> None:
    endpoint.enqueue(chat_reply([*WORDS[:10], Hang()]))
    hub = await start_hub()
    tab = await profile(hub.url)
    await tab.ask("Count.")
    await tab.until_answer_has("word9")
    await hub.kill()
    await tab.until_status("reconnecting")
    await hub.start()
    await tab.until_status("interrupted")
    for _ in range(2):
        assert await tab.answer() == "".join(WORDS[:10]).rstrip()
        assert "the server no longer has it" in await tab.by_id("error").first.text_content()
        await tab.page.reload()
        await tab.until_status("interrupted")


async def test_a_hidden_tab_loses_nothing(profile: Any, hub: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(WORDS))
    tab = await profile(hub.url, script=HIDDEN_TAB)
    await tab.ask("Count.")
    await tab.until(
        "() => Object.entries(localStorage).some(([key, value]) =>"
        " key.startsWith('hub.answer.') && JSON.parse(value).folded.status === 'completed')"
    )
    assert await tab.answer() == ""
    await tab.page.evaluate("for (let draw; (draw = window.frames_.shift()); ) draw(performance.now())")
    assert await tab.answer() == TEXT


async def test_a_browser_without_storage_streams_all_the_same(profile: Any, hub: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(WORDS))
    tab = await profile(hub.url, script=NO_STORAGE)
    await tab.ask("Count.")
    await tab.until_ended()
    assert await tab.answer() == TEXT


async def test_a_browser_whose_storage_is_full_says_so_and_streams_on(profile: Any, hub: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(WORDS))
    tab = await profile(hub.url, script=FULL_STORAGE)
    await tab.ask("Count.")
    await tab.until_ended()
    assert await tab.answer() == TEXT
    assert await tab.page.get_by_text("This browser can’t keep the chat").is_visible()
