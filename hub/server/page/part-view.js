/** The parts an answer is made of: text, reasoning, refusals and tool calls. */

import { h, icon, setAttribute, setText } from "./dom.js";
import { prettyJson, prettyValue } from "./format.js";
import { MarkdownView } from "./markdown.js";

/** A view with `kind`, `element` and `draw(part, growing)`. */
export function partView(kind) {
  return new VIEWS[kind](kind);
}

class TextView {
  #markdown;

  constructor(kind) {
    this.kind = kind;
    this.element = h("div", { class: "prose" });
    this.#markdown = new MarkdownView(this.element);
  }

  draw(part, growing) {
    this.#markdown.update(part.text);
    setAttribute(this.element, "data-growing", growing);
  }
}

class ReasoningView {
  #label = h("span", {}, "Reasoning");
  #markdown;

  constructor(kind) {
    this.kind = kind;
    const body = h("div", { class: "prose" });
    this.#markdown = new MarkdownView(body);
    this.element = h("details", { class: "reasoning" }, h("summary", {}, icon("chevron"), this.#label), body);
  }

  draw(part, growing) {
    this.#markdown.update(part.text);
    setText(this.#label, growing ? "Reasoning…" : "Reasoning");
    setAttribute(this.element, "data-growing", growing);
  }
}

class RefusalView {
  #text = h("p");

  constructor(kind) {
    this.kind = kind;
    this.element = h("div", { class: "refusal" }, h("p", { class: "label" }, "The model declined"), this.#text);
  }

  draw(part) {
    setText(this.#text, part.text);
  }
}

class ToolView {
  #name = h("code");
  #state = h("span", { class: "tool-state" });
  #arguments = h("pre", { tabindex: "0", "aria-label": "Arguments" });
  #result = h("pre", { tabindex: "0", "aria-label": "Result" });
  #resultBlock;

  constructor(kind) {
    this.kind = kind;
    this.#resultBlock = h("div", { class: "tool-result", hidden: true }, h("p", { class: "label" }, "Result"), this.#result);
    this.element = h(
      "div",
      { class: "tool" },
      h("div", { class: "tool-head" }, icon("tool"), this.#name, this.#state),
      this.#arguments,
      this.#resultBlock,
    );
  }

  draw(part, growing) {
    setText(this.#name, part.name || "tool");
    const text = prettyJson(part.arguments ?? "");
    setText(this.#arguments, text);
    this.#arguments.hidden = text === "" || text === "{}";
    const state = stateOf(part, growing);
    setAttribute(this.element, "data-state", state);
    setText(this.#state, STATES[state]);
    this.#resultBlock.hidden = !part.result;
    if (part.result) setText(this.#result, prettyValue(part.result.output));
  }
}

const STATES = { failed: "failed", done: "done", approval: "waiting for approval", growing: "calling…", called: "called" };

function stateOf({ result, approval }, growing) {
  if (result) return result.isError ? "failed" : "done";
  if (approval) return "approval";
  return growing ? "growing" : "called";
}

const VIEWS = { text: TextView, reasoning: ReasoningView, refusal: RefusalView, tool_call: ToolView, tool_result: ToolView };
