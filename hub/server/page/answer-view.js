/** One answer on the page: what was said, how it stands, what it cost. */

import { copyText } from "./code-block.js";
import { h, icon, setAttribute, setText } from "./dom.js";
import { count, rate, seconds, usd } from "./format.js";
import { partView } from "./part-view.js";
import { errorOf, statusOf } from "./sentences.js";
import { secondsToFirstToken, tokensPerSecond } from "./timing.js";

const COPIED_MS = 1600;

export class AnswerView {
  element;
  #parts = h("div", { class: "answer-parts", "data-testid": "answer" });
  #views = [];
  #error = h("div", { class: "answer-error", hidden: true });
  #errorShown = null;
  #status = h("span", { class: "answer-status", "data-testid": "answer-status" });
  #usage = h("span", { class: "answer-usage", "data-testid": "usage" });
  #copy;
  #onRetry;

  /** @param onRetry Called when the reader asks the same question again. */
  constructor(onRetry) {
    this.#onRetry = onRetry;
    this.#copy = h("button", { type: "button", class: "icon-button small", "aria-label": "Copy answer", title: "Copy answer" });
    this.#copy.append(icon("copy"));
    this.element = h(
      "article",
      { class: "answer" },
      h("h2", { class: "visually-hidden" }, "Answer"),
      this.#parts,
      this.#error,
      h("div", { class: "answer-foot" }, this.#status, this.#usage, this.#copy),
    );
  }

  /** Show `answer` as it is now; `repeatable` where the reader may ask for it again. */
  draw(answer, { repeatable }) {
    const { folded, timing, status } = answer;
    setAttribute(this.#parts, "data-status", status);
    setAttribute(this.#parts, "aria-busy", answer.open ? "true" : "false");
    this.#drawParts(folded.parts, answer.open);
    this.#drawError(answer, repeatable);
    setText(this.#status, statusOf(answer));
    setAttribute(this.#status, "data-status", status);
    const figures = answer.open ? firstToken(timing) : [...tokens(folded), ...firstToken(timing), ...pace(folded, timing)];
    drawFigures(this.#usage, figures);
    const text = folded.parts.map((part) => (part.kind === "text" ? part.text : "")).join("\n\n").trim();
    this.#copy.hidden = answer.open || !text;
    this.#copy.onclick = () => this.#copied(text);
  }

  #drawParts(parts, open) {
    const ordered = parts.toSorted((one, other) => one.choice - other.choice);
    ordered.forEach((part, index) => {
      if (this.#views[index]?.kind !== part.kind) {
        this.#views.splice(index).forEach((view) => view.element.remove());
        const view = partView(part.kind);
        this.#views[index] = view;
        this.#parts.append(view.element);
      }
      setAttribute(this.#views[index].element, "data-choice", part.choice || null);
      this.#views[index].draw(part, open && index === ordered.length - 1);
    });
    this.#views.splice(ordered.length).forEach((view) => view.element.remove());
  }

  #drawError(answer, repeatable) {
    const shown = problemOf(answer);
    const key = shown && JSON.stringify([shown, repeatable]);
    if (key === this.#errorShown) return;
    this.#errorShown = key;
    this.#error.hidden = !shown;
    this.#error.replaceChildren();
    if (!shown) return;
    setAttribute(this.#error, "data-testid", "error");
    this.#error.append(
      icon("alert"),
      h("div", {}, h("p", {}, shown.sentence), shown.detail && h("p", { class: "detail" }, shown.detail)),
    );
    if (repeatable && shown.retryable) {
      const retry = h("button", { type: "button", class: "button", "data-testid": "retry" }, "Try again");
      retry.addEventListener("click", this.#onRetry);
      this.#error.append(retry);
    }
  }

  async #copied(text) {
    const copied = await copyText(text);
    this.#copy.replaceChildren(icon(copied ? "check" : "alert"));
    setTimeout(() => this.#copy.replaceChildren(icon("copy")), COPIED_MS);
  }
}

function problemOf({ interrupted, refused, folded, timing }) {
  if (interrupted) {
    const unseen = folded.seq < 0 && timing.askedAt === null;
    const sentence = unseen
      ? "The server has no stream with this id."
      : "The answer was interrupted, the server no longer has it.";
    return { sentence, detail: null, retryable: true };
  }
  if (refused) return { sentence: refused, detail: null, retryable: true };
  return folded.error && { ...errorOf(folded.error), retryable: folded.error.retryable };
}

function tokens({ usage }) {
  // Zeros say that no attempt reached the endpoint, and the error above says so better.
  if (!usage?.total_tokens) return [];
  const about = usage.estimated ? "≈ " : "";
  const cached = usage.cached_input_tokens ? `, ${count(usage.cached_input_tokens)} of them cached` : "";
  const reasoning = usage.reasoning_tokens ? `, ${count(usage.reasoning_tokens)} of them reasoning` : "";
  const figures = [
    { text: `${about}${count(usage.input_tokens)} in`, title: `Input tokens${cached}` },
    { text: `${about}${count(usage.output_tokens)} out`, title: `Output tokens${reasoning}` },
    cost(usage),
  ];
  if (usage.estimated) figures.push({ text: "estimated", title: "The endpoint did not report it, so the hub counted" });
  return figures;
}

function cost({ cost_usd: now, original_cost_usd: originally }) {
  if (now === null || now === undefined) return { text: "cost unknown", title: "The hub has no price for this model" };
  if (originally) return { text: `${usd(now)}, cached`, title: `From the cache; it first cost ${usd(originally)}` };
  return { text: usd(now), title: "Cost in US dollars" };
}

function firstToken(timing) {
  const waited = secondsToFirstToken(timing);
  return waited === null ? [] : [{ text: `first token ${seconds(waited)}`, title: "From sending to the first token" }];
}

function pace({ usage }, timing) {
  const perSecond = tokensPerSecond(timing, usage?.output_tokens);
  return perSecond === null ? [] : [{ text: `${rate(perSecond)} tok/s`, title: "Output tokens a second, after the first" }];
}

function drawFigures(element, figures) {
  const key = JSON.stringify(figures);
  if (element.dataset.shown === key) return;
  element.dataset.shown = key;
  // The separators are text, so that a screen reader pauses and a copied line reads well.
  const nodes = figures.flatMap(({ text, title }, index) => [index ? " · " : "", h("span", { title }, text)]);
  element.replaceChildren(...nodes);
}
