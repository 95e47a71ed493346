/** The questions and answers on the page, and where the reader is among them. */

import { AnswerView } from "./answer-view.js";
import { h } from "./dom.js";
import { nextFrame } from "./frames.js";

/** This far from the end, a reader has left it. */
const NEAR_PX = 32;
/** Positions are fractions of a pixel on some screens. */
const AT_END_PX = 2;

export class Transcript {
  #scroller;
  #list;
  #jump;
  #turns = new Map();
  #following = true;
  #onRetry;

  constructor({ scroller, list, jump, onRetry }) {
    this.#scroller = scroller;
    this.#list = list;
    this.#jump = jump;
    this.#onRetry = onRetry;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // A short turn of the wheel stays near the end, and is meant all the same.
    const leave = (event) => event.deltaY < 0 && this.#overflows() && this.#follow(false);
    scroller.addEventListener("wheel", leave, { passive: true });
    // Opening a block of reasoning makes the page longer without a scroll.
    list.addEventListener("toggle", () => this.#scrolled(), { capture: true });
    jump.addEventListener("click", () => {
      this.toLatest();
      scroller.focus({ preventScroll: true });
    });
    new ResizeObserver(() => this.#keepUp()).observe(scroller);
  }

  /** Show exactly these turns: `{prompt, answer}`, with prompt null where it isn't known. */
  sync(turns) {
    const wanted = new Set(turns.map(({ answer }) => answer));
    for (const [answer, view] of this.#turns) {
      if (wanted.has(answer)) continue;
      view.element.remove();
      this.#turns.delete(answer);
    }
    turns.forEach(({ prompt, answer }, index) => {
      if (!this.#turns.has(answer)) this.#add(prompt, answer);
      this.#turns.get(answer).last = index === turns.length - 1;
      this.touch(answer);
    });
    this.#keepUp();
  }

  /** Draw this answer before the next paint. */
  touch(answer) {
    const view = this.#turns.get(answer);
    if (!view) return;
    view.frame ??= () => {
      view.draw();
      this.#keepUp();
    };
    nextFrame(view.frame);
  }

  /** Go to the end, and stay there while it grows. */
  toLatest() {
    this.#follow(true);
    this.#keepUp();
  }

  #scrolled() {
    const distance = this.#distance();
    if (distance < AT_END_PX) this.#follow(true);
    else if (distance > NEAR_PX) this.#follow(false);
  }

  #add(prompt, answer) {
    const view = new TurnView(prompt, answer, this.#onRetry);
    view.draw();
    this.#turns.set(answer, view);
    this.#list.append(view.element);
  }

  #keepUp() {
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    else this.#follow(this.#distance() < AT_END_PX);
  }

  #follow(following) {
    this.#following = following;
    this.#jump.hidden = following;
  }

  #distance() {
    return this.#scroller.scrollHeight - this.#scroller.scrollTop - this.#scroller.clientHeight;
  }

  #overflows() {
    return this.#scroller.scrollHeight > this.#scroller.clientHeight;
  }
}

class TurnView {
  last = false;
  frame = null;
  #prompt;
  #answer;
  #answerView;

  constructor(prompt, answer, onRetry) {
    this.#prompt = prompt;
    this.#answer = answer;
    this.#answerView = new AnswerView(onRetry);
    const question =
      prompt !== null &&
      h("div", { class: "question" }, h("h2", { class: "visually-hidden" }, "You"), h("p", {}, prompt));
    this.element = h("li", { class: "turn" }, question || null, this.#answerView.element);
  }

  draw() {
    // Without its question an answer can be read again, but not asked for again.
    const repeatable = this.last && (this.#prompt !== null || this.#answer.refused !== null);
    this.#answerView.draw(this.#answer, { repeatable });
  }
}
