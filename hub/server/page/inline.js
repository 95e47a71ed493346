/** Markdown inside a line: code, emphasis and links, as DOM nodes. */

import { h } from "./dom.js";

/** What may begin something other than plain text. */
const SPECIAL = /[\\`*_~<]|!?\[|\bhttps?:\/\//g;
const SPACE = /\s/;
const WORD = /[\p{L}\p{N}]/u;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
/** Deeper nesting is noise, or an attempt to exhaust the stack. */
const MAX_DEPTH = 8;

/** The nodes of one paragraph's text. */
export function inlineNodes(text) {
  return parse(text, { depth: 0, links: true });
}

function parse(text, context) {
  if (context.depth > MAX_DEPTH) return [text];
  const nodes = [];
  // A delimiter that nothing closes is looked for once, else a line of asterisks would take quadratic time.
  const unclosed = new Set();
  let plain = "";
  let at = 0;
  while (at < text.length) {
    SPECIAL.lastIndex = at;
    const match = SPECIAL.exec(text);
    if (!match) break;
    plain += text.slice(at, match.index);
    at = match.index;
    const found = read(text, at, match[0], { ...context, unclosed });
    if (found.node) {
      if (plain) nodes.push(plain);
      nodes.push(found.node);
      plain = "";
    } else {
      plain += found.text;
    }
    at = found.end;
  }
  plain += text.slice(at);
  if (plain) nodes.push(plain);
  return nodes;
}

/** What begins at `at`: `{node, end}`, or `{text, end}` where it is plain text after all. */
function read(text, at, token, context) {
  switch (token) {
    case "\\":
      return escaped(text, at);
    case "`":
      return codeSpan(text, at, context);
    case "*":
    case "_":
    case "~":
      return emphasis(text, at, context);
    case "<":
      return angled(text, at, context);
    case "[":
    case "![":
      return bracketed(text, at, token, context);
    default:
      return bareLink(text, at, context);
  }
}

function escaped(text, at) {
  const next = text[at + 1];
  if (next === "\n") return { text: "\n", end: at + 2 };
  if (next && PUNCTUATION.test(next)) return { text: next, end: at + 2 };
  return { text: "\\", end: at + 1 };
}

function codeSpan(text, at, { unclosed }) {
  const fence = runOf("`", text, at);
  const from = at + fence.length;
  const close = unclosed.has(fence) ? -1 : findRun(fence, text, from);
  if (close < 0) {
    unclosed.add(fence);
    return { text: fence, end: from };
  }
  let code = text.slice(from, close).replaceAll("\n", " ");
  if (/^ .*[^ ].* $/.test(code)) code = code.slice(1, -1);
  return { node: h("code", {}, code), end: close + fence.length };
}

function emphasis(text, at, context) {
  const run = runOf(text[at], text, at);
  const from = at + run.length;
  const plain = { text: run, end: from };
  const size = run.length;
  if (size > 3 || (run[0] === "~" && size !== 2) || context.unclosed.has(run)) return plain;
  if (!opens(text, at, from)) return plain;
  const close = findCloser(text, from, run);
  if (close < 0) {
    context.unclosed.add(run);
    return plain;
  }
  const inner = parse(text.slice(from, close), { ...context, depth: context.depth + 1 });
  return { node: emphasised(run, inner), end: close + size };
}

function emphasised(run, inner) {
  if (run === "~~") return h("del", {}, inner);
  if (run.length === 1) return h("em", {}, inner);
  return h("strong", {}, run.length === 2 ? inner : h("em", {}, inner));
}

function opens(text, at, from) {
  const before = text[at - 1] ?? " ";
  const after = text[from] ?? " ";
  if (SPACE.test(after)) return false;
  if (text[at] === "_" && WORD.test(before)) return false;
  return !PUNCTUATION.test(after) || SPACE.test(before) || PUNCTUATION.test(before);
}

/** Where the emphasis that `run` opened ends, past code and escapes; -1 if nowhere. */
function findCloser(text, from, run) {
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === "\\") {
      at += 1;
    } else if (text[at] === "`") {
      const fence = runOf("`", text, at);
      const close = findRun(fence, text, at + fence.length);
      at = (close < 0 ? at : close) + fence.length - 1;
    } else if (text[at] === run[0]) {
      const size = runOf(run[0], text, at).length;
      const end = at + size;
      // A run of three closes an inner emphasis and this one.
      const fits = size === run.length || (size === 3 && run.length < 3);
      const joins = run[0] === "_" && WORD.test(text[end] ?? " ");
      if (fits && at > from && !SPACE.test(text[at - 1]) && !joins) return end - run.length;
      at = end - 1;
    }
  }
  return -1;
}

function angled(text, at, context) {
  const rest = text.slice(at, at + 2048);
  const lineBreak = /^<br\s*\/?>/i.exec(rest);
  if (lineBreak) return { node: h("br"), end: at + lineBreak[0].length };
  const address = /^<(https?:\/\/[^\s<>]+)>/.exec(rest);
  if (!address || !context.links) return { text: "<", end: at + 1 };
  return { node: link(address[1], [address[1]]), end: at + address[0].length };
}

function bracketed(text, at, token, context) {
  const from = at + token.length;
  const plain = { text: token, end: from };
  const close = context.links ? closingBracket(text, from) : -1;
  if (close < 0) return plain;
  const target = /^\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\([^\s()]*\))*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/.exec(
    text.slice(close + 1, close + 4096),
  );
  if (!target) return plain;
  const end = close + 1 + target[0].length;
  const address = target[1] ?? target[2];
  // Only http(s): a model must not be able to plant a script, and relative addresses would point into the hub.
  if (!/^https?:\/\//i.test(address)) return { text: text.slice(at, end), end };
  const label = parse(text.slice(from, close), { depth: context.depth + 1, links: false });
  return { node: link(address, label.length ? label : [address]), end };
}

function closingBracket(text, from) {
  let depth = 1;
  for (let at = from; at < text.length && at < from + 2048; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "[") depth += 1;
    else if (text[at] === "]" && --depth === 0) return at;
  }
  return -1;
}

function bareLink(text, at, context) {
  let address = /^https?:\/\/[^\s<>"`]+/.exec(text.slice(at, at + 2048))?.[0] ?? "";
  // Punctuation after an address belongs to the sentence, and so does a bracket that it didn't open.
  for (;;) {
    const trimmed = address.replace(/[.,;:!?'*_~]+$/, "");
    const unopened = /\)$/.test(trimmed) && !trimmed.includes("(");
    if (trimmed === address && !unopened) break;
    address = unopened ? trimmed.slice(0, -1) : trimmed;
  }
  const named = /^https?:\/\/./.test(address);
  if (!named || !context.links) return { text: text.slice(at, at + 4), end: at + 4 };
  return { node: link(address, [address]), end: at + address.length };
}

function link(address, label) {
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, label);
}

function runOf(character, text, at) {
  let end = at;
  while (text[end] === character) end += 1;
  return text.slice(at, end);
}

/** Where a run of exactly these characters lies; -1 if nowhere. */
function findRun(run, text, from) {
  for (let at = text.indexOf(run, from); at >= 0; at = text.indexOf(run, at)) {
    const size = runOf(run[0], text, at).length;
    if (size === run.length) return at;
    at += size;
  }
  return -1;
}
