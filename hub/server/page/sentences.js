/** What the page says about states and errors. */

const ERRORS = {
  invalid_request: "The endpoint did not accept this request.",
  unauthorized: "The endpoint did not accept the hub’s key.",
  not_found: "The endpoint does not know this model or address.",
  rate_limited: "The endpoint has too many requests to answer right now.",
  endpoint_error: "The endpoint ran into an error of its own.",
  connection_failed: "The endpoint could not be reached.",
  not_a_stream: "The endpoint answered with something that is not a stream.",
  truncated: "The answer broke off before its end.",
  malformed: "The endpoint sent something that could not be read.",
  connect_timeout: "The endpoint did not pick up in time.",
  first_token_timeout: "The endpoint did not begin to answer in time.",
  stall_timeout: "The answer stopped arriving.",
  total_timeout: "The answer took longer than the hub allows.",
  content_filter: "The endpoint’s content filter ended the answer.",
  budget_exceeded: "The budget for this model is used up.",
  worker_lost: "The process that was answering was lost.",
  interrupted: "The hub stopped before the answer ended.",
  store_unavailable: "The hub could not reach its store.",
};

const ENDS = {
  length: "Ended at the length limit",
  content_filter: "Cut short by the content filter",
};

/** An `error` event as a sentence and, where it adds something, what the endpoint said. */
export function errorOf({ code, message }) {
  const sentence = ERRORS[code] ?? message ?? "Something went wrong.";
  return { sentence, detail: message && message !== sentence ? message : null };
}

/** The word or two below an answer; empty where nothing need be said. */
export function statusOf(answer) {
  switch (answer.status) {
    case "running":
      if (answer.folded.parts.some((part) => part.approval)) return "Waiting for approval";
      return answer.folded.parts.length ? "Answering…" : "Waiting for the first token…";
    case "reconnecting":
      return answer.phase === "offline" ? "Offline, waiting for the network…" : "Reconnecting…";
    case "cancelled":
      return "Stopped";
    case "failed":
      return "Failed";
    case "interrupted":
      return "Interrupted";
    default:
      return ENDS[answer.folded.finishReason] ?? "";
  }
}

/** Why a request wasn't taken, as a sentence. */
export function refusalOf(error) {
  if (error.status === 413) return "This message is larger than the hub accepts. Shorten it and send it again.";
  if (error.status === 401) return "The hub needs a key to answer.";
  if (error.status === 0) return "The hub could not be reached. Your message is still here: try again in a moment.";
  if (error.status === 503) return error.message || "The hub takes no new streams right now. Try again in a moment.";
  return error.message;
}
