// @ts-check
/** The visitor's page. */

import { CLOSES } from "./link.js";
import { Thread } from "./messages.js";
import { byId, configuration, connect, showStatus, text, turn } from "./page.js";
import { composer, notice, reconcile, say, secondsUntil, threadView, together } from "./view.js";

/** @typedef {{key: string, label: string, content: string}} Quick */

const TOKEN = "messaging-visitor";
const COOL_DOWN_MS = 2_000;
/** Most links open, and most servers are replaced, faster than a person could read a status. */
const CONNECTING_MS = 400;
const SWITCHING_MS = 2_000;
/** The looks of texts that the phase of the link does not determine. @type {Record<string, any>} */
const LOOKS = { blocked: "stopped", paused: "waiting", reconnecting: "waiting" };

const thread = new Thread();
let hasOlder = false;
/** The number of connected staff; undefined: unknown. @type {number | undefined} */
let admins;
/** The cursor of the newest message that staff have read. */
let seen = "";
/** The cursor of the newest message from staff for which a `read` frame was sent. */
let told = "";
/** Whether the visitor may write: `open`, or the error that a message would get. */
let writing = "open";
let letNext = () => {};

/** The visitor's token. The forms that work without this script share it by the cookie. */
let pageToken = cookie(); // if cookies are forbidden, the token lives as long as this page

function cookie() {
  return document.cookie.match(`${TOKEN}=([^;]+)`)?.[1];
}

/** @param {string} [token] */
function keep(token) {
  pageToken = token;
  document.cookie = `${TOKEN}=${token}${configuration.cookie}${token ? "" : ";max-age=0"}`;
  cookie(); // waits until other tabs can read the cookie: Chromium returns from the line above before that
}

/** Return the credentials. Only one tab at a time becomes a new visitor; the others use its token. */
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
      state({ phase }) {
        if (phase !== "connecting") letNext();
        show();
      },
      messages(messages) {
        for (const message of messages) thread.add(message);
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
        know(frame.writing);
      },
      frame({ type, ...frame }) {
        if (type === "writing") know(frame.state);
        if (type === "pong") know(frame.writing);
        if (frame.code === "blocked" || frame.code === "paused") know(frame.code);
        if (type === "presence") admins = frame.admins;
        if (type === "read" && frame.by === "admin") seen = frame.cursor;
        show();
      },
    },
  },
  () => show(),
);

/** @param {string} [now]  without it, the visitor may write */
function know(now = "open") {
  const isFreed = now === "open" && writing !== now;
  writing = now;
  if (isFreed) connection.resume();
}

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

/** Update the buttons, which came with the page: they may have changed since. @param {Quick[]} quick */
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
  if (answer?.type !== "ack") return notice(answer ? text("not_deleted_now") : text("not_deleted"));
  for (const { id } of outbox.entries()) outbox.remove(id);
  field.clear();
  say(text("deleted"));
};

byId("older").onclick = async () => {
  const page = await connection.older({ before: thread.oldest?.cursor });
  if (page) hasOlder = page.more;
  show();
};

byId("try-now").onclick = () => connection.wake();

/** Mark the staff's messages as read if the page is in front. */
async function markRead() {
  const newest = thread.messages.findLast(({ from }) => from === "admin");
  if (!newest || document.hidden || newest.cursor <= told) return;
  told = newest.cursor;
  const answer = await connection.request({ action: "read", upTo: newest.messageId });
  if (answer && !answer.retryAfterMs) return; // done, or refused for good
  if (answer) await new Promise((resolve) => setTimeout(resolve, answer.retryAfterMs));
  told = "";
  show();
}

const unsent = () => outbox.entries().filter(({ failed }) => !failed).length;

/** Return the key of the status text, and the ms before it is shown. @returns {[string, number?]} */
function status() {
  const { phase, code, scope, lastLive } = connection.state;
  const isLive = phase === "live";
  if (writing !== "open" && (isLive || phase === "stopped")) return [writing === "paused" ? "paused" : "blocked"];
  if (phase === "stopped") return ["refused"];
  if (isLive) return [admins === undefined ? "connected" : admins ? "present" : "absent"];
  if (!navigator.onLine) return ["offline"];
  const crowd = unsent() ? `kept_${scope}` : `crowded_${scope}`;
  if (configuration.texts[crowd]) return [crowd]; // others have used up a limit
  if (code === CLOSES.restart) return ["switching", SWITCHING_MS];
  return lastLive || phase === "waiting" ? ["reconnecting"] : ["connecting", CONNECTING_MS];
}

/** @param {boolean} toEnd */
function render(toEnd) {
  const { phase, retryAt = 0 } = connection.state;
  const isLive = phase === "live";
  const entries = outbox.entries();
  const waiting = unsent();
  const [words, after] = status();
  const isReconnecting = words === "reconnecting" && phase === "waiting";
  const look = LOOKS[words] ?? (after ? "connecting" : words.includes("_") ? "waiting" : phase);
  showStatus(look, text(words), !isLive && (look === "stopped" || look === "waiting"), after);
  byId("countdown").textContent = isReconnecting ? text("in", { seconds: secondsUntil(retryAt) }) : "";
  const waits = waiting && (!isLive || writing === "paused");
  byId("waiting").textContent = waits ? text("count_waiting", { count: waiting }) : "";
  byId("write").disabled = writing === "blocked";
  view(thread.messages, entries, toEnd, seen);
  byId("older").hidden = !hasOlder || !isLive;
  byId("empty").hidden = thread.messages.length + entries.length > 0;
  if (isLive) markRead();
  clearTimeout(tick);
  if (isReconnecting || entries.some(({ failed, retryAt }) => !failed && secondsUntil(retryAt ?? 0)))
    tick = setTimeout(show, 500);
}

/** @type {any} */
let tick;
const show = together(() => render(false));
field.open("messaging-draft-user", byId("text").value); // the person may have typed before this script ran
document.addEventListener("visibilitychange", show);
connection.run();
