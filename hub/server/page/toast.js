/** One quiet line at the foot of the page, with at most one thing to do about it. */

import { byId, h, setText } from "./dom.js";

const SHOWN_MS = 8000;

let timer = null;

/** Show `text` for a while; `action` is `{label, run}`. */
export function toast(text, action = null) {
  const element = byId("toast");
  const line = byId("toast-text");
  element.querySelector("button")?.remove();
  setText(line, text);
  if (action) {
    const button = h("button", { type: "button", class: "button" }, action.label);
    button.addEventListener("click", () => {
      hide();
      action.run();
    });
    element.append(button);
  }
  element.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(hide, SHOWN_MS);
}

function hide() {
  byId("toast").hidden = true;
}
