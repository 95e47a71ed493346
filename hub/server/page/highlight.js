/**
 * Colours in code without a single element more: ranges handed to the browser's highlight registry.
 *
 * One small grammar serves most languages. Where the browser has no registry, code stays in one colour.
 */

const KEYWORDS = new Set(
  `abstract and as assert async await begin break case catch class const continue def default defer del do done elif else
  elsif end enum esac except export extends extern false fi final finally fn for foreach from func function go goto if
  impl implements import in include instanceof interface is lambda let local loop match mod module move mut namespace new
  nil none nonlocal not null of or override package pass private protected pub public raise readonly record require
  return select self set static struct super switch then this throw throws trait true try type typeof undefined union
  unless until use using var virtual void when where while with yield`.split(/\s+/),
);
const SQL = new Set(
  `alter and as asc between by case create delete desc distinct drop else end exists from group having in index inner
  insert into is join key left like limit not null on or order outer primary references right select set table then
  union unique update values view when where with`.split(/\s+/),
);

const HASH_COMMENTS = /^(py|python|rb|ruby|sh|bash|shell|zsh|fish|console|ya?ml|toml|ini|r|perl|pl|make|makefile|docker|dockerfile|elixir|nix|conf|env)$/;
const DASH_COMMENTS = /^(sql|lua|haskell|hs|elm|ada|vhdl)$/;
const PLAIN = /^(|te?xt|text|plain|plaintext|md|markdown|diff|patch|csv|log|output|http|html|xml|svg)$/;

const STRING = String.raw`"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\[^]|[^"\\\n])*"?|'(?:\\[^]|[^'\\\n])*'?|${"`"}(?:\\[^]|[^${"`"}\\])*${"`"}?`;
const REST = String.raw`(?<number>\b(?:0[xob][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\b)|(?<word>[\p{L}_$@][\p{L}\p{N}_$]*)(?<call>\s*\()?`;

/** Past this a block is data more than code. */
const MAX_LENGTH = 50_000;

/** Colour the text node `node`, whose text won't change any more. */
export function highlight(node, language) {
  const name = language.toLowerCase();
  if (typeof Highlight === "undefined" || PLAIN.test(name) || node.length > MAX_LENGTH) return;
  for (const { kind, start, end } of tokens(node.data, name)) {
    const range = new StaticRange({ startContainer: node, startOffset: start, endContainer: node, endOffset: end });
    if (!CSS.highlights.has(`code-${kind}`)) CSS.highlights.set(`code-${kind}`, new Highlight());
    CSS.highlights.get(`code-${kind}`).add(range);
  }
}

/** The coloured stretches of `code`: `{kind, start, end}` with kind comment, string, number, keyword or call. */
export function* tokens(code, language) {
  const words = /sql/.test(language) ? SQL : KEYWORDS;
  for (const match of code.matchAll(grammar(language))) {
    const { comment, string, number, word, call } = match.groups;
    const start = match.index;
    if (comment !== undefined) yield { kind: "comment", start, end: start + comment.length };
    else if (string !== undefined) yield { kind: "string", start, end: start + string.length };
    else if (number !== undefined) yield { kind: "number", start, end: start + number.length };
    else if (words.has(words === SQL ? word.toLowerCase() : word.replace(/^(None|True|False)$/, lower)))
      yield { kind: "keyword", start, end: start + word.length };
    else if (call !== undefined || word[0] === "@") yield { kind: "call", start, end: start + word.length };
  }
}

function grammar(language) {
  let comment = String.raw`\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)`;
  if (HASH_COMMENTS.test(language)) comment = String.raw`(?<!\S)#[^\n]*`;
  if (DASH_COMMENTS.test(language)) comment = String.raw`--[^\n]*`;
  return new RegExp(`(?<comment>${comment})|(?<string>${STRING})|${REST}`, "gu");
}

function lower(word) {
  return word.toLowerCase();
}
