/** One answer while it lives: its fold, its timing and how the reading of it goes. */

import { ApiError } from "./api.js";
import { emptyAnswer, fold, fromResult } from "./fold.js";
import { follow } from "./follow.js";
import { newTiming, observe, rejoined, watched } from "./timing.js";

export class Answer {
  /** The folded events. Replaced at every event, never changed. */
  folded;
  timing;
  /** "idle", "live", "reconnecting" or "offline". */
  phase = "idle";
  /** Whether the hub lost the stream before it ended. */
  interrupted = false;
  /** A sentence where the hub refuses to go on reading, e.g. for want of a key. */
  refused = null;
  #fresh;

  /**
   * @param streamId Null until the hub has accepted the question; see `begin`.
   * @param askedAt When this reader asked, null for someone else's stream.
   * @param saved What `saved()` returned in an earlier page, or null.
   * @param fresh Whether this page asked just now.
   */
  constructor(streamId, { askedAt = null, saved = null, fresh = false } = {}) {
    this.streamId = streamId;
    this.folded = saved?.folded ?? emptyAnswer(streamId);
    this.timing = saved?.timing ?? newTiming(askedAt);
    this.interrupted = saved?.interrupted ?? false;
    this.#fresh = fresh;
  }

  /** The hub has accepted the question, under this id. */
  begin(streamId) {
    this.streamId = streamId;
    this.folded = emptyAnswer(streamId);
  }

  /** `running`, `reconnecting`, `completed`, `cancelled`, `failed` or `interrupted`. */
  get status() {
    if (this.interrupted) return "interrupted";
    if (this.folded.status !== "running") return this.folded.status;
    if (this.refused) return "failed";
    return this.phase === "reconnecting" || this.phase === "offline" ? "reconnecting" : "running";
  }

  /** Whether more may come. */
  get open() {
    return this.status === "running" || this.status === "reconnecting";
  }

  /** What a later page needs to go on from here. */
  saved(now) {
    const timing = this.phase === "live" ? watched(this.timing, now) : this.timing;
    return { folded: this.folded, timing, interrupted: this.interrupted };
  }

  /**
   * Read to the end.
   *
   * @param onEvent Called with each event and its JSON, after it was folded.
   * @param onChange Called after anything shown has changed.
   */
  async read(api, { signal, onEvent, onChange }) {
    try {
      const outcome = await follow(api, this.streamId, {
        signal,
        position: () => this.folded.seq,
        onEvent: (event, json) => {
          this.timing = observe(this.timing, event, Date.now());
          this.folded = fold(this.folded, event);
          onEvent(event, json);
          onChange();
        },
        onPhase: (phase) => {
          this.#turn(phase);
          onChange();
        },
      });
      if (outcome === "closed") await this.#finish(api);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 404) this.interrupted = true;
      else this.refused = error.message;
    }
    if (signal.aborted) return;
    this.phase = "idle";
    onChange();
  }

  #turn(phase) {
    const now = Date.now();
    if (this.phase === "live") this.timing = watched(this.timing, now);
    // The first connection of the page that asked has missed nothing.
    if (phase === "live" && !this.#fresh) this.timing = rejoined(this.timing, now);
    this.#fresh = false;
    this.phase = phase;
  }

  /** The hub has nothing more, though no end was seen: ask how it ended. */
  async #finish(api) {
    const result = await api.state(this.streamId);
    const whole = this.folded.parts.length ? this.folded : fromResult(this.folded, result);
    this.folded = {
      ...whole,
      seq: result.last_seq,
      status: result.status === "running" ? "completed" : result.status,
      usage: result.usage ?? whole.usage,
      error: result.error ?? whole.error,
      finishReason: result.finish_reason ?? whole.finishReason,
    };
  }
}
