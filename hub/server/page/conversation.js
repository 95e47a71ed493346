/**
 * The turns of the chat, kept in this browser and shared by its tabs.
 *
 * The list of turns lies under one key and is written only when the reader acts; each answer lies under a key of its
 * own, so two tabs that follow the same answer never write over each other's turns.
 */

import { Answer } from "./answer.js";
import { textOf } from "./fold.js";

const TURNS = "hub.turns";
const ANSWER = "hub.answer.";
/** How often a running answer is written down. */
const SAVE_INTERVAL_MS = 1000;

export class Conversation {
  #storage;
  #turns = [];
  #unsaved = new Set();
  #timer = null;
  #onFull;

  /**
   * @param storage A `SafeStorage`.
   * @param onChange Called when another tab changed something.
   * @param onFull Called when something couldn't be kept.
   */
  constructor(storage, { onChange, onFull }) {
    this.#storage = storage;
    this.#onFull = onFull;
    this.#load();
    window.addEventListener("storage", (event) => {
      if (event.key !== TURNS && event.key !== null) return;
      this.#load();
      onChange();
    });
    window.addEventListener("pagehide", () => this.flush());
    document.addEventListener("visibilitychange", () => document.hidden && this.flush());
  }

  /** `{prompt, answer}` each, oldest first. */
  get turns() {
    return this.#turns;
  }

  /** One more turn, after what other tabs have added meanwhile. */
  add(turn) {
    this.#load();
    this.#turns = [...this.#turns, turn];
    this.#saveTurns();
  }

  /** The last question was asked again: its old answer goes. */
  replaceLast(turn) {
    this.#drop(this.#turns.at(-1).answer);
    this.#turns = this.#turns.with(-1, turn);
    this.#saveTurns();
  }

  /** Forget everything; returns the turns, for `restore`. */
  clear() {
    const turns = this.#turns;
    turns.forEach((turn) => this.#drop(turn.answer));
    this.#turns = [];
    this.#saveTurns();
    return turns;
  }

  restore(turns) {
    this.#turns = turns;
    this.#saveTurns();
    turns.forEach((turn) => this.#unsaved.add(turn.answer));
    this.flush();
  }

  /** The messages of a request that continues the chat with `prompt` after `turns`. */
  static messages(turns, prompt) {
    const messages = [];
    for (const turn of turns) {
      say(messages, "user", turn.prompt);
      say(messages, "assistant", textOf(turn.answer.folded));
    }
    say(messages, "user", prompt);
    return messages;
  }

  /** Write this answer down soon, or now that it is over. */
  keep(answer) {
    this.#unsaved.add(answer);
    if (answer.open) this.#timer ??= setTimeout(() => this.flush(), SAVE_INTERVAL_MS);
    else this.flush();
  }

  /** Write down what `keep` was told, now. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const known = new Set(this.#turns.map((turn) => turn.answer));
    for (const answer of this.#unsaved) if (known.has(answer)) this.#saveAnswer(answer);
    this.#unsaved.clear();
  }

  #load() {
    const answers = new Map(this.#turns.map(({ answer }) => [answer.streamId, answer]));
    const stored = this.#storage.get(TURNS);
    if (!Array.isArray(stored)) {
      this.#turns = [];
      return;
    }
    this.#turns = stored.map((turn) => ({
      prompt: turn.prompt,
      answer:
        answers.get(turn.streamId) ??
        new Answer(turn.streamId, { askedAt: turn.askedAt, saved: this.#storage.get(ANSWER + turn.streamId) }),
    }));
  }

  #saveTurns() {
    const turns = this.#turns.map(({ prompt, answer }) => ({
      prompt,
      streamId: answer.streamId,
      askedAt: answer.timing.askedAt,
    }));
    if (!this.#storage.set(TURNS, turns)) this.#onFull();
  }

  #saveAnswer(answer) {
    const key = ANSWER + answer.streamId;
    // A tab that lags must not take back what another has already written.
    if ((this.#storage.get(key)?.folded.seq ?? -1) > answer.folded.seq) return;
    if (!this.#storage.set(key, answer.saved(Date.now()))) this.#onFull();
  }

  #drop(answer) {
    this.#unsaved.delete(answer);
    this.#storage.remove(ANSWER + answer.streamId);
  }
}

/** Some endpoints insist that roles alternate, so a question whose answer failed joins the next one. */
function say(messages, role, content) {
  if (!content) return;
  const last = messages.at(-1);
  if (last?.role === role) last.content += `\n\n${content}`;
  else messages.push({ role, content });
}
