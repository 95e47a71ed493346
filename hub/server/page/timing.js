/**
 * When things happened to an answer, as this browser saw them. Pure: instants, in epoch milliseconds, come in.
 *
 * An instant is null until it comes, and 0 where it came while nobody watched: catching up says nothing about the
 * model's pace.
 */

const CONTENT = new Set(["text_delta", "reasoning_delta", "refusal_delta", "tool_call_delta"]);

/** Away for less than this, a reader has missed nothing that a figure would show. */
const GLANCE_MS = 2000;
/** What arrives this soon after a reader came back had happened before. */
const CATCH_UP_MS = 300;

/** `askedAt` is null for a stream that someone else began. */
export function newTiming(askedAt) {
  return { askedAt, watchedAt: askedAt ?? 0, blindUntil: 0, firstTokenAt: null, endedAt: null };
}

/** Somebody was watching at `now`. */
export function watched(timing, now) {
  return { ...timing, watchedAt: now };
}

/** A reader comes back at `now`, or comes late. */
export function rejoined(timing, now) {
  const away = now - timing.watchedAt > GLANCE_MS;
  return { ...timing, watchedAt: now, blindUntil: away ? now + CATCH_UP_MS : 0 };
}

/** The timing after one more event. */
export function observe(timing, event, now) {
  const instant = now < timing.blindUntil ? 0 : now;
  const next = { ...timing, watchedAt: now };
  if (CONTENT.has(event.type)) next.firstTokenAt ??= instant;
  if (event.type === "done") next.endedAt = instant;
  return next;
}

/** Seconds from the question to the first token, or null. */
export function secondsToFirstToken({ askedAt, firstTokenAt }) {
  return askedAt && firstTokenAt ? (firstTokenAt - askedAt) / 1000 : null;
}

/** Output tokens a second from the first token to the end, or null; a burst is too short to tell. */
export function tokensPerSecond({ firstTokenAt, endedAt }, outputTokens) {
  if (!firstTokenAt || !endedAt || !outputTokens) return null;
  const seconds = (endedAt - firstTokenAt) / 1000;
  return seconds >= 0.05 ? outputTokens / seconds : null;
}
