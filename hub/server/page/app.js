/** The page: puts the parts together and decides what runs. */

import { Announcer } from "./announcer.js";
import { Answer } from "./answer.js";
import { Api, ApiError } from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { byId, setAttribute, setText } from "./dom.js";
import { follow } from "./follow.js";
import { inlineNodes } from "./inline.js";
import { Inspector } from "./inspector.js";
import { KeyDialog } from "./key-dialog.js";
import { KeyStore } from "./keys.js";
import { refusalOf } from "./sentences.js";
import { Settings } from "./settings.js";
import { SafeStorage } from "./storage.js";
import { themeToggle } from "./theme.js";
import { toast } from "./toast.js";
import { Transcript } from "./transcript.js";

const storage = new SafeStorage("localStorage");
const keys = new KeyStore();
const api = new Api(keys, (refused) => keyDialog.ask(refused));

/** `/#str_…` shows that stream alone; null on the chat. */
const lone = openLone();
/** The readings under way: answer to AbortController. */
const readings = new Map();
/** The turn that the hub has yet to accept: `{prompt, answer, again, stopped}`. */
let pending = null;
let warnedFull = false;
/** What the hub says of itself, once it has. */
let info = null;

const keyDialog = new KeyDialog(
  {
    dialog: byId("key-dialog"),
    form: byId("key-form"),
    input: byId("key-input"),
    remember: byId("key-remember"),
    error: byId("key-error"),
    cancel: byId("key-cancel"),
    submit: byId("key-submit"),
  },
  keys,
  (key) => api.accepts(key),
);

const conversation = new Conversation(storage, {
  onChange: refresh,
  onFull() {
    if (!warnedFull) toast("This browser can’t keep the chat: it goes on, but a reload will shorten it.");
    warnedFull = true;
  },
});

const composer = new Composer(
  { form: byId("composer"), input: byId("input"), send: byId("send"), stop: byId("stop"), error: byId("composer-error") },
  { onSend: (text) => ask(text, { again: false }), onStop: stop },
);

const transcript = new Transcript({
  scroller: byId("scroller"),
  list: byId("turns"),
  jump: byId("jump"),
  onRetry: retry,
});

const inspector = new Inspector(
  {
    panel: byId("inspector"),
    toggle: byId("inspector-toggle"),
    close: byId("inspector-close"),
    copy: byId("inspector-copy"),
    replay: byId("inspector-replay"),
    stream: byId("inspector-stream"),
    filters: byId("inspector-filters"),
    list: byId("inspector-list"),
    summary: byId("inspector-summary"),
    empty: byId("inspector-empty"),
  },
  readLog,
);

const settings = new Settings(
  {
    form: byId("settings-form"),
    modelSlot: byId("setting-model-slot"),
    temperature: byId("setting-temperature"),
    maxTokens: byId("setting-max-tokens"),
  },
  storage,
  showModel,
);

const announcer = new Announcer(byId("announcer"));

listen();
showModel();
refresh();
greet();

function openLone() {
  const streamId = /^#(str_[\w-]+)$/.exec(location.hash)?.[1];
  return streamId ? { prompt: null, answer: new Answer(streamId) } : null;
}

function turns() {
  if (lone) return [lone];
  if (!pending) return conversation.turns;
  return [...(pending.again ? conversation.turns.slice(0, -1) : conversation.turns), pending];
}

function openAnswers() {
  return turns()
    .map(({ answer }) => answer)
    .filter((answer) => answer.open);
}

/** Bring the page in line with the turns: draw them, read what is open, leave what is gone. */
function refresh() {
  const shown = turns();
  const wanted = new Set(shown.map(({ answer }) => answer));
  for (const [answer, controller] of readings) if (!wanted.has(answer)) controller.abort();
  for (const answer of openAnswers()) if (answer.streamId && !readings.has(answer)) read(answer);
  transcript.sync(shown);
  inspector.show(shown.findLast(({ answer }) => answer.streamId)?.answer.streamId ?? null);
  byId("welcome").hidden = shown.length > 0;
  byId("new-chat").disabled = shown.length === 0 || pending !== null;
  showState();
}

async function read(answer) {
  const controller = new AbortController();
  readings.set(answer, controller);
  await answer.read(api, {
    signal: controller.signal,
    onEvent: (event, json) => inspector.record(answer.streamId, event, json),
    onChange: () => changed(answer),
  });
  readings.delete(answer);
  refresh();
}

function changed(answer) {
  transcript.touch(answer);
  announcer.follow(answer);
  if (!lone) conversation.keep(answer);
  showState();
}

/** What follows from the answers that are open: Send or Stop, and the state of the connection. */
function showState() {
  const open = openAnswers();
  composer.busy = open.length > 0;
  const phases = open.map((answer) => answer.phase);
  let state = phases.includes("live") ? "live" : "idle";
  if (phases.includes("reconnecting")) state = "reconnecting";
  if (phases.includes("offline") || !navigator.onLine) state = "offline";
  setAttribute(byId("connection"), "data-state", state);
  setText(byId("connection-text"), { live: "Live", reconnecting: "Reconnecting…", offline: "Offline", idle: "" }[state]);
}

/** Ask the hub; `again` replaces the last answer instead of adding a turn. */
async function ask(prompt, { again }) {
  if (openAnswers().length) return;
  const askedAt = Date.now();
  const before = again ? conversation.turns.slice(0, -1) : conversation.turns;
  const turn = { prompt, again, stopped: false, answer: new Answer(null, { askedAt, fresh: true }) };
  pending = turn;
  composer.complain(null);
  if (!again) composer.text = "";
  refresh();
  transcript.toLatest();
  try {
    const streamId = await api.start({ messages: Conversation.messages(before, prompt), ...settings.request() });
    if (again) conversation.replaceLast(streamId, askedAt);
    else conversation.add(prompt, streamId, askedAt);
    transcript.adopt(turn.answer, conversation.turns.at(-1).answer);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    composer.complain(refusalOf(error));
    if (!again) composer.giveBack(prompt);
  } finally {
    pending = null;
    refresh();
  }
  if (turn.stopped) stop();
}

function retry() {
  const { prompt, answer } = turns().at(-1);
  if (answer.refused || prompt === null) {
    answer.refused = null;
    refresh();
  } else {
    ask(prompt, { again: true });
  }
}

/** Stop what runs; the hub then ends the stream, and its end arrives like any event. */
async function stop() {
  composer.stopping = true;
  if (pending) {
    pending.stopped = true;
    return;
  }
  try {
    await Promise.all(openAnswers().map((answer) => api.cancel(answer.streamId)));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    composer.stopping = false;
    // A stream the hub doesn't have is found out by the reading too, which says so.
    if (error.status !== 404) composer.complain(`The answer could not be stopped. ${error.message}`);
  }
}

function newChat() {
  if (pending) return;
  // Nobody is going to read the rest.
  for (const answer of openAnswers()) api.cancel(answer.streamId).catch(() => {});
  const cleared = conversation.clear();
  CSS.highlights?.clear();
  composer.complain(null);
  refresh();
  composer.focus();
  toast("A new chat.", {
    label: "Undo",
    run() {
      conversation.restore(cleared);
      refresh();
    },
  });
}

async function readLog(streamId, signal, onEvent) {
  let position = -1;
  try {
    await follow(api, streamId, {
      signal,
      position: () => position,
      onEvent(event, json) {
        position = event.seq;
        onEvent(event, json);
      },
      onPhase() {},
    });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.status === 404 ? "The server no longer has this stream." : error.message);
  }
}

/** Who answers here, and with which model. */
async function greet() {
  const notice = byId("notice");
  try {
    info = await api.info();
    settings.offer(info);
    notice.replaceChildren(...inlineNodes(info.notice ?? ""));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    setText(notice, error.status === 401 ? "This hub needs a key. It is asked for when you send a message." : error.message);
  }
}

function showModel() {
  setText(byId("model"), settings.request().model ?? info?.model ?? "");
}

function listen() {
  themeToggle(byId("theme-toggle"), storage);
  byId("new-chat").addEventListener("click", newChat);
  for (const button of document.querySelectorAll("[data-prompt]")) {
    button.addEventListener("click", () => ask(button.textContent.trim(), { again: false }));
  }
  byId("forget-key").addEventListener("click", () => {
    keys.forget();
    byId("settings").hidePopover();
    toast("The key is forgotten.");
  });
  byId("settings").addEventListener("toggle", () => (byId("key-row").hidden = !keys.get()));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open], :popover-open")) return;
    if (openAnswers().length) stop();
    else if (byId("inspector").contains(event.target)) inspector.open(false);
  });
  window.addEventListener("online", showState);
  window.addEventListener("offline", showState);
  // Another stream is another page; the browser only sees another fragment.
  window.addEventListener("hashchange", () => location.reload());
  document.body.dataset.mode = lone ? "lone" : "chat";
  if (lone) setText(byId("lone-id"), lone.answer.streamId);
  else composer.focus();
}
