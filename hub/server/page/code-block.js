/** A block of code: its language, a button that copies it, and text that can grow. */

import { h, icon, setAttribute } from "./dom.js";
import { highlight } from "./highlight.js";

const COPIED_MS = 1600;

export class CodeBlock {
  element;
  #code = document.createTextNode("");
  #coloured = false;

  constructor() {
    const copy = h("button", { type: "button", class: "code-copy", "aria-label": "Copy code" }, icon("copy"));
    copy.addEventListener("click", () => this.#copy(copy));
    // A wide block scrolls, so the keyboard must be able to reach it.
    const pre = h("pre", { tabindex: "0" }, h("code", {}, this.#code));
    this.element = h("div", { class: "code-block" }, copy, pre);
  }

  /** Show `text`; `closed` once no more of it comes. */
  update({ language, text, closed }) {
    setAttribute(this.element, "data-language", language || "text");
    const shown = this.#code.data;
    if (text.startsWith(shown)) this.#code.appendData(text.slice(shown.length));
    else this.#code.data = text;
    if (closed && !this.#coloured) {
      this.#coloured = true;
      highlight(this.#code, language);
    }
  }

  async #copy(button) {
    const copied = await copyText(this.#code.data);
    button.replaceChildren(icon(copied ? "check" : "alert"));
    button.setAttribute("aria-label", copied ? "Copied" : "Could not copy");
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.setAttribute("aria-label", "Copy code");
    }, COPIED_MS);
  }
}

/** Whether `text` is on the clipboard now. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** The clipboard interface needs https or localhost; a hub on the local network has neither. */
function copyBySelection(text) {
  const area = h("textarea", { class: "visually-hidden", readonly: true });
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}
