/** The events of one stream as they arrive, one row each; memory and DOM stay bounded. */

import { copyText } from "./code-block.js";
import { h, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";
import { nextFrame } from "./frames.js";

/** Events kept; older ones are still in the hub's log. */
const MAX_KEPT = 5000;
/** Rows in the page. */
const MAX_ROWS = 250;
/** Ten times a second is live enough for rows, and leaves the frames to the answer. */
const DRAW_INTERVAL_MS = 100;
const NEAR_PX = 24;

export class Inspector {
  #panel;
  #toggle;
  #ui;
  #streamId = null;
  #entries = [];
  #counts = new Map();
  #chosen = new Set();
  #rows = [];
  #drawnUpTo = 0;
  #total = 0;
  #following = true;
  #replay = null;
  #readLog;
  #timer = null;
  #draw = () => this.#drawNow();

  /**
   * @param ui Elements: `panel`, `toggle`, `close`, `copy`, `replay`, `stream`, `filters`, `list`, `summary`, `empty`.
   * @param readLog Reads a stream from its first event: `(streamId, signal, onEvent)`.
   */
  constructor(ui, readLog) {
    this.#ui = ui;
    this.#panel = ui.panel;
    this.#toggle = ui.toggle;
    this.#readLog = readLog;
    ui.toggle.addEventListener("click", () => this.open(this.#panel.hidden));
    ui.close.addEventListener("click", () => this.open(false));
    ui.copy.addEventListener("click", () => this.#copy());
    ui.replay.addEventListener("click", () => this.#readFromStart());
    ui.list.addEventListener("scroll", () => {
      this.#following = ui.list.scrollHeight - ui.list.scrollTop - ui.list.clientHeight < NEAR_PX;
    });
  }

  open(open) {
    const focusWasInside = this.#panel.contains(document.activeElement);
    this.#panel.hidden = !open;
    setAttribute(this.#toggle, "aria-expanded", String(open));
    if (!open && focusWasInside) this.#toggle.focus();
    this.#following = true;
    nextFrame(this.#draw);
  }

  /** Look at this stream from now on; null for none. */
  show(streamId) {
    if (streamId === this.#streamId) return;
    this.#replay?.abort();
    this.#replay = null;
    this.#streamId = streamId;
    this.#reset();
  }

  /** An event has arrived, `json` as it came. */
  record(streamId, event, json) {
    if (streamId === this.#streamId && !this.#replay) this.#add(event, json);
  }

  #add(event, json) {
    this.#entries.push({ event, json, at: Date.now() });
    this.#total += 1;
    if (this.#entries.length > MAX_KEPT * 1.2) this.#entries = this.#entries.slice(-MAX_KEPT);
    this.#counts.set(event.type, (this.#counts.get(event.type) ?? 0) + 1);
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      nextFrame(this.#draw);
    }, DRAW_INTERVAL_MS);
  }

  #reset() {
    this.#entries = [];
    this.#counts.clear();
    this.#chosen.clear();
    this.#total = 0;
    this.#ui.filters.replaceChildren();
    this.#redraw();
  }

  #redraw() {
    this.#rows.splice(0).forEach((row) => row.remove());
    this.#drawnUpTo = 0;
    this.#following = true;
    nextFrame(this.#draw);
  }

  async #readFromStart() {
    this.#replay?.abort();
    const replay = new AbortController();
    this.#reset();
    this.#replay = replay;
    await this.#readLog(this.#streamId, replay.signal, (event, json) => {
      if (this.#replay === replay) this.#add(event, json);
    });
    // The hub no longer had it: then what arrives otherwise is shown.
    if (this.#replay === replay && this.#total === 0) this.#replay = null;
    nextFrame(this.#draw);
  }

  #drawNow() {
    if (this.#panel.hidden) return;
    const drawn = this.#entries.length - (this.#total - this.#drawnUpTo);
    const fresh = this.#entries
      .slice(Math.max(drawn, 0))
      .filter(({ event }) => !this.#chosen.size || this.#chosen.has(event.type));
    this.#drawnUpTo = this.#total;
    const rows = fresh.slice(-MAX_ROWS).map((entry) => row(entry, this.#entries[0].at));
    this.#rows.push(...rows);
    this.#ui.list.append(...rows);
    this.#rows.splice(0, this.#rows.length - MAX_ROWS).forEach((old) => old.remove());
    this.#drawFilters();
    this.#drawSummary();
    // Last, since a new row of filters makes the list lower.
    if (this.#following) this.#ui.list.scrollTop = this.#ui.list.scrollHeight;
  }

  #drawFilters() {
    for (const [type, number] of this.#counts) {
      let button = this.#ui.filters.querySelector(`[data-type="${CSS.escape(type)}"]`);
      if (!button) {
        button = h("button", { type: "button", class: "filter", "data-type": type }, h("span", {}, type), h("b"));
        button.addEventListener("click", () => this.#filter(type));
        this.#ui.filters.append(button);
      }
      setText(button.lastChild, count(number));
      setAttribute(button, "aria-pressed", String(this.#chosen.has(type)));
    }
  }

  #filter(type) {
    if (!this.#chosen.delete(type)) this.#chosen.add(type);
    this.#redraw();
  }

  #drawSummary() {
    const chosen = this.#chosen.size ? [...this.#chosen] : [...this.#counts.keys()];
    const matching = chosen.reduce((sum, type) => sum + (this.#counts.get(type) ?? 0), 0);
    const shown = this.#rows.length;
    const all = matching === 1 ? "1 event" : `${count(matching)} events`;
    setText(this.#ui.summary, shown < matching ? `The last ${count(shown)} of ${all}` : all);
    setText(this.#ui.stream, this.#streamId ?? "no stream yet");
    const first = this.#entries[0]?.event;
    const begins = first !== undefined && first.seq - (first.span ?? 1) < 0;
    this.#ui.replay.hidden = !this.#streamId || begins || this.#replay !== null;
    this.#ui.empty.hidden = this.#total > 0;
    this.#ui.copy.disabled = this.#total === 0;
  }

  async #copy() {
    const copied = await copyText(this.#entries.map(({ json }) => json).join("\n"));
    setText(this.#ui.summary, copied ? "Copied as JSON lines" : "Could not copy");
  }
}

function row({ event, json, at }, since) {
  const { type, stream_id: _streamId, seq, span, ...own } = event;
  const body = h("pre", { tabindex: "0" });
  const details = h(
    "details",
    {},
    h(
      "summary",
      {},
      h("span", { class: "row-seq" }, span > 1 ? `${seq - span + 1}–${seq}` : String(seq)),
      h("span", { class: "row-type" }, type),
      h("span", { class: "row-json" }, JSON.stringify(own)),
      h("span", { class: "row-at" }, `${((at - since) / 1000).toFixed(2)}`),
    ),
    body,
  );
  // The full JSON costs more than the row, and few rows are opened.
  details.addEventListener("toggle", () => setText(body, JSON.stringify(JSON.parse(json), null, 2)), { once: true });
  return h("li", { "data-testid": "inspector-row", "data-type": type, "data-seq": String(seq) }, details);
}
