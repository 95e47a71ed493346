/** The hub's HTTP interface, as calls that return values or raise an `ApiError`. */

/** What the hub, or the way to it, answered instead of what was asked for. `status` is 0 when nothing answered. */
export class ApiError extends Error {
  constructor({ status, title, detail, retryAfter = null }) {
    super(detail || title);
    this.name = "ApiError";
    this.status = status;
    this.title = title;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get retryable() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export class Api {
  #keys;
  #askForKey;

  /**
   * @param keys A `KeyStore`.
   * @param askForKey Called on 401 with the key that was refused (or null). Resolves to true once another key is in
   *   the store, to false when the reader declines.
   */
  constructor(keys, askForKey) {
    this.#keys = keys;
    this.#askForKey = askForKey;
  }

  async info() {
    return this.#json("v1/info");
  }

  /** Whether the hub accepts `key`. */
  async accepts(key) {
    const response = await this.#fetch("v1/info", {}, key);
    return response.status !== 401;
  }

  /** Begin a stream; resolves to its id. */
  async start(request) {
    const { stream_id } = await this.#json("v1/streams", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
    });
    return stream_id;
  }

  /** Where the stream stands, without its events. */
  async state(streamId) {
    return this.#json(`v1/streams/${encodeURIComponent(streamId)}`);
  }

  async cancel(streamId) {
    await this.#send(`v1/streams/${encodeURIComponent(streamId)}`, { method: "DELETE" });
  }

  /**
   * The response whose body is the events behind `after` (-1: from the first), or an empty 204. With `snapshot` it is
   * everything so far as one event, then what follows, wherever the reader stands.
   */
  events(streamId, { after, snapshot, signal }) {
    const query = new URLSearchParams();
    if (snapshot) query.set("snapshot", "1");
    else if (after >= 0) query.set("after", after);
    return this.#send(`v1/streams/${encodeURIComponent(streamId)}/events?${query}`, {
      headers: { Accept: "text/event-stream" },
      signal,
    });
  }

  async #json(path, options) {
    const response = await this.#send(path, options);
    try {
      return await response.json();
    } catch {
      // The head came and the body didn't.
      throw unreachable();
    }
  }

  async #send(path, options = {}) {
    for (;;) {
      const key = this.#keys.get();
      const response = await this.#fetch(path, options, key);
      if (response.ok) return response;
      if (response.status !== 401) throw await problem(response);
      // Another call may have been answered with a new key while this one was under way.
      if (this.#keys.get() === key && !(await this.#askForKey(key))) throw await problem(response);
    }
  }

  async #fetch(path, options, key) {
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    try {
      // Relative to the page, so that a hub behind a path prefix works too.
      return await fetch(new URL(path, document.baseURI), { ...options, headers, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw unreachable();
    }
  }
}

function unreachable() {
  return new ApiError({ status: 0, title: "Unreachable", detail: "The hub could not be reached." });
}

async function problem(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy in between answers with a page of its own; the status has to do.
  }
  const seconds = Number(response.headers.get("Retry-After"));
  return new ApiError({
    status: response.status,
    title: body.title ?? `HTTP ${response.status}`,
    detail: typeof body.detail === "string" ? body.detail : "",
    retryAfter: seconds > 0 ? seconds : null,
  });
}
