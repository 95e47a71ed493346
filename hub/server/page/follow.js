/** Reads a stream to its end over as many connections as that takes, each event exactly once. */

import { isLast, place } from "./fold.js";
import { CutError, connectionOf, readFrames } from "./sse.js";

const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 15_000;

/**
 * Follow a stream to its end.
 *
 * @param api An `Api`.
 * @param position Returns the `seq` of the last event the reader has, -1 for none.
 * @param signal Ends the reading; nothing is called afterwards.
 * @param onEvent Called in order with each new event and its JSON as it arrived.
 * @param onPhase Called with "live", "reconnecting" or "offline".
 * @returns "done" or "aborted"; "closed" when the hub says that nothing lies behind `position`.
 * @throws ApiError where trying again is no use (404: the hub doesn't have the stream).
 */
export async function follow(api, streamId, { position, signal, onEvent, onPhase }) {
  let retry = FIRST_RETRY_MS;
  let failures = 0;
  let snapshot = false;
  while (!signal.aborted) {
    const connection = connectionOf(signal);
    let atLeast = 0;
    try {
      const response = await api.events(streamId, { after: position(), snapshot, signal: connection.signal });
      if (response.status === 204) return "closed";
      onPhase("live");
      for await (const frame of readFrames(response, connection.alive)) {
        if (signal.aborted) return "aborted";
        retry = frame.retry ?? retry;
        if (frame.data === null) continue;
        const event = JSON.parse(frame.data);
        const placed = place(position(), event);
        if (placed === "repeat") continue;
        snapshot = placed === "gap";
        if (snapshot) break;
        failures = 0;
        onEvent(event, frame.data);
        if (isLast(event)) return "done";
      }
    } catch (error) {
      if (signal.aborted) return "aborted";
      // The hub has less than this reader, who must have read what its store then lost.
      const ahead = error.status === 400 && position() >= 0 && !snapshot;
      const passing = error instanceof CutError || error.name === "AbortError" || error.retryable;
      if (!passing && !ahead) throw error;
      snapshot ||= ahead;
      atLeast = (error.retryAfter ?? 0) * 1000;
    } finally {
      connection.end();
    }
    onPhase(navigator.onLine ? "reconnecting" : "offline");
    await pause(Math.max(atLeast, delay(retry, failures)), signal);
    failures += 1;
  }
  return "aborted";
}

/** Doubled with each failure, and spread so that a hub coming back isn't met by every page at once. */
function delay(retry, failures) {
  return Math.min(retry * 2 ** failures, MAX_RETRY_MS) * (0.75 + Math.random() / 2);
}

/** Wait, but not once the network or the reader is back. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const end = () => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    const options = { signal: over.signal };
    signal.addEventListener("abort", end, options);
    window.addEventListener("online", end, options);
    document.addEventListener("visibilitychange", () => document.hidden || end(), options);
  });
}
