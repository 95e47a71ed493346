/** The page: puts the parts together. */

import { Announcer } from "./announcer.js";
import { Answer } from "./answer.js";
import { Api, ApiError } from "./api.js";
import { Chat } from "./chat.js";
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

const CONNECTION_TEXT = { idle: "", live: "Live", reconnecting: "Reconnecting…", offline: "Offline" };

const storage = new SafeStorage("localStorage");
const keys = new KeyStore();
const api = new Api(keys, (refused) => keyDialog.ask(refused));
/** What the hub says of itself, once it has. */
let info = null;
let warnedFull = false;

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

const composer = new Composer(
  { form: byId("composer"), input: byId("input"), send: byId("send"), stop: byId("stop"), error: byId("composer-error") },
  { onSend: send, onStop: stop },
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
const conversation = new Conversation(storage, { onChange: () => chat.refresh(), onFull: warnFull });
const lone = openLone();
const chat = new Chat(api, conversation, lone, {
  turns: showTurns,
  answer: showAnswer,
  event: (streamId, event, json) => inspector.record(streamId, event, json),
});

listen();
showModel();
chat.refresh();
greet();

/** The turn that `/#str_…` names, to be shown alone; null for the chat. */
function openLone() {
  const streamId = /^#(str_[\w-]+)$/.exec(location.hash)?.[1];
  return streamId ? { prompt: null, answer: new Answer(streamId) } : null;
}

function listen() {
  themeToggle(byId("theme-toggle"), storage);
  byId("new-chat").addEventListener("click", newChat);
  for (const button of document.querySelectorAll("[data-prompt]")) {
    button.addEventListener("click", () => send(button.textContent.trim()));
  }
  byId("forget-key").addEventListener("click", () => {
    keys.forget();
    byId("settings").hidePopover();
    toast("The key is forgotten.");
  });
  byId("settings").addEventListener("toggle", () => (byId("key-row").hidden = !keys.get()));
  document.addEventListener("keydown", (event) => {
    // Dialogs, popovers and input methods have their own use for Escape.
    if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open], :popover-open")) return;
    if (chat.open.length) stop();
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

async function send(text) {
  composer.text = "";
  const sent = await attempt(() => chat.ask(text, settings.request()), refusalOf);
  if (!sent) composer.giveBack(text);
  // The hub was away when the page was opened, or the key was missing.
  else if (!info) greet();
}

function retry() {
  attempt(() => chat.retry(settings.request()), refusalOf);
}

async function stop() {
  if (composer.stopping) return;
  composer.stopping = true;
  const sentence = (error) => `The answer could not be stopped. ${error.message}`;
  if (!(await attempt(() => chat.stop(), sentence))) composer.stopping = false;
}

/** Whether the hub did it; where it didn't, the composer says why. */
async function attempt(action, sentence) {
  composer.complain(null);
  try {
    await action();
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    composer.complain(sentence(error));
    return false;
  }
}

function newChat() {
  composer.complain(null);
  const undo = chat.clear();
  CSS.highlights?.clear();
  composer.focus();
  toast("A new chat.", { label: "Undo", run: undo });
}

function showTurns() {
  const { turns, pending } = chat;
  transcript.sync(turns);
  inspector.show(turns.findLast(({ answer }) => answer.streamId)?.answer.streamId ?? null);
  byId("welcome").hidden = turns.length > 0;
  byId("new-chat").disabled = turns.length === 0 || pending;
  // Whoever asks wants to see the answer.
  if (pending) transcript.toLatest();
  showState();
}

function showAnswer(answer) {
  transcript.touch(answer);
  announcer.follow(answer);
  showState();
}

/** What follows from the answers that are open: Send or Stop, and the state of the connection. */
function showState() {
  const { open } = chat;
  composer.busy = open.length > 0;
  const phases = open.map((answer) => answer.phase);
  let state = phases.includes("live") ? "live" : "idle";
  if (phases.includes("reconnecting")) state = "reconnecting";
  if (phases.includes("offline") || !navigator.onLine) state = "offline";
  setAttribute(byId("connection"), "data-state", state);
  setText(byId("connection-text"), CONNECTION_TEXT[state]);
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
    const locked = "This hub needs a key. It is asked for when you send a message.";
    setText(notice, error.status === 401 ? locked : error.message);
  }
}

function showModel() {
  setText(byId("model"), settings.request().model ?? info?.model ?? "");
}

function warnFull() {
  if (!warnedFull) toast("This browser can’t keep the chat: it goes on, but a reload will shorten it.");
  warnedFull = true;
}

/** For the inspector: a stream from its first event, beside whoever else reads it. */
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
