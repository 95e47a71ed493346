/**
 * A stream's events folded into what an answer shows. Pure: no clock, no DOM, no storage.
 *
 * An answer is `{streamId, seq, status, model, cached, step, attempt, parts, usages, usage, error, finishReason}`. Its
 * `parts` are in the order they were said: `{kind, step, choice, ...}` with kind `text`, `reasoning` or `refusal`
 * (`text`), `tool_call` (`index`, `id`, `name`, `arguments`, `result`, `approval`) or `tool_result` of a call nobody saw.
 */

const ENDS = new Set(["completed", "cancelled", "failed"]);
const TEXT_KINDS = { text_delta: "text", reasoning_delta: "reasoning", refusal_delta: "refusal" };

/** The answer before its first event. */
export function emptyAnswer(streamId) {
  return {
    streamId,
    seq: -1,
    status: "running",
    model: null,
    cached: false,
    step: 0,
    attempt: 0,
    parts: [],
    usages: [],
    usage: null,
    error: null,
    finishReason: null,
  };
}

/**
 * How an event lies to a reader who has everything up to `seq`: "next", "repeat" or "gap". One that merges events on
 * both sides of `seq` is a gap too, since what it merged can't be taken apart.
 */
export function place(seq, event) {
  if (event.type === "snapshot") return "next";
  if (event.seq <= seq) return "repeat";
  return event.seq - (event.span ?? 1) === seq ? "next" : "gap";
}

/** Whether nothing follows this event: it is the `done`, or a snapshot that comprises it. */
export function isLast(event) {
  return event.type === "done" || (event.type === "snapshot" && ENDS.has(event.result.status));
}

/** The answer after one more event. Events must come in order; `place` says whether one does. */
export function fold(answer, event) {
  return { ...answer, ...change(answer, event), seq: event.seq };
}

/** The answer as a `snapshot` or `GET /v1/streams/{id}` tells it, but for its position and status. */
export function fromResult(answer, result) {
  const step = result.step ?? 0;
  const parts = result.steps?.length
    ? result.steps.flatMap((said) => partsOf(said, said.step, 0))
    : (result.choices?.length ? result.choices : [result]).flatMap((said) => partsOf(said, step, said.choice ?? 0));
  const outputs = result.tool_outputs ?? [];
  return {
    ...answer,
    step,
    attempt: result.attempt ?? 1,
    parts: outputs.reduce((sofar, output) => withResult({ parts: sofar, step }, output), parts),
    model: result.model ?? answer.model,
    cached: result.cached ?? false,
    usages: result.usage ? [result.usage] : [],
    usage: result.usage ?? null,
    error: result.error ?? null,
    finishReason: result.finish_reason ?? null,
  };
}

/** What was said so far, as it goes back to the model in the next request. */
export function textOf(answer) {
  return answer.parts
    .filter((part) => (part.kind === "text" || part.kind === "refusal") && part.choice === 0)
    .map((part) => part.text)
    .join("\n\n");
}

function change(answer, event) {
  const kind = TEXT_KINDS[event.type];
  if (kind) return { parts: withText(answer, kind, event) };
  switch (event.type) {
    case "meta":
      return begin(answer, event);
    case "tool_call_delta":
      return { parts: withCall(answer, event) };
    case "tool_result":
      return { parts: withResult(answer, event) };
    case "approval_request":
      return { parts: withApproval(answer, event) };
    case "usage": {
      const usages = [...answer.usages, event];
      return { usages, usage: total(usages) };
    }
    case "snapshot":
      return { ...fromResult(answer, event.result), status: isLast(event) ? event.result.status : "running" };
    case "error":
      return { error: pick(event, ["code", "message", "status", "retryable"]) };
    case "done":
      return { status: event.status, finishReason: event.finish_reason, usage: event.usage ?? answer.usage };
    default:
      // A newer hub may say more than this page understands; its position still counts.
      return {};
  }
}

function begin(answer, meta) {
  const step = meta.step ?? 0;
  const restarts = step === answer.step && meta.attempt > answer.attempt;
  return {
    step,
    attempt: meta.attempt,
    model: meta.model ?? answer.model,
    cached: meta.cached ?? false,
    // What a dead attempt said is void; what it used is not.
    parts: restarts ? answer.parts.filter((part) => part.step !== step) : answer.parts,
  };
}

function withText(answer, kind, event) {
  const choice = event.choice ?? 0;
  const at = answer.parts.findLastIndex((part) => part.choice === choice);
  const last = answer.parts[at];
  if (last?.kind === kind && last.step === answer.step) {
    return answer.parts.with(at, { ...last, text: last.text + event.text });
  }
  return [...answer.parts, { kind, step: answer.step, choice, text: event.text }];
}

function withCall(answer, event) {
  const choice = event.choice ?? 0;
  const at = answer.parts.findLastIndex(
    (part) =>
      part.kind === "tool_call" &&
      part.step === answer.step &&
      part.choice === choice &&
      part.index === event.index,
  );
  if (at < 0) return [...answer.parts, newCall({ ...event, step: answer.step, choice })];
  const call = answer.parts[at];
  return answer.parts.with(at, {
    ...call,
    id: event.id || call.id,
    name: event.name || call.name,
    arguments: call.arguments + (event.arguments ?? ""),
  });
}

function withResult({ parts, step }, event) {
  const result = { output: event.output, isError: event.is_error ?? false };
  const at = parts.findLastIndex((part) => part.id === event.id);
  if (at >= 0) return parts.with(at, { ...parts[at], result, approval: false });
  return [...parts, { kind: "tool_result", step, choice: 0, id: event.id, name: event.name, result }];
}

function withApproval(answer, event) {
  const at = answer.parts.findLastIndex((part) => part.kind === "tool_call" && part.id === event.id);
  if (at >= 0) return answer.parts.with(at, { ...answer.parts[at], approval: true });
  return [...answer.parts, { ...newCall({ ...event, step: answer.step, choice: 0 }), approval: true }];
}

/** The parts of one step or choice of a result; in which order they were said, a result doesn't tell. */
function partsOf(said, step, choice) {
  const texts = ["reasoning", "text", "refusal"]
    .filter((kind) => said[kind])
    .map((kind) => ({ kind, step, choice, text: said[kind] }));
  return [...texts, ...(said.tool_calls ?? []).map((call) => newCall({ ...call, step, choice }))];
}

function newCall({ step, choice, index, id, name, arguments: text }) {
  return {
    kind: "tool_call",
    step,
    choice,
    index,
    id: id ?? null,
    name: name ?? "",
    arguments: text ?? "",
    result: null,
    approval: false,
  };
}

const COUNTS = ["input_tokens", "output_tokens", "total_tokens", "cached_input_tokens", "reasoning_tokens"];

function total(usages) {
  const sum = { estimated: usages.some((usage) => usage.estimated) };
  for (const name of COUNTS) sum[name] = usages.reduce((count, usage) => count + (usage[name] ?? 0), 0);
  sum.cost_usd = totalUsd(usages, "cost_usd");
  sum.original_cost_usd = totalUsd(usages, "original_cost_usd");
  return sum;
}

/** One unknown cost makes the whole unknown, since a sum without it would look like the price; nothing costs nothing. */
function totalUsd(usages, name) {
  const costs = usages.filter((usage) => usage.total_tokens > 0 || usage[name] != null).map((usage) => usage[name]);
  return costs.length && costs.every((cost) => cost != null) ? costs.reduce((sum, cost) => sum + cost, 0) : null;
}

function pick(source, names) {
  return Object.fromEntries(names.map((name) => [name, source[name] ?? null]));
}
