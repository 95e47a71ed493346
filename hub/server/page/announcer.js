/** Answers for a screen reader: whole sentences, at most every few seconds, never single tokens. */

import { statusOf } from "./sentences.js";
import { textOf } from "./fold.js";

const INTERVAL_MS = 4000;
const SENTENCES = /^[^]*[.!?:…]["')\]]?\s/;

export class Announcer {
  #region;
  #answer = null;
  #said = 0;
  #timer = null;

  /** @param region An element with `aria-live="polite"`. */
  constructor(region) {
    this.#region = region;
  }

  /** The answer has changed. */
  follow(answer) {
    if (answer !== this.#answer) {
      this.#answer = answer;
      this.#said = 0;
    }
    if (answer.open) {
      this.#timer ??= setTimeout(() => this.#say(), INTERVAL_MS);
    } else {
      this.#say();
    }
  }

  #say() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const text = textOf(this.#answer.folded);
    const news = text.slice(this.#said);
    const part = this.#answer.open ? (SENTENCES.exec(news)?.[0] ?? "") : news;
    this.#said += part.length;
    const end = this.#answer.open ? "" : statusOf(this.#answer) || "The answer is complete.";
    const line = `${part} ${end}`.trim();
    if (line) this.#region.textContent = line;
  }
}
