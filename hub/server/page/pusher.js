/**
 * The events of streams out of the messages of a Pusher channel: parts joined, repeats passed over, and whatever comes
 * before its turn held back. `Assembler` is the counterpart of Python's `sinks.pusher.Assembler`: no clock, no network.
 * `catchUpFrom` asks a hub for what the channel did not bring. No DOM, no storage.
 */

import { place } from "./fold.js";
import { CutError, connectionOf, readFrames } from "./sse.js";

const CHUNK = "chunk";
const MAX_PARTS = 100_000;
/** What a part weighs beside its data. */
const PART_CHARS = 100;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 15_000;

export class Assembler {
  #parts = new Map();
  #streams = new Map();
  #maxWaiting;
  #maxPartChars;
  #maxStreams;

  /**
   * `maxWaiting` events wait for others at most, and parts of several events, of which one may have more; those parts
   * have `maxPartChars` characters at most. `maxStreams` are remembered.
   */
  constructor({ maxWaiting = 1000, maxPartChars = 32_000_000, maxStreams = 100 } = {}) {
    this.#maxWaiting = maxWaiting;
    this.#maxPartChars = maxPartChars;
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
    // Too early; or it merges what is known with what is not, and something else has to stand for it.
    const first = event.seq - (event.span ?? 1) + 1;
    if (!(stream.early.get(first)?.seq >= event.seq)) stream.early.set(first, event);
    if (stream.early.size > this.#maxWaiting) throw new Error(`Event ${stream.seq + 1} is missing.`);
    return [];
  }

  /** The last position that was read of this stream; -1 for none. */
  position(streamId) {
    return this.#streams.get(streamId)?.seq ?? -1;
  }

  /** Whether this stream's `done` was read, behind which nothing comes. */
  isDone(streamId) {
    return this.#streams.get(streamId)?.isDone ?? false;
  }

  /**
   * First and last position that events which have come wait for, as `[first, last]`; null where none wait. The events
   * at these let them be read, or a snapshot at the last one, or later. Where the first of them merges what was read
   * with what was not, these are the positions of it that were not.
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
    const held = this.#parts.get(id) ?? { count, texts: new Map(), size: 0 };
    if (!isPart(index, count, data) || held.count !== count) {
      throw new Error(`Part ${index} of ${count} is none of its event.`);
    }
    if (!held.texts.has(index)) held.size += data.length + PART_CHARS;
    this.#parts.set(id, held).get(id).texts.set(index, data);
    if (held.texts.size === count) {
      this.#parts.delete(id);
      return Array.from({ length: count }, (_, position) => held.texts.get(position)).join("");
    }
    let [waiting, size] = [0, 0];
    for (const each of this.#parts.values()) [waiting, size] = [waiting + each.texts.size, size + each.size];
    for (const [other, { texts, size: chars }] of this.#parts) {
      // What is dropped will be missing, and is told as such.
      if (waiting <= this.#maxWaiting && size <= this.#maxPartChars) break;
      if (other === id) continue;
      this.#parts.delete(other);
      [waiting, size] = [waiting - texts.size, size - chars];
    }
    if (size <= this.#maxPartChars) return undefined;
    this.#parts.delete(id);
    throw new Error(`The parts of an event have more than ${this.#maxPartChars} characters.`);
  }
}

function isPart(index, count, data) {
  const isNumbered = Number.isInteger(index) && Number.isInteger(count) && index >= 0 && index < count;
  return isNumbered && count <= MAX_PARTS && typeof data === "string";
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
 * some are missing, which `assembler.addEvent` may be given from elsewhere: `catchUpFrom` makes one that asks a hub.
 * Returns a function that ends it.
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

/**
 * A function `catchUp(streamId)` that asks a hub for what the channel did not bring, and hands it to `onEvent` in its
 * turn: one `snapshot` of everything so far, or the single events where it is known which are missing; then those up to
 * the first that came on the channel meanwhile, and the `done` of a stream that has ended. What follows comes on the
 * channel. It asks once at a time for each stream, again with growing pauses while the hub can't be reached, and not at
 * all behind `done`. Its promise rejects where asking again is no use (401, 403, 404).
 *
 * @param hub The hub's address, such as "https://hub.example".
 * @param headers Go with each request: the key.
 * @param assembler The one that `readChannel` has.
 * @param onEvent The one that `readChannel` has.
 * @param signal Ends it; nothing is called afterwards.
 */
export function catchUpFrom(hub, { assembler, onEvent, headers = {}, signal = new AbortController().signal }) {
  const underWay = new Map();
  const reader = { assembler, onEvent, headers, signal };

  const run = async (streamId) => {
    let retry = FIRST_RETRY_MS;
    try {
      while (!signal.aborted && !assembler.isDone(streamId)) {
        const before = assembler.position(streamId);
        const end = await readFrom(hub, streamId, reader);
        // Nothing is awaited behind this: a message that comes later finds this run at an end, and begins another.
        if (end === "over" || (end === "joined" && !assembler.missing(streamId))) return;
        if (end === "joined") continue;
        if (assembler.position(streamId) > before) retry = FIRST_RETRY_MS;
        await pause(retry * (0.75 + Math.random() / 2), signal);
        retry = Math.min(retry * 2, MAX_RETRY_MS);
      }
    } finally {
      underWay.delete(streamId);
    }
  };

  return (streamId) => {
    if (!underWay.has(streamId)) underWay.set(streamId, run(streamId));
    return underWay.get(streamId);
  };
}

/** Reads from the hub until the channel goes on ("joined"), nothing follows ("over") or the line breaks ("cut"). */
async function readFrom(hub, streamId, { assembler, onEvent, headers, signal }) {
  const connection = connectionOf(signal);
  try {
    const response = await ask(addressOf(hub, streamId, assembler), headers, connection.signal);
    if (response === null) return "cut";
    if (response.status === 204) return "over";
    for await (const { data } of readFrames(response, connection.alive)) {
      if (signal.aborted) return "over";
      if (data === null) continue;
      const event = JSON.parse(data);
      const isAwaited = assembler.missing(streamId) !== null;
      // What is new comes on the channel too, maybe merged with what follows, and could not be taken out of that.
      if (!isAwaited && event.type !== "snapshot" && event.type !== "done") return "joined";
      assembler.addEvent(event).forEach(onEvent);
      if (assembler.isDone(streamId)) return "over";
      if (isAwaited && !assembler.missing(streamId)) return "joined";
    }
    return "cut";
  } catch (error) {
    if (error instanceof CutError) return "cut";
    throw error;
  } finally {
    connection.end();
  }
}

function addressOf(hub, streamId, assembler) {
  const url = new URL(`v1/streams/${encodeURIComponent(streamId)}/events`, hub.endsWith("/") ? hub : `${hub}/`);
  const after = assembler.position(streamId);
  url.searchParams.set("after", after);
  // Where a few events are missing behind what was read, they are less than the whole.
  if (after < 0 || !assembler.missing(streamId)) url.searchParams.set("snapshot", "1");
  return url;
}

/** The hub's answer; null where another may come later. */
async function ask(url, headers, signal) {
  let response;
  try {
    response = await fetch(url, { headers: { ...headers, Accept: "text/event-stream" }, cache: "no-store", signal });
  } catch {
    return null;
  }
  const { status } = response;
  if (response.ok) return response;
  if (status === 408 || status === 429 || status >= 500) return null;
  throw new Error(`The hub answers ${status} for ${url.pathname}.`);
}

/** Wait, but not once the signal fires. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end, { once: true });
  });
}
