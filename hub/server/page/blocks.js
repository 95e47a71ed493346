/** Markdown's blocks: where each begins and ends, found from left to right so that earlier ones stay put. Pure. */

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])( +|$)/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/**
 * The blocks of `source` from `from` on: `{kind, start, end, ...}` with kind `paragraph`, `heading` (`level`, `text`),
 * `rule`, `quote` (`text`), `code` (`language`, `text`, `closed`), `list` (`ordered`, `first`, `items`) or `table`
 * (`alignments`, `header`, `rows`).
 */
export function* readBlocks(source, from = 0) {
  const lines = linesOf(source, from);
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at].text)) {
      at += 1;
      continue;
    }
    const { next, ...block } = readBlock(lines, at);
    yield { ...block, start: lines[at].start, end: lines[next - 1].end };
    at = next;
  }
}

function linesOf(source, from) {
  const lines = [];
  for (let start = from; start < source.length; ) {
    const newline = source.indexOf("\n", start);
    const end = newline < 0 ? source.length : newline;
    const raw = source.slice(start, end).replace(/\r$/, "");
    // Columns decide what belongs to a list; code keeps its tabs.
    const text = raw.replace(/^\s+/, (indent) => indent.replaceAll("\t", "    "));
    lines.push({ start, end, raw, text });
    start = end + 1;
  }
  return lines;
}

function readBlock(lines, at) {
  const { text } = lines[at];
  const heading = HEADING.exec(text);
  if (heading) return { kind: "heading", level: heading[1].length, text: heading[2] ?? "", next: at + 1 };
  if (RULE.test(text)) return { kind: "rule", next: at + 1 };
  if (FENCE.test(text)) return readCode(lines, at);
  if (QUOTE.test(text)) return readQuote(lines, at);
  if (isItem(text)) return readList(lines, at);
  if (beginsTable(lines, at)) return readTable(lines, at);
  return readParagraph(lines, at);
}

function readCode(lines, at) {
  const [, indent, fence, info] = FENCE.exec(lines[at].text);
  const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}\\s*$`);
  const inside = [];
  let next = at + 1;
  while (next < lines.length && !closing.test(lines[next].text)) {
    inside.push(dedent(lines[next].raw, indent.length));
    next += 1;
  }
  const closed = next < lines.length;
  const language = info.trim().split(/\s+/)[0];
  return { kind: "code", language, text: inside.join("\n"), closed, next: closed ? next + 1 : next };
}

function readQuote(lines, at) {
  let next = at;
  while (next < lines.length && QUOTE.test(lines[next].text)) next += 1;
  const text = lines.slice(at, next).map((line) => line.text.replace(QUOTE, ""));
  return { kind: "quote", text: text.join("\n"), next };
}

function readList(lines, at) {
  const opening = ITEM.exec(lines[at].text);
  const indent = opening[1].length;
  const ordered = /\d/.test(opening[2]);
  const items = [];
  let inset = 0;
  let next = at;
  let end = at;
  let afterBlank = false;
  for (; next < lines.length; next += 1) {
    const { text } = lines[next];
    if (isBlank(text)) {
      afterBlank = true;
      continue;
    }
    const item = ITEM.exec(text);
    const depth = indentOf(text);
    const inner = next > at && (depth >= inset || (item && depth >= indent + 2));
    if (!inner && item && ordered === /\d/.test(item[2]) && !RULE.test(text)) {
      const padding = item[3].length > 4 ? 1 : Math.max(item[3].length, 1);
      inset = item[1].length + item[2].length + padding;
      items.push([text.slice(inset)]);
    } else if (inner || (!afterBlank && !beginsBlock(lines, next))) {
      if (afterBlank) items.at(-1).push("");
      items.at(-1).push(dedent(text, inset));
    } else {
      break;
    }
    afterBlank = false;
    end = next + 1;
  }
  const first = ordered ? Number.parseInt(opening[2], 10) : null;
  return { kind: "list", ordered, first, items: items.map((item) => item.join("\n")), next: end };
}

function readTable(lines, at) {
  const alignments = cellsOf(lines[at + 1].text).map((cell) => {
    if (/^:-+:$/.test(cell)) return "center";
    return /-:$/.test(cell) ? "right" : "left";
  });
  let next = at + 2;
  while (next < lines.length && !isBlank(lines[next].text) && !beginsBlock(lines, next)) next += 1;
  const rows = lines.slice(at + 2, next).map((line) => cellsOf(line.text).slice(0, alignments.length));
  return { kind: "table", alignments, header: cellsOf(lines[at].text), rows, next };
}

function readParagraph(lines, at) {
  let next = at + 1;
  while (next < lines.length && !isBlank(lines[next].text) && !beginsBlock(lines, next)) next += 1;
  const text = lines.slice(at, next).map((line) => line.text.trim());
  return { kind: "paragraph", text: text.join("\n"), next };
}

/** Whether this line ends a paragraph by beginning something else. */
function beginsBlock(lines, at) {
  const { text } = lines[at];
  if (HEADING.test(text) || RULE.test(text) || FENCE.test(text) || QUOTE.test(text)) return true;
  // A number with a dot may well begin a line of prose; only a 1 begins a list there.
  if (isItem(text) && !/^ *(?:[2-9]|\d\d)/.test(text)) return true;
  return beginsTable(lines, at);
}

function beginsTable(lines, at) {
  const below = lines[at + 1]?.text;
  if (below === undefined || !lines[at].text.includes("|") || !DELIMITERS.test(below)) return false;
  return cellsOf(lines[at].text).length === cellsOf(below).length;
}

function cellsOf(line) {
  const cells = line.trim().replace(/^\|/, "").split(/(?<!\\)\|/);
  if (cells.length > 1 && isBlank(cells.at(-1))) cells.pop();
  return cells.map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function isItem(text) {
  const item = ITEM.exec(text);
  return item !== null && item[1].length <= 3;
}

function isBlank(text) {
  return text.trim() === "";
}

function indentOf(text) {
  return text.length - text.trimStart().length;
}

function dedent(text, columns) {
  return text.slice(Math.min(columns, indentOf(text)));
}
