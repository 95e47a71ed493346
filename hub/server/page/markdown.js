/** Markdown as DOM nodes, drawn while it is being written: only the end of a growing text is drawn again. */

import { readBlocks } from "./blocks.js";
import { CodeBlock } from "./code-block.js";
import { h } from "./dom.js";
import { inlineNodes } from "./inline.js";

/** Deeper quotes and lists are shown as text. */
const MAX_DEPTH = 6;

/** A text that grows, shown inside `root`. */
export class MarkdownView {
  #root;
  #source = "";
  #drawn = [];

  constructor(root) {
    this.#root = root;
  }

  /** Show `source`; cheap where it begins with what is shown already. */
  update(source) {
    if (source === this.#source) return;
    // What a new line means can change the block before it (a table's header was a paragraph), never one further up.
    const stable = source.startsWith(this.#source) ? Math.max(this.#drawn.length - 2, 0) : 0;
    const old = this.#drawn.splice(stable);
    const from = old[0]?.start ?? 0;
    for (const block of readBlocks(source, stable === 0 ? 0 : from)) {
      const text = source.slice(block.start, block.end);
      this.#drawn.push(reuse(old.shift(), block, text) ?? this.#append(block, text, old));
    }
    for (const { node } of old) node.remove();
    this.#source = source;
  }

  #append(block, text, stale) {
    for (const { node } of stale.splice(0)) node.remove();
    const view = draw(block, 0);
    this.#root.append(view.node);
    return { ...view, kind: block.kind, start: block.start, text };
  }
}

/** The block as it stands, where it is the same one or code that grew; else null, with the old node removed. */
function reuse(drawn, block, text) {
  if (!drawn) return null;
  if (drawn.text === text && drawn.start === block.start && drawn.kind === block.kind && !drawn.code) return drawn;
  if (drawn.code && block.kind === "code") {
    drawn.code.update(block);
    return { ...drawn, start: block.start, text };
  }
  drawn.node.remove();
  return null;
}

function draw(block, depth) {
  if (block.kind !== "code") return { node: element(block, depth) };
  const code = new CodeBlock();
  code.update(block);
  return { node: code.element, code };
}

function element(block, depth) {
  switch (block.kind) {
    case "heading":
      // The page's own headings come first; an answer's begin below them.
      return h(`h${Math.min(block.level + 2, 6)}`, { class: `heading-${block.level}` }, inlineNodes(block.text));
    case "rule":
      return h("hr");
    case "quote":
      return h("blockquote", {}, nested(block.text, depth));
    case "list":
      return list(block, depth);
    case "table":
      return table(block);
    default:
      return h("p", {}, inlineNodes(block.text));
  }
}

function nested(source, depth) {
  if (depth >= MAX_DEPTH) return [h("p", {}, source)];
  return Array.from(readBlocks(source), (block) => draw(block, depth + 1).node);
}

function list({ ordered, first, items }, depth) {
  const start = ordered && first !== 1 ? first : null;
  return h(
    ordered ? "ol" : "ul",
    { start },
    items.map((item) => h("li", {}, itemNodes(item, depth))),
  );
}

/** An item's first paragraph stands beside its marker, so it needs no element of its own. */
function itemNodes(source, depth) {
  const [first, ...rest] = nested(source, depth);
  if (first?.tagName !== "P") return first ? [first, ...rest] : [];
  return [...first.childNodes, ...rest];
}

function table({ alignments, header, rows }) {
  const row = (cells, tag) =>
    h(
      "tr",
      {},
      alignments.map((align, column) => h(tag, { class: `align-${align}` }, inlineNodes(cells[column] ?? ""))),
    );
  // The wrapper scrolls sideways on a phone, by keyboard too.
  return h(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": "Table" },
    h("table", {}, h("thead", {}, row(header, "th")), h("tbody", {}, rows.map((cells) => row(cells, "td")))),
  );
}
