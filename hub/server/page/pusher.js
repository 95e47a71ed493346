/**
 * The events of streams out of the messages of a Pusher channel: parts joined, repeats passed over, and whatever comes
 * before its turn held back. The counterpart of Python's `sinks.pusher.Assembler`. No clock, no DOM, no storage.
 */

import { place } from "./fold.js";

const CHUNK = "chunk";

export class Assembler {
  #chunks = new Map();
  #streams = new Map();
  #maxWaiting;
  #maxStreams;

  /** `maxWaiting` events, or parts of events, wait for others at most; `maxStreams` are remembered. */
  constructor({ maxWaiting = 1000, maxStreams = 100 } = {}) {
    this.#maxWaiting = maxWaiting;
    this.#maxStreams = maxStreams;
  }

  /** The events that may be read now that this message has come, in order. `data` is as `pusher-js` hands it over. */
  add(data) {
    if (data.type !== CHUNK) return this.addEvent(data);
    const whole = this.#joined(data);
    return whole === undefined ? [] : this.addEvent(JSON.parse(whole));
  }

  /** The events that may be read now that this one has come from elsewhere, in order. Throws when too many wait. */
  addEvent(event) {
    const stream = this.#stream(event.stream_id);
    // A snapshot may comprise the end, and yet does not stand for `done`: every reader gets that one.
    const isLate = event.seq <= stream.seq;
    if (stream.isDone || (isLate && event.type !== "done")) return [];
    if (isLate || place(stream.seq, event) === "next") return read(stream, event);
    // Too early; or it merges what is known with what is not, and a snapshot has to stand for it.
    const first = event.seq - (event.span ?? 1) + 1;
    if (!(stream.early.get(first)?.seq >= event.seq)) stream.early.set(first, event);
    if (stream.early.size > this.#maxWaiting) throw new Error(`Event ${stream.seq + 1} is missing.`);
    return [];
  }

  /**
   * First and last position that events which have come wait for, as `[first, last]`; null where none wait. A snapshot
   * at the last one, or later, lets them be read.
   */
  missing(streamId) {
    const stream = this.#streams.get(streamId);
    if (!stream?.early.size) return null;
    const first = Math.min(...stream.early.keys());
    return [stream.seq + 1, first > stream.seq + 1 ? first - 1 : stream.early.get(first).seq];
  }

  /** The streams of which events wait for others. */
  waiting() {
    return [...this.#streams.keys()].filter((streamId) => this.#streams.get(streamId).early.size);
  }

  #stream(streamId) {
    let stream = this.#streams.get(streamId);
    if (!stream) {
      if (this.#streams.size >= this.#maxStreams) {
        const known = [...this.#streams.keys()];
        this.#streams.delete(known.find((each) => this.#streams.get(each).isDone) ?? known[0]);
      }
      stream = { seq: -1, isDone: false, early: new Map() };
      this.#streams.set(streamId, stream);
    }
    return stream;
  }

  /** The whole that this was the last missing part of. */
  #joined({ id, index, count, data }) {
    const parts = this.#chunks.get(id) ?? new Map();
    this.#chunks.set(id, parts.set(index, data));
    if (parts.size === count) {
      this.#chunks.delete(id);
      return Array.from({ length: count }, (_, position) => parts.get(position)).join("");
    }
    let waiting = [...this.#chunks.values()].reduce((sum, each) => sum + each.size, 0);
    for (const [other, held] of this.#chunks) {
      // What is dropped will be missing, and is told as such.
      if (waiting <= Math.max(this.#maxWaiting, count)) break;
      if (other === id) continue;
      this.#chunks.delete(other);
      waiting -= held.size;
    }
    return undefined;
  }
}

/** This event, and those that waited for it. */
function read(stream, event) {
  const ready = [];
  for (let next = event; next; next = stream.early.get(next.seq + 1)) {
    stream.early.delete(next.seq - (next.span ?? 1) + 1);
    ready.push(next);
  }
  stream.seq = ready.at(-1).seq;
  for (const [first, early] of stream.early) {
    if (early.seq > stream.seq) continue;
    stream.early.delete(first);
    if (early.type === "done") ready.push(early);
  }
  stream.isDone = ready.at(-1).type === "done";
  return ready;
}

/**
 * Calls `onEvent` with each event of a channel of `pusher-js`, in order and once; `onGap(streamId, first, last)` where
 * some are missing, which `assembler.addEvent` may be given from elsewhere. Returns a function that ends it.
 */
export function readChannel(channel, onEvent, { onGap = () => {}, assembler = new Assembler() } = {}) {
  const gaps = new Map();
  const take = (name, data) => {
    // Pusher's own events, and whatever else an application sends on the channel.
    if (name.startsWith("pusher") || (data?.type !== CHUNK && typeof data?.stream_id !== "string")) return;
    assembler.add(data).forEach(onEvent);
    for (const streamId of assembler.waiting()) {
      const [first, last] = assembler.missing(streamId);
      // Once for each: what fills it takes a while, and further events come meanwhile.
      if (gaps.get(streamId) === `${first}-${last}`) continue;
      gaps.set(streamId, `${first}-${last}`);
      onGap(streamId, first, last);
    }
  };
  channel.bind_global(take);
  return () => channel.unbind_global(take);
}
