/** The questions and answers on the page, and where the reader is among them. */

import { AnswerView } from "./answer-view.js";
import { h } from "./dom.js";
import { nextFrame } from "./frames.js";

/** This close to the end, a reader follows it. */
const NEAR_PX = 32;

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
    scroller.addEventListener("scroll", () => this.#follow(this.#distance() < NEAR_PX), { passive: true });
    // A short turn of the wheel stays within the limit, and is meant all the same.
    scroller.addEventListener("wheel", (event) => event.deltaY < 0 && this.#overflows() && this.#follow(false), { passive: true });
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

  /** The answer a turn was waiting for has begun; it takes the place of `waiting`. */
  adopt(waiting, answer) {
    const view = this.#turns.get(waiting);
    if (!view) return;
    this.#turns.delete(waiting);
    this.#turns.set(answer, view);
  }

  /** Draw this answer before the next paint. */
  touch(answer) {
    const view = this.#turns.get(answer);
    if (!view) return;
    view.answer = answer;
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

  #add(prompt, answer) {
    const view = new TurnView(prompt, this.#onRetry);
    view.answer = answer;
    view.draw();
    this.#turns.set(answer, view);
    this.#list.append(view.element);
  }

  #keepUp() {
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    else this.#follow(this.#distance() < 1);
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
  answer = null;
  last = false;
  frame = null;
  #answerView;

  #prompt;

  constructor(prompt, onRetry) {
    this.#prompt = prompt;
    this.#answerView = new AnswerView(onRetry);
    const question =
      prompt !== null &&
      h("div", { class: "question" }, h("h2", { class: "visually-hidden" }, "You"), h("p", {}, prompt));
    this.element = h("li", { class: "turn" }, question || null, this.#answerView.element);
  }

  draw() {
    // Without its question an answer can be read again, but not asked for again.
    const repeatable = this.last && (this.#prompt !== null || this.answer.refused !== null);
    this.#answerView.draw(this.answer, { repeatable });
  }
}
