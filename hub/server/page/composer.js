/** The box a question is written in, with Send, or Stop while an answer runs. */

import { setAttribute, setText } from "./dom.js";
import { SafeStorage } from "./storage.js";

const DRAFT = "hub.draft";
const DRAFT_DELAY_MS = 400;
/** Tall enough for a paragraph, short enough to leave the chat in view. */
const MAX_HEIGHT_PX = 240;

export class Composer {
  #ui;
  #busy = false;
  #drafts = new SafeStorage("sessionStorage");
  #timer = null;

  /**
   * @param ui Elements: `form`, `input`, `send`, `stop`, `error`.
   * @param onSend Called with the text, when there is some and nothing runs.
   */
  constructor(ui, { onSend, onStop }) {
    this.#ui = ui;
    ui.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = ui.input.value.trim();
      if (text && !this.#busy) onSend(text);
    });
    ui.stop.addEventListener("click", () => this.stopping || onStop());
    ui.input.addEventListener("input", () => this.#changed());
    ui.input.addEventListener("keydown", (event) => {
      // While an input method composes, Enter chooses a word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      ui.form.requestSubmit();
    });
    this.text = this.#drafts.get(DRAFT) ?? "";
  }

  get text() {
    return this.#ui.input.value;
  }

  set text(text) {
    this.#ui.input.value = text;
    this.#changed();
  }

  /** Give back a text that could not be sent, before what was written since. */
  giveBack(text) {
    this.text = [text, this.text.trim()].filter(Boolean).join("\n\n");
    this.focus();
  }

  focus() {
    // On a touch screen the keyboard would cover half the answer.
    if (matchMedia("(pointer: fine)").matches) this.#ui.input.focus();
  }

  /** Say why the last text wasn't taken; null takes it back. */
  complain(sentence) {
    this.#ui.error.hidden = sentence === null;
    setText(this.#ui.error, sentence ?? "");
  }

  /** Whether an answer runs. */
  set busy(busy) {
    if (busy === this.#busy) return;
    this.#busy = busy;
    const { send, stop } = this.#ui;
    const leaving = busy ? send : stop;
    const focused = document.activeElement === leaving;
    send.hidden = busy;
    stop.hidden = !busy;
    this.stopping = false;
    // The button that had the focus is gone; losing the place would strand a keyboard.
    if (focused) (busy ? stop : this.#ui.input).focus();
  }

  /** Whether Stop was pressed and has yet to take effect. */
  get stopping() {
    return this.#ui.stop.hasAttribute("aria-disabled");
  }

  set stopping(stopping) {
    // Not `disabled`: that would take the focus away from whoever pressed it.
    setAttribute(this.#ui.stop, "aria-disabled", stopping ? "true" : null);
  }

  #changed() {
    const { input, send } = this.#ui;
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, MAX_HEIGHT_PX)}px`;
    send.disabled = input.value.trim() === "";
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#drafts.set(DRAFT, input.value), DRAFT_DELAY_MS);
  }
}
