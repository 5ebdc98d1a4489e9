// @ts-check
/** The visitor's page. */

import { CLOSES } from "./link.js";
import { byId, configuration, connect, showStatus, text, turn } from "./page.js";
import { Thread } from "./messages.js";
import { composer, notice, reconcile, say, secondsUntil, threadView, together } from "./view.js";

/** @typedef {{key: string, label: string, content: string}} Quick */

const TOKEN = "messaging-visitor";
const COOL_DOWN_MS = 2_000;
/** Most links open, and most servers are replaced, faster than a word about it can be read. */
const CONNECTING_MS = 400;
const SWITCHING_MS = 2_000;

const thread = new Thread();
let hasOlder = false;
/** Who is there; undefined: nobody knows. @type {number | undefined} */
let admins;
/** Cursor of the newest message that staff have read. */
let seen = "";
/** Cursor of the newest of their messages that they were told we have read. */
let told = "";
let isBlocked = false;
let letNext = () => {};

/** The one place of the visitor's token, for the forms that work without this script as well. */
let pageToken = cookie(); // where cookies are forbidden, it lives as long as this page

function cookie() {
  return document.cookie.match(`${TOKEN}=([^;]+)`)?.[1];
}

/** @param {string} [token] */
function keep(token) {
  pageToken = token;
  document.cookie = TOKEN + "=" + token + configuration.cookie + (token ? "" : ";max-age=0");
  cookie(); // waits until other tabs can read it too: Chromium returns from the line above before that
}

/** Only one tab at a time becomes a new visitor; the others take over its token. */
async function credentials() {
  if (!cookie()) letNext = await turn(TOKEN);
  return { token: cookie() ?? pageToken, lang: configuration.language };
}

const { connection, outbox } = connect(
  "messaging-outbox-user",
  {
    role: "user",
    credentials,
    forgetCredentials: keep,
    handlers: {
      state({ phase, code }) {
        if (phase !== "connecting") letNext();
        if (phase === "stopped" && code === CLOSES.forbidden) isBlocked = true;
        show();
      },
      messages(messages) {
        messages.forEach((message) => thread.add(message));
        show();
      },
      reset() {
        thread.clear();
        hasOlder = false;
        show();
      },
      newest(more) {
        hasOlder = more;
        show();
      },
      identified(frame) {
        keep(frame.token);
        letNext();
        showQuick(frame.quick);
        admins = frame.presence?.admins;
        seen = frame.read ?? "";
        told = "";
      },
      frame({ type, ...frame }) {
        if (type === "presence") admins = frame.admins;
        if (type === "read" && frame.by === "admin") seen = frame.cursor;
        show();
      },
    },
  },
  () => show(),
);

outbox.onSettled = () => say(text("sent"));

const view = threadView("user", connection, outbox);
const field = composer(
  (content) => send({ content }),
  (event) => !event.shiftKey,
);

/** @param {import("./messages.js").Draft} draft */
function send(draft) {
  const isKept = connection.send(draft);
  if (isKept) render(true);
  else notice(text("full"));
  return isKept;
}

/** The buttons came with the page; the server may have changed them since. @param {Quick[]} quick */
function showQuick(quick) {
  reconcile(
    byId("quick"),
    quick,
    ({ key }) => key,
    () => document.createElement("button"),
    (/** @type {any} */ button, { key, label, content }) => {
      button.textContent = label;
      button.value = key;
      button.dataset.content = content;
    },
  );
}

byId("quick").onclick = (/** @type {any} */ event) => {
  const button = event.target.closest("button");
  if (!button) return;
  event.preventDefault();
  if (button.ariaDisabled || !send({ content: button.dataset.content, quick: button.dataset.key })) return;
  button.ariaDisabled = "true"; // not `disabled`, which would take the focus away
  setTimeout(() => (button.ariaDisabled = null), COOL_DOWN_MS);
};

byId("forget").onsubmit = async (/** @type {Event} */ event) => {
  event.preventDefault();
  byId("forget-dialog").hidePopover();
  const answer = await connection.request({ action: "forget" });
  if (answer?.type !== "ack") return notice(text("not_deleted"));
  outbox.entries().forEach(({ id }) => outbox.remove(id));
  field.clear();
  say(text("deleted"));
};

byId("older").onclick = async () => {
  const page = await connection.older({ before: thread.oldest?.cursor });
  if (page) hasOlder = page.more;
  show();
};

byId("try-now").onclick = () => {
  isBlocked = false; // the server says so again if it is still so
  connection.wake();
};

/** The person has the page in front: what staff wrote is read. */
function markRead() {
  const newest = thread.messages.findLast(({ from }) => from === "admin");
  if (!newest || document.hidden || newest.cursor <= told) return;
  told = newest.cursor;
  connection.request({ action: "read", upTo: newest.messageId });
}

/** What the status says: the key of its text, and after how long. @returns {[string, number?]} */
function status() {
  const { phase, code, lastLive } = connection.state;
  if (isBlocked) return ["blocked"];
  if (phase === "stopped") return ["refused"];
  if (phase === "live") return [admins === undefined ? "connected" : admins ? "present" : "absent"];
  if (!navigator.onLine) return ["offline"];
  if (code === CLOSES.restart) return ["switching", SWITCHING_MS];
  return lastLive || phase === "waiting" ? ["reconnecting"] : ["connecting", CONNECTING_MS];
}

/** @param {boolean} toEnd */
function render(toEnd) {
  const { phase, retryAt = 0 } = connection.state;
  const isLive = phase === "live";
  const entries = outbox.entries();
  const waiting = entries.filter(({ failed }) => !failed);
  const [words, after] = status();
  const isReconnecting = words === "reconnecting" && phase === "waiting";
  const look = isBlocked ? "stopped" : after ? "connecting" : words === "reconnecting" ? "waiting" : phase;
  showStatus(look, text(words), look === "stopped" || look === "waiting", after);
  byId("countdown").textContent = isReconnecting ? text("in", { seconds: secondsUntil(retryAt) }) : "";
  byId("waiting").textContent = waiting.length && !isLive ? text("count_waiting", { count: waiting.length }) : "";
  byId("write").disabled = isBlocked;
  view(thread.messages, entries, toEnd, seen);
  byId("older").hidden = !hasOlder || !isLive;
  byId("empty").hidden = thread.messages.length + entries.length > 0;
  if (isLive) markRead();
  clearTimeout(tick);
  if (isReconnecting || waiting.some((entry) => secondsUntil(entry.retryAt ?? 0))) tick = setTimeout(show, 500);
}

/** @type {any} */
let tick;
const show = together(() => render(false));
field.open("messaging-draft-user", byId("text").value); // somebody may have been faster than this script
document.addEventListener("visibilitychange", show);
connection.run();
