/** What runs on this page: the question the hub has yet to accept, and the answers being read. */

import { Answer } from "./answer.js";
import { ApiError } from "./api.js";
import { Conversation } from "./conversation.js";

export class Chat {
  #api;
  #conversation;
  #lone;
  #on;
  /** `{turn, again, settled}`: the turn that the hub has yet to accept; `again` where it replaces the last one. */
  #pending = null;
  /** The readings under way: answer to AbortController. */
  #readings = new Map();

  /**
   * @param lone A turn to show instead of the conversation, or null.
   * @param on Called as things happen: `turns()` when there are others, `answer(answer)` when one has changed,
   *   `event(streamId, event, json)` for each that arrives.
   */
  constructor(api, conversation, lone, on) {
    this.#api = api;
    this.#conversation = conversation;
    this.#lone = lone;
    this.#on = on;
  }

  /** `{prompt, answer}` each, oldest first; the prompt is null where it isn't known. */
  get turns() {
    if (this.#lone) return [this.#lone];
    if (!this.#pending) return this.#conversation.turns;
    const { turn, again } = this.#pending;
    return [...this.#before(again), turn];
  }

  /** The answers to which more may come. */
  get open() {
    return this.turns.map(({ answer }) => answer).filter((answer) => answer.open);
  }

  /** Whether the hub has yet to accept a question. */
  get pending() {
    return this.#pending !== null;
  }

  /** Read what is open, leave what is gone, and let the page show the rest. */
  refresh() {
    const wanted = new Set(this.turns.map(({ answer }) => answer));
    for (const [answer, controller] of this.#readings) if (!wanted.has(answer)) controller.abort();
    for (const answer of this.open) if (answer.streamId && !this.#readings.has(answer)) this.#read(answer);
    this.#on.turns();
  }

  /**
   * Ask the hub; `again` replaces the last answer instead of adding a turn.
   *
   * @param options Further fields of the request.
   * @throws ApiError when the hub doesn't take the question; then nothing has changed.
   */
  async ask(prompt, options, { again = false } = {}) {
    if (this.open.length) return;
    const turn = { prompt, answer: new Answer(null, { askedAt: Date.now(), fresh: true }) };
    this.#pending = { turn, again };
    const starting = this.#start(turn, again, options);
    this.#pending.settled = starting.catch(() => {});
    await starting;
  }

  async #start(turn, again, options) {
    const messages = Conversation.messages(this.#before(again), turn.prompt);
    this.refresh();
    try {
      turn.answer.begin(await this.#api.start({ messages, ...options }));
      if (again) this.#conversation.replaceLast(turn);
      else this.#conversation.add(turn);
    } finally {
      this.#pending = null;
      this.refresh();
    }
  }

  /** Read the last answer again where the hub refused to go on, else ask its question again. */
  async retry(options) {
    const { prompt, answer } = this.turns.at(-1);
    if (answer.refused === null) return this.ask(prompt, options, { again: true });
    answer.refused = null;
    this.refresh();
  }

  /**
   * Stop what runs. The hub ends the stream, and its end arrives like any event.
   *
   * @throws ApiError when the hub can't be told.
   */
  async stop() {
    // Until the hub has accepted the question, there is no stream to stop.
    await this.#pending?.settled;
    await Promise.all(this.open.map((answer) => this.#cancel(answer)));
  }

  /** Begin anew; returns a function that brings the old turns back. */
  clear() {
    // Nobody is going to read the rest, and whether the hub hears of it changes nothing here.
    for (const answer of this.open) this.#cancel(answer).catch(() => {});
    const turns = this.#conversation.clear();
    this.refresh();
    return () => {
      this.#conversation.restore(turns);
      this.refresh();
    };
  }

  #before(again) {
    return again ? this.#conversation.turns.slice(0, -1) : this.#conversation.turns;
  }

  async #cancel(answer) {
    try {
      await this.#api.cancel(answer.streamId);
    } catch (error) {
      // That the hub doesn't have the stream, whoever reads it finds out and says.
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    }
  }

  async #read(answer) {
    const controller = new AbortController();
    this.#readings.set(answer, controller);
    await answer.read(this.#api, {
      signal: controller.signal,
      onEvent: (event, json) => this.#on.event(answer.streamId, event, json),
      onChange: () => {
        if (!this.#lone) this.#conversation.keep(answer);
        this.#on.answer(answer);
      },
    });
    this.#readings.delete(answer);
    this.refresh();
  }
}
