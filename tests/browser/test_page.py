"""The page round the answers: keys, keyboard, inspector, settings, themes, sizes."""

from __future__ import annotations

from typing import Any

import pytest

from hub.testing import Hang, chat_reply

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORDS = [f"word{number} " for number in range(29)] + ["end."]
TEXT = "".join(WORDS)

WIDE = f"| a | b | c | d | e | f |\n|-|-|-|-|-|-|\n| one | two | three | four | five | six |\n\n```\n{'x' * 400}\n```\n"


async def test_the_empty_page_says_who_answers_and_offers_questions(tab: Any, endpoint: Any) -> None:
    await tab.until("() => document.querySelector('[data-testid=notice]').textContent.includes('scripted')")
    examples = tab.page.get_by_role("list", name="Examples").get_by_role("button")
    assert await examples.count() == 3
    question = await examples.first.text_content()
    await examples.first.click()
    await tab.until_ended()
    assert question in await tab.answer()


async def test_an_empty_message_is_not_sent(tab: Any, endpoint: Any) -> None:
    await tab.ask("   ")
    assert await tab.by_id("send").is_disabled()
    assert await tab.by_id("answer").count() == 0
    assert endpoint.requests == []


async def test_a_hub_with_keys_asks_for_one(profile: Any, start_hub: Any, endpoint: Any) -> None:
    hub = await start_hub(HUB_API_KEYS="first-key,right-key")
    tab = await profile(hub.url)
    await tab.by_id("key-dialog").wait_for()
    await tab.by_id("key-input").fill("wrong-key")
    await tab.by_id("key-submit").click()
    await tab.page.get_by_text("did not accept this key").wait_for()
    await tab.by_id("key-input").fill("right-key")
    await tab.by_id("key-submit").click()
    await tab.by_id("key-dialog").wait_for(state="hidden")
    endpoint.enqueue(chat_reply(TEXT))
    await tab.ask("Count.")
    await tab.until_ended()
    assert await tab.answer() == TEXT
    assert "right-key" not in await tab.page.evaluate("JSON.stringify(localStorage)")


async def test_a_remembered_key_opens_the_next_tab(profile: Any, start_hub: Any) -> None:
    hub = await start_hub(HUB_API_KEYS="right-key")
    tab = await profile(hub.url)
    await tab.by_id("key-input").fill("right-key")
    await tab.page.get_by_label("Remember it in this browser").check()
    await tab.by_id("key-submit").click()
    await tab.by_id("key-dialog").wait_for(state="hidden")
    next_tab = await profile(hub.url)
    await next_tab.until("() => document.querySelector('[data-testid=notice]').textContent.includes('scripted')")
    assert not await next_tab.by_id("key-dialog").is_visible()


async def test_declining_the_key_leaves_the_message_unsent_and_unlost(profile: Any, start_hub: Any) -> None:
    hub = await start_hub(HUB_API_KEYS="right-key")
    tab = await profile(hub.url)
    await tab.by_id("key-dialog").wait_for()
    await tab.page.keyboard.press("Escape")
    await tab.ask("Hello?")
    await tab.by_id("key-dialog").wait_for()
    await tab.page.keyboard.press("Escape")
    await tab.page.get_by_text("The hub needs a key to answer.").wait_for()
    assert await tab.by_id("composer").input_value() == "Hello?"
    assert not await tab.by_id("key-dialog").is_visible()


async def test_a_message_too_large_stays_in_the_composer(profile: Any, start_hub: Any) -> None:
    hub = await start_hub(HUB_MAX_BODY_BYTES="1000")
    tab = await profile(hub.url)
    await tab.ask("x" * 2000)
    await tab.page.get_by_text("larger than the hub accepts").wait_for()
    assert await tab.by_id("composer").input_value() == "x" * 2000
    assert await tab.by_id("answer").count() == 0


async def test_a_hub_that_is_away_gives_the_message_back(profile: Any, start_hub: Any) -> None:
    hub = await start_hub()
    tab = await profile(hub.url)
    await hub.kill()
    await tab.ask("Hello?")
    await tab.page.get_by_text("Your message is still here").wait_for()
    assert await tab.by_id("composer").input_value() == "Hello?"


async def test_everything_works_by_keyboard(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(TEXT), chat_reply([*WORDS[:5], Hang()]))
    keyboard = tab.page.keyboard
    await keyboard.type("Two")
    await keyboard.press("Shift+Enter")
    await keyboard.type("lines")
    await keyboard.press("Enter")
    await tab.until_ended()
    assert endpoint.requests[0].json()["messages"][0]["content"] == "Two\nlines"

    await keyboard.type("Again")
    await keyboard.press("Enter")
    await tab.until_answer_has("word4")
    await keyboard.press("Escape")
    await tab.until_status("cancelled", answers=2)

    await _tab_to(tab, "inspector-toggle")
    await keyboard.press("Enter")
    await tab.by_id("inspector").wait_for()
    await _tab_to(tab, "inspector-row", by="closest")
    await keyboard.press("Enter")
    await tab.by_id("inspector").locator("details[open] pre", has_text='"type":').wait_for()
    await keyboard.press("Escape")
    await tab.by_id("inspector").wait_for(state="hidden")
    assert await _focused(tab) == "inspector-toggle"

    await _tab_to(tab, "new-chat")
    await keyboard.press("Enter")
    assert await tab.by_id("answer").count() == 0
    assert await _focused(tab) == "composer"


async def test_focus_stays_on_the_button_that_turns_from_send_to_stop(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply([*WORDS[:5], Hang()]))
    await tab.by_id("composer").fill("Count.")
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("Enter")
    await tab.until_answer_has("word4")
    assert await _focused(tab) == "stop"
    await tab.page.keyboard.press("Enter")
    await tab.until_status("cancelled")
    assert await _focused(tab) == "composer"


async def test_a_screen_reader_hears_sentences_not_tokens(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(TEXT))
    await tab.page.evaluate(
        """() => { window.said = []; const region = document.querySelector('[aria-live=polite]');
        new MutationObserver(() => window.said.push(region.textContent))
          .observe(region, { childList: true, characterData: true, subtree: true }); }"""
    )
    await tab.ask("Count.")
    await tab.until_ended()
    said = await tab.page.evaluate("window.said")
    assert len(said) <= 3
    assert "".join(said).startswith(TEXT)


async def test_every_control_has_a_name(tab: Any) -> None:
    await tab.by_id("inspector-toggle").click()
    nameless = await tab.page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, a')].filter((control) =>
          !(control.getAttribute('aria-label') || control.textContent.trim() || control.labels?.length))
          .map((control) => control.outerHTML)"""
    )
    assert nameless == []


async def test_the_inspector_shows_every_event_and_filters_by_type(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(WORDS, usage=True))
    await tab.by_id("inspector-toggle").click()
    await tab.ask("Count.")
    await tab.until_ended()
    await tab.until("() => document.querySelector('[data-testid=inspector-row][data-type=done]')")
    rows = tab.by_id("inspector-row")
    seqs = [int(seq) for seq in await rows.evaluate_all("rows => rows.map(row => row.dataset.seq)")]
    assert seqs == list(range(len(seqs)))
    await tab.by_id("inspector").get_by_role("button", name="usage").click()
    await tab.until("() => document.querySelectorAll('[data-testid=inspector-row]').length === 1")
    assert await rows.get_attribute("data-type") == "usage"


async def test_the_inspector_reads_a_finished_stream_from_its_start(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(WORDS))
    await tab.ask("Count.")
    await tab.until_ended()
    await tab.page.reload()
    await tab.by_id("inspector-toggle").click()
    await tab.page.get_by_role("button", name="Read from the start").click()
    await tab.until("() => document.querySelector('[data-testid=inspector-row][data-type=done]')")
    assert await tab.by_id("inspector-row").first.get_attribute("data-type") == "meta"


async def test_the_inspector_keeps_the_page_small(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply([f"word{number} " for number in range(2000)]).joined())
    await tab.by_id("inspector-toggle").click()
    await tab.ask("Count.")
    await tab.until("() => document.querySelector('[data-testid=inspector-row][data-type=done]')")
    assert await tab.by_id("inspector-row").count() <= 250


async def test_settings_shape_the_next_request(tab: Any, endpoint: Any) -> None:
    await tab.page.get_by_role("button", name="Settings").click()
    await tab.page.get_by_label("Model", exact=True).fill("another")
    await tab.page.get_by_label("Temperature").fill("0.2")
    await tab.page.get_by_label("Max tokens").fill("12")
    await tab.page.keyboard.press("Escape")
    await tab.page.reload()
    await tab.ask("Hello?")
    await tab.until_ended()
    body = endpoint.requests[0].json()
    assert (body["model"], body["temperature"]) == ("another", 0.2)
    assert 12 in (body.get("max_tokens"), body.get("max_completion_tokens"))


async def test_a_new_chat_can_be_undone(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(TEXT))
    await tab.ask("Count.")
    await tab.until_ended()
    await tab.by_id("new-chat").click()
    assert await tab.by_id("answer").count() == 0
    await tab.page.get_by_role("button", name="Undo").click()
    assert await tab.answer() == TEXT
    await tab.page.reload()
    await tab.until_ended()
    assert await tab.answer() == TEXT


async def test_the_theme_is_the_readers_choice_after_the_systems(tab: Any) -> None:
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = await tab.page.evaluate(background)
    await tab.by_id("theme-toggle").click()
    dark = await tab.page.evaluate(background)
    assert dark != light
    await tab.page.reload()
    assert await tab.page.evaluate(background) == dark
    await tab.by_id("theme-toggle").click()
    await tab.page.emulate_media(color_scheme="dark")
    assert await tab.page.evaluate(background) == dark


async def test_a_phone_never_scrolls_sideways(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply(WIDE))
    await tab.page.set_viewport_size({"width": 360, "height": 640})
    await tab.ask("https://example.com/" + "a" * 200)
    await tab.until_ended()
    await tab.by_id("inspector-toggle").click()
    widths = await tab.page.evaluate(
        "() => ['html', '#scroller', '#inspector'].map((name) => document.querySelector(name)).map((element) =>"
        " element.scrollWidth - element.clientWidth)"
    )
    assert widths == [0, 0, 0]


async def test_a_reader_who_scrolled_up_is_left_there(tab: Any, endpoint: Any) -> None:
    endpoint.enqueue(chat_reply("\n\n".join(f"Paragraph {number}" for number in range(60))), chat_reply(TEXT))
    await tab.ask("Go on.")
    await tab.until_ended()
    end = "() => { const s = document.getElementById('scroller');"
    await tab.until(f"{end} return s.scrollHeight - s.scrollTop - s.clientHeight < 2 }}")
    await tab.page.evaluate("document.getElementById('scroller').scrollTop = 100")
    jump = tab.page.get_by_role("button", name="Jump to latest")
    await jump.wait_for()
    assert await tab.page.evaluate("document.getElementById('scroller').scrollTop") == 100
    await jump.click()
    await tab.until(f"{end} return s.scrollHeight - s.scrollTop - s.clientHeight < 2 }}")
    await jump.wait_for(state="hidden")


async def _focused(tab: Any, by: str = "self") -> str | None:
    find = {"self": "document.activeElement", "closest": "document.activeElement.closest('[data-testid]')"}[by]
    test_id: str | None = await tab.page.evaluate(f"{find}?.dataset.testid ?? null")
    return test_id


async def _tab_to(tab: Any, test_id: str, by: str = "self") -> None:
    """Press Tab until this control has the focus."""
    for _ in range(60):
        if await _focused(tab, by) == test_id:
            return
        await tab.page.keyboard.press("Tab")
    raise AssertionError(f"no way to {test_id} by Tab")
