/** Server-sent events: bytes to frames. EventSource can't send a key, so the page reads them by `fetch`. */

/** Three heartbeats: a connection this quiet is dead, though nobody told the browser. */
const SILENCE_MS = 45_000;

/** The connection broke while a body was being read. */
export class CutError extends Error {
  constructor(cause) {
    super("The connection was cut.", { cause });
    this.name = "CutError";
  }
}

/** Collects text of any slicing into frames `{event, data, id, retry}`; `data` is null where a frame has none. */
export class FrameDecoder {
  #rest = "";
  #frame = blank();

  /** The frames that `text` completes. */
  push(text) {
    this.#rest += text;
    const frames = [];
    let start = 0;
    for (;;) {
      const line = nextLine(this.#rest, start);
      if (line === null) break;
      start = line.next;
      if (line.text === "") {
        frames.push(this.#frame);
        this.#frame = blank();
      } else {
        this.#field(line.text);
      }
    }
    this.#rest = this.#rest.slice(start);
    return frames.filter((frame) => frame.data !== null || frame.retry !== null);
  }

  #field(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#frame.data = this.#frame.data === null ? value : `${this.#frame.data}\n${value}`;
    else if (name === "event") this.#frame.event = value;
    else if (name === "id") this.#frame.id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.#frame.retry = Number(value);
  }
}

/**
 * Yields the frames of a response's body; `onBytes` is called at every read, so also for heartbeats.
 *
 * @throws CutError when the body breaks off instead of ending.
 */
export async function* readFrames(response, onBytes) {
  const reader = response.body.getReader();
  const text = new TextDecoder();
  const decoder = new FrameDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause) => {
        throw new CutError(cause);
      });
      if (done) return;
      onBytes();
      yield* decoder.push(text.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * A connection's own signal, which also fires when nothing arrives for too long: `alive` says that something has, `end`
 * that the connection is no longer needed.
 */
export function connectionOf(signal) {
  const controller = new AbortController();
  const stop = () => controller.abort();
  let timer = setTimeout(stop, SILENCE_MS);
  signal.addEventListener("abort", stop, { once: true });
  return {
    signal: controller.signal,
    alive() {
      clearTimeout(timer);
      timer = setTimeout(stop, SILENCE_MS);
    },
    end() {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      controller.abort();
    },
  };
}

function blank() {
  return { event: null, data: null, id: null, retry: null };
}

function nextLine(text, start) {
  const cr = text.indexOf("\r", start);
  const lf = text.indexOf("\n", start);
  if (cr < 0 && lf < 0) return null;
  if (cr < 0 || (lf >= 0 && lf < cr)) return { text: text.slice(start, lf), next: lf + 1 };
  // A CR at the end of what has arrived may be half of a CRLF.
  if (cr + 1 === text.length) return null;
  return { text: text.slice(start, cr), next: text[cr + 1] === "\n" ? cr + 2 : cr + 1 };
}
